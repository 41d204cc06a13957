"""UserError, the one kind of error that the user can fix, and suggestions for its sentence."""

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class UserError(Exception):
    """Bad input: one sentence that says what is wrong, what is allowed and what to do.

    Attributes:
        code: kind of error. It stays when the sentence is reworded; docs/errors.md lists all codes.
    """

    def __init__(self, code: str, message: str):
        super().__init__(code, message)  # both, so that it can be pickled: launchers send it from one process to another
        self.code = code

    def __str__(self) -> str:
        return self.args[1]

    @property
    def line(self) -> str:
        """The line that is printed: error[CODE]: sentence"""
        return f"error[{self.code}]: {self}"


PRINTED = re.compile(r"^error\[[a-z-]+\]: ")
"""Beginning of the line that is printed for an error."""


REASONS = {
    "bool_type": "it must be true or false",
    "dict_type": "it must be keys and values, {{KEY: VALUE}}",
    "finite_number": "it must be a finite number",
    "float_type": "it must be a number",
    "greater_than": "it must be above {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "int_type": "it must be a whole number",
    "less_than": "it must be below {lt}",
    "less_than_equal": "it must be at most {le}",
    "list_type": "it must be a list",
    "literal_error": "it must be {expected}",
    "model_type": "it must be keys and values, {{KEY: VALUE}}",
    "string_pattern_mismatch": "it must match {pattern}",
    "string_too_short": "it must not be empty",
    "string_type": "it must be text",
    "too_long": "it must have at most {max_length} entries",
    "too_short": "it must have at least {min_length} entries",
    "value_error": "{error}",
}
"""Type of a pydantic error -> what the value must be. The error's context fills the placeholders."""


def must_be(error: Mapping[str, Any]) -> str:
    """What a value must be, from one of pydantic's errors; in pydantic's own words if REASONS has none."""
    context = {name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in error.get("ctx", {}).items()}
    if error["type"] in REASONS:
        return REASONS[error["type"]].format(**context).replace("1 entries", "1 entry")
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}"


NAMED = 5
"""Number of things that a sentence names, where there are many."""


def first_named(names: Sequence[str]) -> str:
    """The first names of many, and how many there are besides: `a, b, c, d, e and 2 more`."""
    return ", ".join(names[:NAMED]) + _besides(len(names))


def first_grouped(reasons: Sequence[tuple[str, str]]) -> str:
    """The first of many names, each with its reason. Equal reasons in a row are given once: `a, b (damaged), c (too large) and 2 more`."""
    groups = itertools.groupby(reasons[:NAMED], key=lambda item: item[1])
    return ", ".join(f"{', '.join(name for name, _ in items)} ({reason})" for reason, items in groups) + _besides(len(reasons))


def _besides(count: int) -> str:
    return f" and {count - NAMED} more" if count > NAMED else ""


def nearest(typed: str, known: Iterable[str], likeness: float = 0.7) -> str | None:
    """The known name most similar to a typed one, ignoring case and separators; None if none is similar.

    Args:
        likeness: smallest similarity that counts, from 0 to 1.
    """
    names = {_plain(name): name for name in known}
    found = difflib.get_close_matches(_plain(typed), names, n=1, cutoff=likeness)
    return names[found[0]] if found and found[0] else None


def did_you_mean(typed: str, known: Iterable[str], before: str = "") -> str:
    """`; did you mean <before><name>?` for the nearest of the known names; empty if none is near."""
    name = nearest(typed, known)
    return f"; did you mean {before}{name}?" if name else ""


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
