"""Bring the MLflow store in line with runs/: add what it lacks. It can be repeated. With --links, only print the links to its pages.

Use it if the store was deleted, if it was down while runs were trained, or if DVC took results from its cache or a remote
without training them.
"""

import gc
from pathlib import Path

from actgrad.config.loading import listed, require_dataset, study
from actgrad.console import dataset_name, run_script, script_parser
from actgrad.results.paths import RUNS, run_folder
from actgrad.results.run import missing

NOT_THERE = "not in MLflow yet; dvc repro trains its runs, python src/publish.py adds trained ones"


def main() -> None:
    parser = script_parser(__doc__, "  python src/publish.py data=digits\n  python src/publish.py --links\n")
    parser.add_argument("dataset", metavar="data=NAME", nargs="?", help="a dataset of params.yaml; default: all of them")
    parser.add_argument("--links", metavar="ADDRESS", nargs="?", const="", help="print the links; ADDRESS is the server's, default: that of make ui")
    arguments = parser.parse_args()
    argument = arguments.dataset
    params = study()
    if argument:
        require_dataset(dataset_name(argument), params)
    gc.disable()  # garbage collection takes a quarter of the time, and frees little
    from actgrad.tracking import experiments, publish, store

    for dataset in [dataset_name(argument)] if argument else params.datasets:
        tracking = store.configured(dataset)
        if arguments.links is not None:
            link = experiments.link(tracking, arguments.links)
            print(f"{dataset}: {link or NOT_THERE}", flush=True)
            continue
        folders = [
            run_folder(dataset, activation, condition, seed)
            for condition, runs in listed(params, dataset).items()
            for activation in runs.activations
            for seed in runs.seeds
        ]
        trained: list[Path] = []
        lacking: list[Path] = []
        for folder in folders:
            (lacking if missing(folder) else trained).append(folder)
        changed = publish.publish(tracking, trained, [folder.relative_to(RUNS).as_posix() for folder in lacking])
        print(f"{dataset}: {len(trained)} of {len(folders)} runs, {changed} MLflow runs made or completed", flush=True)


if __name__ == "__main__":
    run_script(main)
