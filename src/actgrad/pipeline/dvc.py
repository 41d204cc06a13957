"""Run DVC's commands from other scripts."""

import subprocess
import sys

from actgrad.errors import UserError


def dvc(*arguments: str) -> str:
    """What a DVC command prints.

    Raises:
        UserError: with DVC's own last lines, if it fails.
    """
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
    if done.returncode:
        said = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        errors = [line for line in said if line.lower().startswith("error")]
        raise UserError(f"dvc {arguments[0]} failed: {' '.join(errors or said[-3:]).removeprefix('error: ').removeprefix('ERROR: ')}")
    return done.stdout
