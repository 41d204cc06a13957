"""Measure how cost grows with the number of cells: DVC, publish.py, the report and MLflow's list of runs, on studies of synthetic cells.

A synthetic cell is a trained cell of digits under another seed, its accuracies shifted a little. Every number of cells is laid out twice:
with a stage for each cell, as params.yaml does, and with one stage for all but ten, as an experiment does. MLflow's store knows no
stages and is measured once; where publish.py would take longer than the limit at its pace so far, the store is filled with copies of
what it has published. Seconds, memory and sizes go to benchmarks/growth.json, where a part that is not measured stays as it was; null is
what takes longer than the limit.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import requests
import yaml
from measuring import environment, machine, rounded
from tqdm import tqdm

from actgrad import files
from actgrad import git as repository
from actgrad.config import schema as config
from actgrad.console import run_script
from actgrad.errors import UserError
from actgrad.pipeline import launch as sweeping
from actgrad.results import run as results

CELLS, LIMIT, LISTS = (10, 100, 1000, 5000), 900, 7
COPIED = 120
"""Seconds in which publish.py makes the runs that are copied."""
TABLES = ("runs", "params", "tags", "metrics", "latest_metrics")
WIDE = "wide"
LAYOUTS = ("a stage a cell", "a stage an experiment")
PARTS = ("pipelines", "stores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python benchmarks/growth.py --cells 10 100")
    parser.add_argument("--cells", metavar="N", type=int, nargs="+", default=CELLS, help="multiples of 10; default: 10 100 1000 5000")
    parser.add_argument("--limit", metavar="SECONDS", type=int, default=LIMIT, help="for each measurement; default: %(default)s")
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=PARTS, help="default: both")
    arguments = parser.parse_args()
    if wrong := [number for number in arguments.cells if number < 10 or number % 10]:
        raise UserError(f"--cells {wrong[0]} is no multiple of 10, for there are ten activations")
    if arguments.limit < 1:
        raise UserError(f"--limit {arguments.limit} measures nothing; choose 1 or more")
    command = f"python benchmarks/growth.py --cells {' '.join(map(str, arguments.cells))} --limit {arguments.limit}"
    path = Path(__file__).with_suffix(".json")
    report = json.loads(path.read_text()) if path.exists() else {}
    for part in arguments.parts:
        measured = {"pipelines": pipelines, "stores": stores}[part](arguments.cells, arguments.limit)
        report[part] = {"command": f"{command} --parts {part}", "limit_s": arguments.limit, "machine": machine(), "rows": measured}
        files.write_bytes(path, results.json_bytes(report))
    print(f"benchmarks/growth.json: {', '.join(arguments.parts)}")


def pipelines(numbers: Sequence[int], limit: int) -> list[dict[str, Any]]:
    rows = []
    for number, layout in progress([(cells, layout) for cells in numbers for layout in layouts(cells)], "pipelines"):
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"cells": number, "layout": layout, **Synthetic(Path(folder, "study"), number, layout, limit).pipeline()})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def stores(numbers: Sequence[int], limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in progress(numbers, "stores"):
        paces = [row["publish_s"] / row["cells"] for row in rows if row["publish_s"]]
        with tempfile.TemporaryDirectory() as folder:
            study = Synthetic(Path(folder, "study"), number, layouts(number)[-1], limit)
            rows.append({"cells": number, **study.store(published=not paces or number * paces[-1] < limit)})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def layouts(cells: int) -> Sequence[str]:
    return LAYOUTS if cells > 10 else LAYOUTS[:1]  # ten are the study's own, and leave none for an experiment


def progress(studies: Sequence[Any], part: str) -> Iterable[Any]:
    return tqdm(studies, desc=part, unit="study", disable=not sys.stderr.isatty())


class Unabridged(yaml.CSafeDumper):
    """Writes what several stages share as often as they have it, as DVC does."""

    def ignore_aliases(self, _: object) -> bool:
        return True


class Synthetic:
    """A repository with the results of a study that was never trained."""

    def __init__(self, folder: Path, cells: int, layout: str, limit: int):
        self._folder, self._cells, self._limit = folder, cells, limit
        self._grouped = grouped = layout == LAYOUTS[1]
        subprocess.run(["git", "clone", "--quiet", str(repository.PROJECT), str(folder)], check=True)
        own = config.study(repository.PROJECT / "params.yaml")
        self._trained = own.seeds
        seeds = list(range(cells // len(own.activations)))
        apart, together = (seeds[:1], seeds[1:]) if grouped else (seeds, [])
        params = {"datasets": ["digits"], "activations": own.activations, "seeds": apart, "experiments": [WIDE] if grouped else []}
        (folder / "params.yaml").write_text(yaml.safe_dump(params | {"recipe": own.recipe}))
        shutil.rmtree(folder / "runs" / "digits")
        lock = yaml.safe_load((repository.PROJECT / "dvc.lock").read_text())
        stages = {name: stage for name, stage in lock["stages"].items() if name.endswith("@digits")}
        for name in ("recipe.yaml", "depth.csv", "tuning.csv"):
            self._copy(Path("runs", "digits", name))
        self._copy(Path("data", "digits.npz"))
        for activation, seed in itertools.product(own.activations, apart):
            trained = lock["stages"][f"train@digits-{activation}-{self._like(seed)}"]
            stages[f"train@digits-{activation}-{seed}"] = self._entry(trained, activation, seed)
        for activation, seed in itertools.product(own.activations, together):
            self._cell(results.folder(f"digits/{WIDE}", activation, seed), activation, seed)
        (folder / "dvc.lock").write_text(yaml.dump(lock | {"stages": stages}, Dumper=Unabridged, sort_keys=False))
        if grouped:
            listed = {"activation": ",".join(own.activations), "seed": ",".join(map(str, together))}
            text = yaml.safe_dump(
                {"experiment": WIDE, "tracking": {"experiment": f"${{data.name}} {WIDE}"}, "hydra": {"sweeper": {"params": listed}}}
            )
            (folder / "conf" / "experiment" / f"{WIDE}.yaml").write_text(f"# @package _global_\n{text}")
            self._run(["dvc", "repro", "--quiet", f"experiment_recipe@digits-{WIDE}"])

    def pipeline(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        found["report_s"], found["report_mib"] = self._run(["python", "src/report.py", "data=digits"], self._limit)
        with chdir(self._folder):
            sweeping.commit({"download@digits", "depth@digits", "report@digits", *([f"experiment@digits-{WIDE}"] if self._grouped else [])})
        self._run(["dvc", "status"])  # which remembers the files that it has hashed
        found["status_s"], _ = self._run(["dvc", "status"], self._limit)
        found["repro_s"], _ = self._run(["dvc", "repro"], self._limit)
        for name, path in (("lock", "dvc.lock"), ("page", "reports/digits/index.html")):
            found[f"{name}_mb"] = rounded((self._folder / path).stat().st_size / 1e6)
        return found

    def store(self, published: bool) -> dict[str, Any]:
        """Of MLflow's runs, of which only a part is published, and the rest copied, if publish.py would take too long."""
        command = ["python", "src/publish.py", "data=digits"]
        found: dict[str, Any] = {"publish_s": None, "publish_again_s": None}
        if published:
            found["publish_s"], _ = self._run(command, self._limit)
        else:
            self._run(command, COPIED)
        if found["publish_s"]:
            found["publish_again_s"], _ = self._run(command, self._limit)
        else:
            self._copy_runs()
        found["store_mb"] = rounded((self._folder / "mlflow.db").stat().st_size / 1e6)
        return found | self._run_list()

    def _copy_runs(self) -> None:
        """Give the store as many runs as the study has cells."""
        with closing(sqlite3.connect(self._folder / "mlflow.db")) as store, store:
            runs = [run for (run,) in store.execute("SELECT DISTINCT run_uuid FROM params")]
            if not runs:
                raise UserError(f"publish.py has made no run in {COPIED} s that could be copied")
            columns = {table: [column for _, column, *_ in store.execute(f"PRAGMA table_info({table})")] for table in TABLES}
            for run in itertools.islice(itertools.cycle(runs), self._cells - len(runs)):
                ids = {"run": run, "new": uuid.uuid4().hex}
                for table, names in columns.items():
                    values = ", ".join(":new" if name == "run_uuid" else name for name in names)
                    store.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} WHERE run_uuid = :run", ids)

    def _like(self, seed: int) -> int:
        return self._trained[seed % len(self._trained)]

    def _copy(self, path: Path) -> None:
        (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository.PROJECT / path, self._folder / path)

    def _cell(self, folder: Path, activation: str, seed: int) -> None:
        """The files of a trained cell under another seed."""
        trained, target = repository.PROJECT / results.folder("digits", activation, self._like(seed)), self._folder / folder
        shutil.copytree(trained, target, dirs_exist_ok=True)
        cell = yaml.safe_load((trained / "config.yaml").read_text()) | {"seed": seed}
        (target / "config.yaml").write_text(yaml.safe_dump(cell, sort_keys=False))
        metrics = json.loads((trained / "metrics.json").read_text())
        key = str(folder.relative_to("runs"))
        metrics |= {"key": key, "fingerprint": hashlib.sha256(key.encode()).hexdigest()}
        shift = np.random.default_rng(seed).normal(0, 0.005)
        metrics["last"] = {name: value + (shift if name.endswith("accuracy") else 0) for name, value in metrics["last"].items()}
        (target / "metrics.json").write_bytes(results.json_bytes(metrics))

    def _entry(self, trained: dict[str, Any], activation: str, seed: int) -> dict[str, Any]:
        """Make a cell of the study, and return what dvc.lock says of it."""
        folder = results.folder("digits", activation, seed)
        self._cell(folder, activation, seed)
        outs = []
        for out in trained["outs"]:
            path = self._folder / folder / Path(out["path"]).name
            content = path.read_bytes()
            md5 = hashlib.md5(content).hexdigest()
            files.write_bytes(
                self._folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:], content
            )  # as dvc commit does, too slowly for thousands
            outs.append(out | {"path": str(path.relative_to(self._folder)), "md5": md5, "size": len(content)})
        before, after = (f"{activation}-{number}" for number in (self._like(seed), seed))
        cmd = trained["cmd"].replace(before, after).replace(f"seed={self._like(seed)} ", f"seed={seed} ")
        return trained | {"cmd": cmd, "outs": outs}

    def _run(self, command: list[str], limit: int | None = None) -> tuple[float | None, float]:
        """Seconds, None if they were more than the limit, and MiB resident at its peak."""
        over = threading.Event()
        with tempfile.TemporaryFile("w+") as output:
            began = time.perf_counter()
            process = subprocess.Popen(command, cwd=self._folder, stdout=output, stderr=subprocess.STDOUT, env=environment(), start_new_session=True)
            end = threading.Timer(limit or threading.TIMEOUT_MAX, lambda: (over.set(), os.killpg(process.pid, signal.SIGKILL)))
            end.daemon = True
            end.start()
            try:
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            finally:
                end.cancel()
                if process.returncode is None:  # this process is interrupted
                    os.killpg(process.pid, signal.SIGTERM)
            seconds = time.perf_counter() - began
            output.seek(0)
            said = output.read().strip().splitlines()
        if process.returncode and not over.is_set():
            raise UserError(f"{' '.join(command)} failed: {' '.join(said[-1:])}")
        return None if over.is_set() else rounded(seconds), rounded(usage.ru_maxrss / 1024)

    def _run_list(self) -> dict[str, Any]:
        """Median seconds of the request for a page of 100 runs, as MLflow's own page makes it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db", "--port", str(port), "--workers", "1"]
        server = subprocess.Popen(
            command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), start_new_session=True
        )
        address = f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow"
        try:
            while server.poll() is None:
                try:
                    experiments = requests.post(f"{address}/experiments/search", json={"max_results": 10}, timeout=60).json()["experiments"]
                    break
                except requests.ConnectionError:
                    time.sleep(0.5)
            else:
                raise UserError("mlflow server has ended; look at the port, or at what it prints by itself")
            name = f"digits {WIDE}" if self._grouped else "digits"
            (number,) = [one["experiment_id"] for one in experiments if one["name"] == name]
            times = []
            for _ in range(LISTS):
                began = time.perf_counter()
                requests.post(f"{address}/runs/search", json={"experiment_ids": [number], "max_results": 100}, timeout=600).raise_for_status()
                times.append(time.perf_counter() - began)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait()
        return {"run_list_s": rounded(np.median(times))}


if __name__ == "__main__":
    run_script(main)
