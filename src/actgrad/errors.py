"""The one kind of error that is the user's to mend, and what such a sentence may suggest."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: one sentence that says what is wrong, what is allowed and what to do."""


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
