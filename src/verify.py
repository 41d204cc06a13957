"""Train a dataset's runs again in a copy and compare every byte with the last commit, or check where a result comes from."""

import tempfile
from pathlib import Path

from actgrad.config import loading
from actgrad.console import dataset_name, run_script, script_parser
from actgrad.errors import UserError
from actgrad.pipeline import composed, reproduce
from actgrad.pipeline.keras_process import load_keras

EXAMPLES = """\
  python src/verify.py data=digits                       all runs of the last commit, trained again: identical, within tolerance, or different
  python src/verify.py data=digits --threads 2           the same with two threads a run: how far do the results move?
  python src/verify.py --run digits/relu/baseline-0      from the run's files to its MLflow run, commit, dvc.lock, data, configuration, weights
  python src/verify.py --run digits                      the same, of all runs of a dataset
  python src/verify.py --mlflow-run RUN_ID               the same, from a run of the MLflow store to its files
"""


def main() -> None:
    parser = script_parser(__doc__, EXAMPLES)
    parser.add_argument("dataset", metavar="data=NAME", nargs="?", help="a dataset of params.yaml, to be trained again")
    parser.add_argument("--threads", metavar="N", type=int, help="train again with another number of threads than the recipe's")
    parser.add_argument("--run", metavar="KEY", nargs="+", default=[], help="runs whose origin is checked; a dataset stands for all of its runs")
    parser.add_argument("--mlflow-run", metavar="RUN_ID", nargs="+", default=[], help="MLflow runs whose origin is checked")
    arguments = parser.parse_args()
    if bool(arguments.dataset) == bool(arguments.run or arguments.mlflow_run) or (arguments.threads is not None and not arguments.dataset):
        raise UserError(
            "usage", "give data=NAME (with --threads N, if you like) to train a dataset again, or --run and --mlflow-run to check origins"
        )
    if arguments.dataset:
        train_again(dataset_name(arguments.dataset), arguments.threads)
    else:
        keys = dict.fromkeys(key for one in arguments.run for key in ([one] if "/" in one else all_keys(one)))
        load_keras()  # slow, so only after the dataset was accepted
        from actgrad.pipeline import trace

        if wrong := trace.reported(keys, arguments.mlflow_run):
            raise UserError("origin-differs", "; ".join(wrong))


def all_keys(dataset: str) -> list[str]:
    study = loading.study()
    loading.require_dataset(dataset, study)
    return [run.key for activation in study.activations for run in composed.read(dataset, activation).runs]


def train_again(name: str, threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise UserError("wrong-value", f"--threads {threads} computes nothing; choose 1 or more")
    with tempfile.TemporaryDirectory(prefix="actgrad-verify-") as folder:
        if different := reproduce.verify(Path(folder, "copy"), name, threads):
            raise UserError("results-differ", f"different: {', '.join(different)}")


if __name__ == "__main__":
    run_script(main)
