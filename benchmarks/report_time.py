"""Measure seconds and memory of src/report.py on 200 runs or more.

The runs are copies of a trained dataset's runs, in a separate folder.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from measuring import environment, parsed, rounded, write

from actgrad.config.loading import listed, study
from actgrad.config.schema import Study
from actgrad.console import run_script
from actgrad.errors import UserError
from actgrad.files import PROJECT
from actgrad.results.paths import run_folder
from actgrad.results.run import RunResult

SECONDS, MEGABYTES = 4, 500
"""The project's own limits for 200 runs on two cores."""


def project(folder: Path, dataset: str, number: int) -> int:
    """Make a project with at least so many runs of all conditions, and return their number."""
    params = study()
    trained = listed(params, dataset)
    while _count(params, dataset) < number:
        params = params.model_copy(update={"seeds": [*range(len(params.seeds) + 1)]})
    for name in ("conf", "src"):
        (folder / name).symlink_to(PROJECT / name)
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump() | {"datasets": [dataset]}))
    for condition, one in listed(params, dataset).items():
        for activation in one.activations:
            like = [RunResult.read(run_folder(dataset, activation, condition, seed)) for seed in trained[condition].seeds]
            for seed in one.seeds:
                copied = like[seed % len(like)]
                target = run_folder(dataset, activation, condition, seed)
                dataclasses.replace(copied, metrics=copied.metrics | {"key": "/".join(target.parts[1:])}).write(folder / target)
    return _count(params, dataset)


def _count(params: Study, dataset: str) -> int:
    return sum(len(one.activations) * len(one.seeds) for one in listed(params, dataset).values())


def main() -> None:
    dataset, arguments = parsed(__doc__, "python benchmarks/report_time.py data=digits", runs=(200, 1, "runs of the study"))
    if not (PROJECT / "runs" / dataset).is_dir():
        raise UserError("missing-run", f"runs/{dataset} has no runs; train them with dvc repro report@{dataset}")
    with tempfile.TemporaryDirectory() as name:
        made = project(Path(name), dataset, arguments.runs)
        measured = []
        for _ in range(3):  # the first one makes the page's script, which is then cached
            own = environment(PYTHONSAFEPATH="1", PYTHONPATH=str(Path(name, "src")))  # else Python would search where the link points
            start = time.perf_counter()
            child = subprocess.Popen([sys.executable, str(Path(name, "src", "report.py")), f"data={dataset}"], cwd=name, env=own)
            _, status, usage = os.wait4(child.pid, 0)
            if status:
                raise UserError("command-failed", f"src/report.py failed; its folder was {name}")
            measured.append((time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
        page = Path(name, "reports", dataset, "index.html").stat().st_size
    seconds, processor = (min(one[i] for one in measured[1:]) for i in (0, 1))
    memory = max(one[2] for one in measured[1:])
    report = {"runs": made, "seconds": rounded(seconds), "processor_s": rounded(processor), "memory_mb": rounded(memory), "page_bytes": page}
    answers = {
        f"a report of {made} runs (limit: {SECONDS} s)": f"{seconds:.1f} s",
        f"a report of {made} runs, processor time": f"{processor:.1f} s",
        f"a report of {made} runs, memory of its larger process (limit: {MEGABYTES} MB)": f"{memory:.0f} MB",
        f"the page of {made} runs": f"{page / 1e6:.2f} MB",
    }
    write(report, answers)


if __name__ == "__main__":
    run_script(main)
