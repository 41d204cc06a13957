"""Calls that are put around a function of one instance or module, and what is said to the user."""

import functools
import re
import warnings
from collections.abc import Callable
from typing import Any


def around(owner: Any, name: str, wrapper: Callable[..., Any]) -> Callable[[], None]:
    """Have `wrapper(original, *args, **kwargs)` called instead of `owner.name(*args, **kwargs)`; returns what undoes it.

    It is set past Keras' tracking, on this owner alone. Several wrappers may be put around one function, and undone in any order; the
    last one is called first.
    """
    attributes = vars(owner)
    wrappers = getattr(attributes.get(name), "wrappers", None)
    if wrappers is None:
        wrappers = _install(owner, name)
    entry = [wrapper]  # found again by its identity
    wrappers.append(entry)

    def undo() -> None:
        wrappers[:] = [one for one in wrappers if one is not entry]
        if not wrappers and getattr(attributes.get(name), "wrappers", None) is wrappers:
            attributes[name].restore()

    return undo


def _install(owner: Any, name: str) -> list[list[Callable[..., Any]]]:
    attributes, original = vars(owner), getattr(owner, name)
    before = attributes.get(name, attributes)  # itself where there is none
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
    functools.update_wrapper(called, original, updated=())  # a layer in this place has attributes of its own
    attributes[name] = called
    return wrappers


def say(text: str) -> None:
    """Tell the user one sentence, as a warning."""
    warnings.warn(f"actgrad: {text}", stacklevel=3)


LONG = 200
"""A line of an error that has more characters is cut after its first sentence."""


def first_line(error: BaseException) -> str:
    """The first line of an error that says something; its first sentence if it is long. Keras puts lines before it that say where."""
    text = error.args[0] if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str) else str(error)
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in text.rpartition("Error encountered:")[2].splitlines()]
    said = next((line for line in lines if line and "Exception encountered when calling" not in line), type(error).__name__)
    return (said.partition(". ")[0] if len(said) > LONG else said).rstrip(".")
