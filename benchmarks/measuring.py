"""Functions that benchmarks share: arguments, processes, ratios with intervals, and writing results."""

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
from scipy import stats

from actgrad.console import dataset_name, script_parser
from actgrad.errors import UserError
from actgrad.files import PROJECT, write_bytes
from actgrad.pipeline.environment import SET
from actgrad.results.run import json_bytes

BENCHMARKS = PROJECT / "benchmarks"
PLAIN = (sys.executable, str(BENCHMARKS / "plain_keras.py"))
TABLE = re.compile("(?<=<!-- measured -->\n).*(?=<!-- end -->)", re.DOTALL)
"""The part of README.md that `write` writes."""


def parsed(description: str | None, example: str, **numbers: tuple[int, int, str]) -> tuple[str, argparse.Namespace]:
    """The dataset and the numbers among a script's arguments.

    Args:
        numbers: the options --NAME N: default, smallest value, and help.
    """
    parser = script_parser(description, f"  {example}\n")
    parser.add_argument("dataset", metavar="data=NAME", nargs="?", default="data=cifar10", help="a dataset in data/; default: %(default)s")
    for name, (default, _, text) in numbers.items():
        parser.add_argument(f"--{name}", metavar="N", type=int, default=default, help=f"{text}; default: %(default)s")
    arguments = parser.parse_args()
    for name, (_, smallest, _) in numbers.items():
        if getattr(arguments, name) < smallest:
            raise UserError("wrong-value", f"--{name} {getattr(arguments, name)} measures nothing; choose {smallest} or more")
    return dataset_name(arguments.dataset), arguments


def environment(**more: str) -> dict[str, str]:
    """Environment variables of a measured process, with this Python's scripts and an MLflow store in its working folder. Plain scripts
    compute with oneDNN, as trainings do."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return os.environ | own | SET | more


def run(command: Sequence[str], folder: Path) -> tuple[float, str]:
    """Run a command. Returns its seconds and its output.

    Raises:
        UserError: if it fails.
    """
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise UserError("command-failed", f"{shlex.join(command)} failed: {done.stdout.strip()[-2000:]}")
    return time.perf_counter() - began, done.stdout


def ratio(values: Sequence[float] | np.ndarray, reference: Sequence[float] | np.ndarray) -> dict[str, float | None]:
    """The median of the ratios within rounds, and its 95 % interval from order statistics, which needs 6 rounds."""
    ratios = np.array(values) / np.array(reference)
    low, high = map(rounded, stats.quantile_test(ratios, p=0.5).confidence_interval(0.95))
    return {"value": rounded(np.median(ratios)), "low": low, "high": high}


def shown(ratio: Mapping[str, float | None]) -> str:
    interval = "" if ratio["low"] is None else f" [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    return f"{ratio['value']:.2f}{interval}"


def rounded(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.4g}")


def machine() -> dict[str, object]:
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release().partition('.')[0]}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("tensorflow", "keras")},
    }


def write(report: Mapping[str, Any], answers: Mapping[str, str]) -> None:
    """Write a script's results to the JSON file of its name, and print its answers and put them into the table of README.md."""
    script = Path(sys.argv[0])
    command = shlex.join(["python", f"benchmarks/{script.name}", *sys.argv[1:]])
    write_bytes(BENCHMARKS / f"{script.stem}.json", json_bytes({"command": command, **report, "machine": machine(), "answers": answers}))
    lines = ["", "| what | result | command | processor |", "| --- | --- | --- | --- |"]
    for one in (json.loads(path.read_text()) for path in sorted(BENCHMARKS.glob("*.json"))):
        measured_by = f"`{one['command']}` | {one['machine']['processor']}, {one['machine']['cores']} cores"
        lines += [f"| {what} | {answer} | {measured_by} |" for what, answer in one.get("answers", {}).items()]
    readme = BENCHMARKS / "README.md"
    write_bytes(readme, TABLE.sub(lambda _: "\n".join([*lines, "", ""]), readme.read_text()).encode())
    print("\n".join(f"{what}: {answer}" for what, answer in answers.items()))
