"""How an entry script behaves at the terminal."""

import _thread
import argparse
import atexit
import errno
import gc
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from actgrad.errors import UserError, did_you_mean
from actgrad.files import PROJECT

PATHS = ("data.archive", "run_dir")
"""Keys whose value is a path."""
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
"""Characters that a word processor writes instead of a minus sign."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a script as Ctrl-C does."""


def run_script(main: Callable[[], None], afterwards: str = "start it again") -> None:
    """Run an entry script in the project's root. A UserError or an unusable file ends it with one sentence on stderr and exit code 1.

    Relative paths on the command line and in the environment are relative to the user's working folder.
    Ctrl-C ends it with 130, SIGTERM with 143; `afterwards` says what to do after an interruption.
    """
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _raised_later
    atexit.register(gc.freeze)  # else Python's last garbage collection takes two seconds, because of TensorFlow's many objects
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it: a name that the terminal cannot show costs no result
    try:
        check_typing(sys.argv[1:])
        _work_in_root()
        main()
    except BrokenPipeError:  # the reader of the output, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (UserError, OSError) as error:
        sys.exit(refused(error).line)
    except MemoryError as error:
        told = f"there is not enough memory ({error or 'none left'}); close other programs, or choose smaller values, and start again"
        sys.exit(UserError("no-memory", told).line)
    except Terminated:
        sys.stderr.write(f"terminated; {afterwards}\n")
        sys.exit(143)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; {afterwards}\n")
        sys.exit(130)


def refused(error: UserError | OSError) -> UserError:
    """The UserError for an error that the user can fix. Any other error is raised again."""
    if isinstance(error, UserError):
        return error
    if error.filename is None:
        raise error
    cannot, again = f"{error.filename} cannot be used ({error.strerror})", "and start the same command again"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError("no-space", f"{cannot}; make room there, {again}")
    if error.errno == errno.ENOENT:
        return UserError("missing-file", f"{cannot}; bring or make it, {again}")
    return UserError("unusable-file", f"{cannot}; get permission there, {again}")


def _terminate(*_: object) -> None:
    raise Terminated


def _raised_later(unraisable: "sys.UnraisableHookArgs") -> None:
    """Repeat an interruption that came while Python ran code that cannot raise, such as a weak reference's callback."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        number = signal.SIGTERM if isinstance(unraisable.exc_value, Terminated) else signal.SIGINT
        threading.Timer(0.1, _thread.interrupt_main, [number]).start()
    else:
        sys.__unraisablehook__(unraisable)


def check_typing(arguments: Sequence[str]) -> None:
    """Raise UserError for KEY = VALUE with spaces, and for a dash that is not a minus sign."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if argument[:1] in tuple(DASHES):
            raise UserError("wrong-dash", f"{argument!r} begins with a dash of another kind; type a plain minus sign: -{argument.lstrip(DASHES)}")
        if argument.startswith("=") or following == "=" or (argument.endswith("=") and following and not re.match(r"[-+~]|[^=]*=", following)):
            raise UserError(
                "space-beside-equals", f"there is a space beside the = of {f'{argument} {following}'.strip()!r}; write KEY=VALUE without spaces"
            )


def _work_in_root() -> None:
    """Change to the project's root, and rewrite the user's relative paths so that they still lead to the same files."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise UserError("folder-removed", "the folder in which you stand has been removed; cd to another and start the same command again") from None
    for i, argument in enumerate(sys.argv[1:], start=1):
        key, _, value = argument.partition("=")
        if key.lstrip("+") in PATHS and value not in ("", "null"):
            sys.argv[i] = f"{key}={_quoted(_from_root(value, here))}"
        elif key.lstrip("+") == "tracking.uri":
            sys.argv[i] = f"{key}={_quoted(_address(unquoted(value), here))}"
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        os.environ["MLFLOW_TRACKING_URI"] = _address(uri, here)
    if modules := os.environ.get("PYTHONPATH"):
        os.environ["PYTHONPATH"] = os.pathsep.join(str(here / folder) for folder in modules.split(os.pathsep))
    os.chdir(PROJECT)


def _from_root(given: str, here: Path) -> str:
    """A path that was given in the folder `here`: relative to the project's root if it lies there, else absolute."""
    path = Path(os.path.expanduser(unquoted(given)))  # noqa: PTH111 - Path's own raises for a user that is not known
    while path.parts[:1] == ("..",):  # no others: a/.. is another folder if a is a link
        here, path = here.parent, Path(*path.parts[1:])
    path = here / path
    return str(path.relative_to(PROJECT.resolve()) if path.is_relative_to(PROJECT.resolve()) else path)


def unquoted(given: str) -> str:
    """A value without the quotes that Hydra and YAML would remove."""
    held = re.fullmatch(r"""(['"])(.*)\1""", given)
    return held[2] if held else given


def _quoted(path: str) -> str:
    """A path or address, with the quotes that Hydra and YAML need for its characters."""
    if re.fullmatch(r"[A-Za-z0-9_./:-]*", path):
        return path
    return f"'{path}'" if "'" not in path else f'"{path}"'


def _address(uri: str, here: Path) -> str:
    """The address of an MLflow store. The relative path of a local store is rewritten for the project's root."""
    held = re.fullmatch(r"sqlite:///(?!/)([^?]+)(.*)", uri)
    return f"sqlite:///{_from_root(held[1], here)}{held[2]}" if held else uri


def wrong_usage(message: str, command: str) -> UserError:
    """The error of a command line that cannot be understood."""
    return UserError("usage", f"{message}; {command} --help shows what it takes")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise wrong_usage(message, f"python src/{self.prog}")


def script_parser(description: str | None, examples: str) -> argparse.ArgumentParser:
    """The argument parser of an entry script. Its help shows the script's docstring and examples.

    It raises UserError for arguments that it does not know.
    """
    return _Parser(description=description, epilog=f"examples\n{examples}", formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)


def named(arguments: Sequence[str], *keys: str) -> dict[str, str]:
    """KEY=VALUE arguments as a mapping.

    Raises:
        UserError: for an argument that is not KEY=VALUE with one of these keys, or a key twice.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not (equals and value and key in keys):
            meant = did_you_mean(key, keys) if equals else ""
            raise UserError(
                "not-understood", f"{argument!r} is not understood; write {' '.join(f'{one}=NAME' for one in keys)}, such as data=digits{meant}"
            )
        found[key] = value
    each_once(argument.partition("=")[0] for argument in arguments)
    return found


def each_once(keys: Iterable[str]) -> None:
    """Raise UserError for a key that is given twice."""
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise UserError("given-twice", f"{key}= is given twice; give it once")
        seen.add(key)


def dataset_name(argument: str) -> str:
    """NAME of the argument data=NAME."""
    return named([argument], "data")["data"]


_warnings: list[dict[str, str]] = []


def warn(sentence: str, of_runs: str) -> None:
    """Print a warning on stderr, and keep it for `warned`.

    Args:
        of_runs: the consequence, worded for a number of runs: "were not logged to MLflow".
    """
    sys.stderr.write(f"{sentence}\n")
    _warnings.append({"sentence": sentence, "of_runs": of_runs})


def warned() -> list[dict[str, str]]:
    """The warnings of this process since the last call: `sentence` and `of_runs`."""
    said = list(_warnings)
    _warnings.clear()
    return said


@contextmanager
def muted_stderr() -> Iterator[None]:
    """Drop what this process and its C libraries write to stderr. Python's exceptions pass."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
