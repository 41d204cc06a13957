"""Train the cells of a dataset that are missing or stale, several at once, and hand their results to DVC.

The results are those of dvc repro, byte for byte; dvc repro report@<dataset> then finds nothing to train. Cells are trained by
Hydra's launcher joblib, as many at once as there are cores for: the recipe says how many threads one takes.
"""

import argparse
import os
from pathlib import Path

import yaml

from actgrad import config, pipeline, results
from actgrad.console import dataset_name, run_script
from actgrad.errors import UserError

EXAMPLES = """\
examples
  python src/sweep.py data=digits
  python src/sweep.py data=cifar10 --jobs 1
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset of params.yaml")
    parser.add_argument("--jobs", metavar="N", type=int, help="cells at once; default: cores / threads of the recipe")
    arguments = parser.parse_args()
    name, study = dataset_name(arguments.dataset), config.study(Path("params.yaml"))
    if name not in study.datasets:
        raise UserError(f"data={name} is not in params.yaml, whose datasets are {', '.join(study.datasets)}; add it there")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise UserError(f"--jobs {arguments.jobs} trains nothing; choose 1 or more")
    pipeline.dvc("repro", *pipeline.preparing(name, study))
    threads = yaml.safe_load(results.recipe_path(name).read_text())["threads"]
    jobs = arguments.jobs or max(1, (os.cpu_count() or 1) // threads)
    failed, done = [], 0
    for batch in pipeline.batches(name, study, pipeline.stale(pipeline.training(name, study))):
        print(f"cells to train: {len(batch.folders)}, {jobs} at once, of {len(batch.cells)} stages: {next(iter(batch.cells))}, …", flush=True)
        missing = pipeline.train(batch, jobs)
        failed += missing
        done += len(batch.folders) - len(missing)
    if failed:
        raise UserError(f"{done} cells trained, {len(failed)} failed: {', '.join(map(str, failed))}; see above, mend the cause and sweep again")
    print(f"{done} cells trained; python -m dvc repro report@{name} makes the report" if done else f"every cell of {name} is up to date")


if __name__ == "__main__":
    run_script(main)
