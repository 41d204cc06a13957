"""Layers and networks of the user's own: how they are found, and how their errors are said."""

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
    """What a dotted path leads to; None if there is nothing.

    Args:
        key: of the configuration, for the error message.

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
    """Say an error in one sentence if it comes from the user's own code, or from what Keras and TensorFlow make of that code.

    Args:
        paths: key of the configuration -> dotted path.

    Raises:
        UserError: instead of such an error, but for a file that cannot be used.
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
    """Where in the user's own code an error was raised, empty if it was not; and the top-level module in which it was."""
    modules, place, module = {path.partition(".")[0] for path in paths}, "", ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        if module in modules:
            place = f" ({Path(frame.f_code.co_filename).name}, line {line})"
    return place, module
