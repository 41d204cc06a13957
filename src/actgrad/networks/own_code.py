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
        raise UserError(f"{key}={path}: its module cannot be imported ({error.exc.__name__}: {error.value}); mend it") from None


@contextmanager
def guarded(paths: Mapping[str, str]) -> Iterator[None]:
    """Say an error in one sentence if the user's own code takes part in what is done.

    Args:
        paths: key of the configuration -> dotted path.

    Raises:
        UserError: instead of any error but those of the operating system.
    """
    own = {key: path for key, path in paths.items() if is_own(path)}
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        if not own:
            raise
        named = " with ".join(f"{key}={path}" for key, path in own.items())
        raise UserError(f"{named} fails while it is trained{_place(error, own.values())}: {first_line(error)}; mend it") from error


def _place(error: Exception, paths: Iterable[str]) -> str:
    """Where in the user's own code an error was raised."""
    modules = {path.partition(".")[0] for path in paths}
    places = [""]
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] in modules:
            places.append(f" ({Path(frame.f_code.co_filename).name}, line {line})")
    return places[-1]
