"""Wrap functions of one instance or module, and warn the user."""

import functools
import re
import warnings
from collections.abc import Callable
from typing import Any


def around(owner: Any, name: str, wrapper: Callable[..., Any]) -> Callable[[], None]:
    """Call `wrapper(original, *args, **kwargs)` instead of `owner.name(*args, **kwargs)`. Returns a function that undoes this.

    It bypasses Keras' tracking and affects only this owner. A function may have several wrappers, which can be undone in any order. The
    last one is called first.
    """
    attributes = vars(owner)
    wrappers = getattr(attributes.get(name), "wrappers", None)
    if wrappers is None:
        wrappers = _install(owner, name)
    entry = [wrapper]  # a list, so that it is found by identity
    wrappers.append(entry)

    def undo() -> None:
        wrappers[:] = [one for one in wrappers if one is not entry]
        if not wrappers and getattr(attributes.get(name), "wrappers", None) is wrappers:
            attributes[name].restore()

    return undo


def _install(owner: Any, name: str) -> list[list[Callable[..., Any]]]:
    attributes, original = vars(owner), getattr(owner, name)
    before = attributes.get(name, attributes)  # `attributes` stands for none
    wrappers: list[list[Callable[..., Any]]] = []

    def called(*args: Any, **kwargs: Any) -> Any:
        function = original
        for (wrapper,) in wrappers:
            function = functools.partial(wrapper, function)
        return function(*args, **kwargs)

    def restore() -> None:
        if before is attributes:
            del attributes[name]
        else:
            attributes[name] = before

    vars(called).update(wrappers=wrappers, restore=restore)
    functools.update_wrapper(called, original, updated=())  # the original may be a layer, with its own attributes
    attributes[name] = called
    return wrappers


def say(text: str) -> None:
    """Warn the user with one sentence."""
    warnings.warn(f"actgrad: {text}", stacklevel=3)


LONG = 200
"""An error line with more characters is cut after its first sentence."""


def first_line(error: BaseException) -> str:
    """The first useful line of an error; only its first sentence if it is long. Keras puts lines about the place before it."""
    text = error.args[0] if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str) else str(error)
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in text.rpartition("Error encountered:")[2].splitlines()]
    said = next((line for line in lines if line and "Exception encountered when calling" not in line), type(error).__name__)
    return (said.partition(". ")[0] if len(said) > LONG else said).rstrip(".")
