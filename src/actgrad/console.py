"""How an entry script behaves at the terminal."""

import atexit
import errno
import functools
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from actgrad.errors import UserError


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a script as Ctrl-C does."""


def run_script(main: Callable[[], None], afterwards: str = "start it again") -> None:
    """Run an entry script; a UserError, or a file that cannot be used, ends it with a sentence on stderr and exit code 1.

    Ctrl-C ends it with 130, SIGTERM with 143; `afterwards` says what to do after an interruption.
    """
    signal.signal(signal.SIGTERM, _terminate)
    atexit.register(gc.freeze)  # else Python, as it ends, looks for garbage among all that TensorFlow has made: two seconds
    try:
        main()
    except BrokenPipeError:  # what reads the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (UserError, OSError) as error:
        sys.exit(refused(error))
    except Terminated:
        sys.stderr.write(f"terminated; {afterwards}\n")
        sys.exit(143)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; {afterwards}\n")
        sys.exit(130)


def refused(error: UserError | OSError) -> str:
    """What to say on stderr of an error that is the user's to mend; an error of another kind is raised again."""
    if isinstance(error, UserError):
        return f"error: {error}"
    if error.filename is None:
        raise error
    remedy = {errno.ENOSPC: "make room there", errno.EDQUOT: "make room there", errno.ENOENT: "bring or make it"}
    do = remedy.get(error.errno, "get permission there")
    return f"error: {error.filename} cannot be used ({error.strerror}); {do}, and start the same command again"


def _terminate(*_: object) -> None:
    raise Terminated


def dataset_name(argument: str) -> str:
    """NAME of the argument data=NAME."""
    if not argument.startswith("data="):
        raise UserError(f"{argument!r} is not understood; write data=NAME, such as data=digits")
    return argument.removeprefix("data=")


def load_keras() -> None:
    """Import Keras, which takes seconds, without what its libraries write to the screen, and clear what an earlier cell left in it."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = _keras()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every further network that one process builds
    keras.backend.clear_session()
    keras.config.disable_interactive_logging()


@functools.cache
def _keras() -> ModuleType:
    """Keras, imported without scikit-learn, for which it has wrappers, and with few looks for garbage: that saves two seconds."""
    gc.set_threshold(50_000)  # Python's own 700 new objects are soon there where libraries make millions
    absent = sys.modules.setdefault("sklearn", None) is None  # Python's way to say that a module is not installed
    with _muted_stderr():  # TensorFlow's libraries write lines there before its log level counts
        import keras
    if absent:
        del sys.modules["sklearn"]
    gc.freeze()  # all that is imported stays
    return keras


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
