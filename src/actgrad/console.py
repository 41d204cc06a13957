"""How an entry script behaves at the terminal."""

import argparse
import atexit
import errno
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from actgrad.errors import UserError


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a script as Ctrl-C does."""


def run_script(main: Callable[[], None], afterwards: str = "start it again") -> None:
    """Run an entry script; a UserError, or a file that cannot be used, ends it with a sentence on stderr and exit code 1.

    Ctrl-C ends it with 130, SIGTERM with 143; `afterwards` says what to do after an interruption.
    """
    signal.signal(signal.SIGTERM, _terminate)
    atexit.register(gc.freeze)  # else Python, as it ends, looks for garbage among all that TensorFlow has made: two seconds
    try:
        main()
    except BrokenPipeError:  # what reads the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (UserError, OSError) as error:
        sys.exit(refused(error))
    except Terminated:
        sys.stderr.write(f"terminated; {afterwards}\n")
        sys.exit(143)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; {afterwards}\n")
        sys.exit(130)


def refused(error: UserError | OSError) -> str:
    """What to say on stderr of an error that is the user's to mend; an error of another kind is raised again."""
    if isinstance(error, UserError):
        return f"error: {error}"
    if error.filename is None:
        raise error
    remedy = {errno.ENOSPC: "make room there", errno.EDQUOT: "make room there", errno.ENOENT: "bring or make it"}
    do = remedy.get(error.errno, "get permission there")
    return f"error: {error.filename} cannot be used ({error.strerror}); {do}, and start the same command again"


def _terminate(*_: object) -> None:
    raise Terminated


def script_parser(description: str | None, examples: str) -> argparse.ArgumentParser:
    """The parser of an entry script that takes data=NAME: its docstring, and examples of its use."""
    return argparse.ArgumentParser(
        description=description, epilog=f"examples\n{examples}", formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def named(arguments: Sequence[str], *keys: str) -> dict[str, str]:
    """KEY=VALUE arguments as a mapping.

    Raises:
        UserError: for an argument that is not KEY=VALUE with one of these keys, or a key twice.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not (equals and value and key in keys):
            raise UserError(f"{argument!r} is not understood; write {' '.join(f'{key}=NAME' for key in keys)}, such as data=digits")
        if key in found:
            raise UserError(f"{key}= is given twice; give it once")
        found[key] = value
    return found


def dataset_name(argument: str) -> str:
    """NAME of the argument data=NAME."""
    return named([argument], "data")["data"]


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
