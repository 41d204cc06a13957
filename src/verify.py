"""Train a dataset's cells again in a copy and compare every byte with the last commit, or check where a result comes from."""

import argparse
import tempfile
from pathlib import Path

from actgrad.console import dataset_name, load_keras, run_script
from actgrad.errors import UserError
from actgrad.pipeline import launch as sweeping
from actgrad.pipeline import reproduce as reproduction

EXAMPLES = """\
examples
  python src/verify.py data=digits                  all cells of the last commit, trained again: identical, within tolerance, or different
  python src/verify.py data=digits --threads 2      the same with two threads a cell: how far do the results move?
  python src/verify.py --cell digits/relu-0         from the cell's files to its run, commit, dvc.lock, data, configuration and weights
  python src/verify.py --cell digits                the same, of all cells of a dataset
  python src/verify.py --run RUN_ID                 the same, from a run of the MLflow store to the cell's files
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="data=NAME", nargs="?", help="a dataset of params.yaml, to be trained again")
    parser.add_argument("--threads", metavar="N", type=int, help="train again with another number of threads than the recipe's")
    parser.add_argument("--cell", metavar="KEY", nargs="+", default=[], help="cells whose origin is checked; a dataset stands for all of its cells")
    parser.add_argument("--run", metavar="RUN_ID", nargs="+", default=[], help="MLflow runs whose origin is checked")
    arguments = parser.parse_args()
    if bool(arguments.dataset) == bool(arguments.cell or arguments.run) or (arguments.threads is not None and not arguments.dataset):
        raise UserError("give either data=NAME, to train a dataset again (with --threads N, if you like), or --cell and --run, to check origins")
    if arguments.dataset:
        train_again(dataset_name(arguments.dataset), arguments.threads)
    else:
        keys = dict.fromkeys(key for one in arguments.cell for key in ([one] if "/" in one else sweeping.keys(one)))
        load_keras()  # here, because a dataset that is refused need not wait for it
        from actgrad.pipeline import trace as lineage

        if wrong := lineage.reported(keys, arguments.run):
            raise UserError("; ".join(wrong))


def train_again(name: str, threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise UserError(f"--threads {threads} computes nothing; choose 1 or more")
    with tempfile.TemporaryDirectory(prefix="actgrad-verify-") as folder:
        if different := reproduction.verify(Path(folder, "copy"), name, threads):
            raise UserError(f"different: {', '.join(different)}")


if __name__ == "__main__":
    run_script(main)
