"""Train the cells of a dataset that are missing or stale, several at once, and hand their results to DVC.

The results are those of dvc repro, byte for byte; dvc repro report@<dataset> then finds nothing to train. Cells are trained by
a launcher of Hydra, as many at once as there are cores for: the recipe says how many threads one takes. A cell whose process
dies is begun again where it was; one that fails stops no other.
"""

import argparse
import re
import sys
from pathlib import Path

import yaml

from actgrad.config import schema as config
from actgrad.console import dataset_name, run_script
from actgrad.errors import UserError
from actgrad.pipeline import dvc as pipeline
from actgrad.pipeline import launch as sweeping
from actgrad.results import run as results

EXAMPLES = """\
examples
  python src/sweep.py data=digits
  python src/sweep.py data=cifar10 --jobs 1
  python src/sweep.py data=digits hydra/launcher=ray
  python src/sweep.py data=cifar10 hydra/launcher=submitit_slurm hydra.launcher.partition=cpu --jobs 20

Launchers: joblib (processes here, the default); after make setup-scale also ray, submitit_local and submitit_slurm.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset of params.yaml")
    parser.add_argument("overrides", metavar="hydra/launcher=NAME", nargs="*", default=[], help="and values of it, hydra.launcher.KEY=VALUE")
    parser.add_argument("--jobs", metavar="N", type=int, help="cells at once; default: cores / threads of the recipe")
    arguments = parser.parse_intermixed_args()
    name, study = dataset_name(arguments.dataset), config.study(Path("params.yaml"))
    if name not in study.datasets:
        raise UserError(f"data={name} is not in params.yaml, whose datasets are {', '.join(study.datasets)}; add it there")
    if wrong := [one for one in arguments.overrides if not re.match(r"hydra/launcher=|\+{0,2}hydra\.launcher\.", one)]:
        raise UserError(f"{wrong[0]!r} would train other cells than dvc repro does; a sweep takes hydra/launcher=NAME and hydra.launcher.KEY=VALUE")
    pipeline.dvc("repro", *pipeline.preparing(name, study))
    threads = yaml.safe_load(results.recipe_path(name).read_text())["threads"]
    launching = sweeping.launcher(arguments.overrides, arguments.jobs, threads)
    cells = sweeping.stale(name, study)
    if not cells:
        print(f"every cell of {name} is up to date")
        return
    print(f"{len(cells)} cells of {name} by {launching[0]}, {threads} threads each; what they print goes to {sweeping.log(name)}", flush=True)
    failed = sweeping.train(name, study, cells, launching)
    for cell, reason in failed.items():
        sys.stderr.write(f"failed: {cell.key}: {reason}\n")
    if failed:
        counts = f"{len(cells) - len(failed)} cells trained, {len(failed)} failed"
        raise UserError(f"{counts}, see above and {sweeping.log(name)}; mend the cause and sweep again")
    print(f"{len(cells)} cells trained; python -m dvc repro report@{name} makes the report")


if __name__ == "__main__":
    run_script(main)
