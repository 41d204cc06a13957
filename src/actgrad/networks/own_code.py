"""Import layers and networks of the user, and turn their errors into one sentence."""

import pydoc
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actgrad.errors import UserError
from actgrad.monitor.hooks import first_line


def is_own(path: str) -> bool:
    """Whether a dotted path leads to code that is neither Keras' nor this project's."""
    return "." in path and path.partition(".")[0] not in ("keras", "actgrad")


def located(key: str, path: str) -> Any:
    """The object at a dotted path; None if there is none.

    Args:
        key: key of the configuration, for the error message.

    Raises:
        UserError: if its module cannot be imported.
    """
    try:
        return pydoc.locate(path)
    except pydoc.ErrorDuringImport as error:
        raise UserError(
            "own-code-failed", f"{key}={path}: its module cannot be imported ({type(error.value).__name__}: {error.value}); mend it"
        ) from None


@contextmanager
def guarded(paths: Mapping[str, str]) -> Iterator[None]:
    """Turn an error into one sentence if it comes from the user's code, or from Keras or TensorFlow running that code.

    Args:
        paths: key of the configuration -> dotted path.

    Raises:
        UserError: instead of such an error. Errors about a file are raised again as they are.
    """
    own = {key: path for key, path in paths.items() if is_own(path)}
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        place, raised_in = _origin(error, own.values())
        if not own or getattr(error, "filename", None) is not None or not (place or raised_in in ("keras", "tensorflow")):
            raise
        named = " with ".join(f"{key}={path}" for key, path in own.items())
        raise UserError("own-code-failed", f"{named} fails while it is trained{place}: {first_line(error)}; mend it") from error


def _origin(error: Exception, paths: Iterable[str]) -> tuple[str, str]:
    """The place in the user's code where an error was raised (else empty), and the top-level module that raised it."""
    modules, place, module = {path.partition(".")[0] for path in paths}, "", ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        if module in modules:
            place = f" ({Path(frame.f_code.co_filename).name}, line {line})"
    return place, module
