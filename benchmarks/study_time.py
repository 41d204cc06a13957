"""Measure what the pipeline costs: 24 cells of digits by dvc repro from nothing, by a sweep, and by as many plain scripts in a shell loop.

Each in a repository of its own, one after the other; seconds go to benchmarks/study_time.json, with those of a dvc repro that has
nothing to do.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import yaml
from measuring import environment, machine, rounded

from actgrad import files
from actgrad import git as repository
from actgrad.config import schema as config
from actgrad.console import run_script
from actgrad.results import run as results

STUDY = {"datasets": ["digits"], "activations": ["sigmoid", "tanh", "relu", "leaky_relu"], "seeds": [0, 1, 2, 3, 4, 5], "experiments": []}
NO_OPS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    recipe = config.recipe_config("digits")
    cells = len(STUDY["activations"]) * len(STUDY["seeds"])
    with tempfile.TemporaryDirectory() as folder:
        swept, reproduced = (project(Path(folder, name)) for name in ("swept", "reproduced"))
        timed("python -c 'import keras'", swept)  # which comes from the disk once, and before the clock starts
        seconds = {"dvc repro": timed("dvc repro --quiet", reproduced)}
        no_ops = [timed("dvc repro --quiet", reproduced) for _ in range(NO_OPS)]
        seconds |= {"sweep.py, then dvc repro": timed("python src/sweep.py data=digits && dvc repro --quiet", swept)}
        plain = shlex.join(["python", str(Path(__file__).with_name("plain_keras.py")), "data/digits.npz", str(recipe.epochs), str(recipe.batch_size)])
        seconds |= {"plain scripts in a loop": timed(f"for i in $(seq {cells}); do {plain}; done", reproduced)}
    report = {
        "command": "python benchmarks/study_time.py",
        "cells": cells,
        "epochs": recipe.epochs,
        "machine": machine(),
        "seconds": {way: rounded(value) for way, value in seconds.items()},
        "repro_to_plain": rounded(seconds["dvc repro"] / seconds["plain scripts in a loop"]),
        "no_op_repro_s": rounded(np.median(no_ops)),
    }
    files.write_bytes(Path(__file__).with_suffix(".json"), results.json_bytes(report))
    print(yaml.safe_dump(report, sort_keys=False))


def project(folder: Path) -> Path:
    """A clone of the last commit whose study is STUDY, without results."""
    subprocess.run(["git", "clone", "--quiet", str(repository.PROJECT), str(folder)], check=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"recipe": "default"}))
    (folder / "dvc.lock").unlink(missing_ok=True)
    return folder


def timed(command: str, folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, shell=True, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.perf_counter() - began


if __name__ == "__main__":
    run_script(main)
