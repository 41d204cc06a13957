"""Measure how long src/publish.py takes, now and at an older commit: to find that MLflow has all runs, and to add runs that it lacks.

Each has a clone of the project with its own MLflow store, and publishes the same runs: copies of trained ones of the digits. Rounds measure one
after the other, so that a machine that slows down affects both alike. Only the first runs are added by src/publish.py. The rows of the others are
copied within the store, because adding them with the older commit would take most of an hour.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import yaml
from measuring import rounded, run, write

from actgrad.console import run_script, script_parser
from actgrad.errors import UserError
from actgrad.files import PROJECT, sha256
from actgrad.results.paths import RUNS
from actgrad.results.run import copy, missing

TABLES = ("tags", "params", "metrics", "latest_metrics")
ADDED = 20
"""Number of runs that src/publish.py adds. A first run has already made the store."""
PUBLISH = [sys.executable, "src/publish.py", "data=digits"]


def main() -> None:
    parser = script_parser(__doc__, "  python benchmarks/publish_time.py --runs 100 1000\n")
    parser.add_argument("--runs", nargs="+", type=int, default=[100, 1000], help="that MLflow has when publish.py looks; default: 100 and 1000")
    parser.add_argument("--before", metavar="COMMIT", default="f59fa58", help="the older commit; default: %(default)s")
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="default: %(default)s")
    arguments = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {"added_s": {}, **{f"complete_{runs}_s": {} for runs in arguments.runs}}
    with tempfile.TemporaryDirectory(prefix="actgrad-bench-") as name:
        clones = {"before": clone(Path(name, "before"), arguments.before), "now": clone(Path(name, "now"), None)}
        for which, folder in clones.items():
            study(folder, 1)
            run(PUBLISH, folder)
            study(folder, 1 + ADDED)
            found["added_s"][which] = [(run(PUBLISH, folder)[0]) / ADDED]
        for runs in sorted(arguments.runs):
            for folder in clones.values():
                study(folder, runs)
                multiply(folder)
            for _ in range(arguments.rounds):
                for which, folder in clones.items():
                    seconds, printed = run(PUBLISH, folder)
                    if f"{runs} of {runs} runs, 0 MLflow runs" not in printed:
                        raise UserError("nothing-measured", f"publish.py did not find all copies complete, but printed: {printed.strip()[-300:]}")
                    found[f"complete_{runs}_s"].setdefault(which, []).append(seconds)
    median = {what: {which: rounded(np.median(values)) for which, values in of.items()} for what, of in found.items()}
    answers = {f"publish.py adds a run (of {ADDED} at once; before: {arguments.before})": told(median["added_s"], 2)}
    for runs in sorted(arguments.runs):
        answers[f"publish.py with {runs:,} complete runs (before: {arguments.before})"] = told(median[f"complete_{runs}_s"], 1)
    write({"before": arguments.before, **median}, answers)


def told(seconds: Mapping[str, float | None], digits: int) -> str:
    return f"{seconds['now']:.{digits}f} s; before: {seconds['before']:.{digits}f} s"


def clone(folder: Path, commit: str | None) -> Path:
    """A clone of the project at a commit, or with the current code if there is none."""
    subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(folder)], check=True)
    if commit:
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    else:
        for name in ("src", "conf"):
            shutil.copytree(PROJECT / name, folder / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "local"))
    shutil.rmtree(folder / RUNS)
    return folder


def study(folder: Path, runs: int) -> None:
    """Give a clone so many runs of one activation."""
    listed = {"datasets": ["digits"], "conditions": ["baseline"], "activations": ["relu"], "seeds": list(range(runs))}
    (folder / "params.yaml").write_text(yaml.safe_dump(listed))
    trained = [one for one in sorted((PROJECT / RUNS / "digits" / "relu").glob("baseline-*")) if not missing(one)]
    if not trained:
        raise UserError("missing-run", "there is no trained run of relu to copy; train some with python src/study.py data=digits activation=relu")
    for seed in range(runs):
        target = folder / RUNS / "digits" / "relu" / f"baseline-{seed}"
        if not target.exists():
            copy(trained[seed % len(trained)], target, f"digits/relu/baseline-{seed}")


def multiply(folder: Path) -> None:
    """Add an MLflow run for each missing run to a clone's store, by copying an existing run's rows under another key."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:
        known = dict(db.execute("SELECT value, run_uuid FROM tags WHERE key = 'key'"))
        like = {json.loads((folder / RUNS / key / "metrics.json").read_text())["fingerprint"]: (key, run_id) for key, run_id in known.items()}
        for path in sorted((folder / RUNS).glob("*/*/*/metrics.json")):
            key = path.parent.relative_to(folder / RUNS).as_posix()
            if key not in known:
                copied_key, copied = like[json.loads(path.read_text())["fingerprint"]]
                add(db, copied, [(copied_key, key), (sha256(folder / RUNS / copied_key / "metrics.json"), sha256(path))])


def add(db: sqlite3.Connection, run_id: str, replacements: Sequence[tuple[str, str]]) -> None:
    """Copy the rows of an MLflow run under a new id, with some texts in its tags replaced."""
    new = uuid.uuid4().hex
    for table in ("runs", *TABLES):
        columns = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
        values = ", ".join("?" if name == "run_uuid" else name for name in columns)
        db.execute(f"INSERT INTO {table} SELECT {values} FROM {table} WHERE run_uuid = ?", (new, run_id))
    for old, text in replacements:
        db.execute("UPDATE tags SET value = replace(value, ?, ?) WHERE run_uuid = ? AND key IN ('key', 'complete')", (old, text, new))


if __name__ == "__main__":
    run_script(main)
