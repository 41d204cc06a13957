"""Bring the MLflow store in line with runs/: add what it lacks, as often as you like.

For a store that was deleted, or was down while cells were trained, and for results that DVC took from its cache or from a remote
without training them.
"""

import argparse
from pathlib import Path

from actgrad.config import schema as config
from actgrad.console import dataset_name, load_keras, run_script
from actgrad.errors import UserError
from actgrad.results import run as results
from actgrad.results.run import CellResult


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python src/publish.py data=digits")
    parser.add_argument("dataset", metavar="data=NAME", nargs="?", help="a dataset of params.yaml; default: all of them")
    argument = parser.parse_args().dataset
    study = config.study(Path("params.yaml"))
    names = [dataset_name(argument)] if argument else study.datasets
    if unknown := sorted(set(names) - set(study.datasets)):
        raise UserError(f"data={unknown[0]} is not in params.yaml, whose datasets are {', '.join(study.datasets)}")
    listed = config.cells(study)
    load_keras()
    from actgrad.tracking import store as tracking

    for dataset in names:
        for experiment, of in listed.items():
            of_study = f"{dataset}/{experiment}" if experiment else dataset
            folders = {name: [results.folder(of_study, name, seed) for seed in of.seeds] for name in of.activations}
            whole = {name: [folder for folder in every if not results.missing(folder)] for name, every in folders.items()}
            cells = {name: [(CellResult.read(folder), folder) for folder in every] for name, every in whole.items()}
            trained, wanted = sum(map(len, cells.values())), len(of.activations) * len(of.seeds)
            if trained:
                target = tracking.configured(dataset, experiment)
                changed = tracking.publish(target, {name: found for name, found in cells.items() if found})
                print(f"{target.experiment}: {trained} of {wanted} cells, {changed} runs made or completed", flush=True)
            else:
                print(f"{of_study}: no cell has been trained", flush=True)


if __name__ == "__main__":
    run_script(main)
