"""The one kind of error that is the user's to mend, and what such a sentence may suggest."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any


class UserError(Exception):
    """Bad input: one sentence that says what is wrong, what is allowed and what to do.

    Attributes:
        code: names the kind of fault. It stays when the sentence is worded anew; docs/errors.md lists all codes.
    """

    def __init__(self, code: str, message: str):
        super().__init__(code, message)  # both, so that it can be pickled: launchers send it from one process to another
        self.code = code

    def __str__(self) -> str:
        return self.args[1]

    @property
    def line(self) -> str:
        """What is printed of it: error[CODE]: sentence"""
        return f"error[{self.code}]: {self}"


PRINTED = re.compile(r"^error\[[a-z-]+\]: ")
"""What the printed line of an error begins with."""


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
"""What a value must be, by the type of pydantic's error and the values in its context."""


def must_be(error: Mapping[str, Any]) -> str:
    """What a value must be, by one of the errors that pydantic lists of it; in pydantic's own words if REASONS has none."""
    context = {name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in error.get("ctx", {}).items()}
    if error["type"] in REASONS:
        return REASONS[error["type"]].format(**context).replace("1 entries", "1 entry")
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}"


def nearest(typed: str, known: Iterable[str], likeness: float = 0.7) -> str | None:
    """The known name that is most like a typed one, in whatever case and with whatever separators; None if none is.

    Args:
        likeness: from 0 to 1, how alike they must be at least.
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
