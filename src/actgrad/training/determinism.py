"""Prepare a process for a run: seeded, deterministic, and without traces of an earlier run."""

import keras
import tensorflow as tf
import threadpoolctl

from actgrad.errors import UserError


def start(seed: int, threads: int | None) -> None:
    """Forget earlier networks, seed Python, NumPy and TensorFlow, make every operation deterministic, and set the number of threads (None
    keeps it).

    Float type, epsilon, layout of images and the limits of epochs and steps are set too, so that the user's keras.json and environment
    cannot change them.

    Raises:
        UserError: if this process already computes with another number of threads.
    """
    keras.backend.clear_session()  # also forgets the precision and layer names of an earlier run in this process
    keras.config.disable_interactive_logging()  # no progress bar in model.predict; clear_session has switched it on
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)
    if threads is not None:
        _set_threads(threads)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _set_threads(threads: int) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            raise UserError(
                "threads-fixed", f"recipe.threads={threads} cannot be set in a process that already uses another number; train in a new process"
            ) from None
    threadpoolctl.threadpool_limits(threads, user_api="blas")  # for NumPy's matrix products
