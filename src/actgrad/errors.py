"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """Bad input: one sentence that says what is wrong, what is allowed and what to do."""
