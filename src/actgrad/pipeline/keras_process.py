"""Import Keras quietly and quickly."""

import functools
import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@functools.cache
def load_keras() -> None:
    """Import Keras on TensorFlow, without what its libraries write to the screen.

    It is imported as if scikit-learn, for which it has wrappers, were not installed, and with few garbage collections: that saves two seconds.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    gc.set_threshold(50_000)  # Python's own 700 new objects are soon there where libraries make millions
    absent = sys.modules.setdefault("sklearn", None) is None  # Python's way to say that a module is not installed
    with _muted_stderr():  # TensorFlow's libraries write lines there before its log level counts
        import keras
    if absent:
        del sys.modules["sklearn"]
    gc.freeze()  # all that is imported stays
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every further network that one process builds
    keras.config.disable_interactive_logging()


@contextmanager
def _muted_stderr() -> Iterator[None]:
    """Drop what is written to the process' stderr, by C libraries too; Python's exceptions pass."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
