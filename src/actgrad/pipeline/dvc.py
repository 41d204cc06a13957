"""Run DVC's commands from other scripts."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from actgrad.errors import UserError

COMMAND = (sys.executable, "-m", "dvc")
"""DVC of this Python. The script in .venv/bin may not work, because it names the folder where the environment was made."""
LINES = 10
"""Maximum number of lines shown from a failed command."""


def dvc(*arguments: str) -> str:
    """Run a DVC command and return what it prints.

    Raises:
        UserError: with DVC's own reason, if it fails.
    """
    done = subprocess.run([*COMMAND, *arguments], env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise UserError("command-failed", f"dvc {arguments[0]} failed: {_reason([*done.stdout.splitlines(), *done.stderr.splitlines()])}")
    return done.stdout


def locked_stages(root: Path = Path()) -> dict[str, Any]:
    """The stages in the dvc.lock of a folder.

    Raises:
        UserError: if it is damaged.
    """
    path = root / "dvc.lock"
    try:
        stages = yaml.safe_load(path.read_text())["stages"]
        if not isinstance(stages, dict):
            raise TypeError("its stages are no KEY: VALUE")
    except (yaml.YAMLError, TypeError, KeyError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            "damaged-result", f"{path} is damaged, perhaps by a merge conflict ({reason}); resolve that, or git restore dvc.lock"
        ) from None
    return stages


def environment(**more: str) -> dict[str, str]:
    """Environment variables with which DVC's stages run this Python as `python`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return os.environ | {"PATH": path} | more


def _reason(lines: list[str]) -> str:
    """DVC's output from its first error on, or its last lines if there is none, joined into one line."""
    said = [line.strip() for line in lines if line.strip()]
    first = next((i for i, line in enumerate(said) if line.lower().startswith("error")), -LINES)
    return " ".join(said[first:][:LINES]).removeprefix("error: ").removeprefix("ERROR: ")
