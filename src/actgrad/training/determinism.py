"""The state that a process computes in: seeded, deterministic, and free of what an earlier run left."""

import keras
import tensorflow as tf
import threadpoolctl

from actgrad.errors import UserError


def start(seed: int, threads: int | None) -> None:
    """Forget earlier networks, seed Python, NumPy and TensorFlow, make every operation deterministic, and fix the number of threads, unless
    it is None.

    Float type, epsilon, layout of images and the limits of epochs and steps are set too, so that neither the user's keras.json nor his
    environment decides them.

    Raises:
        UserError: if this process already computes with another number of threads.
    """
    keras.backend.clear_session()  # the precision and the layer names of an earlier run of this process go with it
    keras.config.disable_interactive_logging()  # so that model.predict writes no bar; clear_session has switched it on
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
    threadpoolctl.threadpool_limits(threads, user_api="blas")  # of NumPy's products of matrices
