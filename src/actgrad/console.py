"""How an entry script behaves at the terminal."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from actgrad.errors import UserError


def run_script(main: Callable[[], None]) -> None:
    """Run an entry script; a UserError ends it with its sentence on stderr and exit code 1, Ctrl-C with 130."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


@contextmanager
def muted_stderr() -> Iterator[None]:
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
