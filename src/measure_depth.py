"""Make runs/<dataset>/depth.csv: what depth does to the gradient, for the activations and seeds of params.yaml."""

import argparse
import sys
from pathlib import Path

import pandas as pd
import yaml
from tqdm import tqdm

from actgrad.config import schema as config
from actgrad.console import dataset_name, load_keras, run_script
from actgrad.data import storage as datasets
from actgrad.errors import UserError
from actgrad.files import write_bytes
from actgrad.results import run as results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python src/measure_depth.py data=digits")
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset of params.yaml whose recipe has been written: dvc repro recipe@NAME")
    name = dataset_name(parser.parse_args().dataset)
    study = config.study(Path("params.yaml"))
    recipe_path = results.recipe_path(name)
    if not recipe_path.is_file():
        raise UserError(f"{recipe_path} is missing; write it with dvc repro recipe@{name}")
    recipe = yaml.safe_load(recipe_path.read_text())
    dataset = datasets.load(config.data_config(name, []))
    chosen = [config.activation_config(activation) for activation in study.activations]
    units = config.model_config("lenet5").dense_units
    load_keras()
    from actgrad.networks import lenet5, seeding
    from actgrad.training import depth

    seeding.make_deterministic(0, recipe["threads"])
    validation = dataset.images[dataset.validation_split], dataset.labels[dataset.validation_split]
    images, labels = datasets.probe_batch(*validation, recipe["probe_size"])
    images = lenet5.scaled(images, recipe["input_scaling"], dataset.images["train"])
    cells = [(activation, seed) for activation in chosen for seed in study.seeds]
    tables = [
        depth.attenuation(activation, seed, images, labels, len(dataset.class_names), units, recipe["kernel_initializer"])
        for activation, seed in tqdm(cells, desc=f"depth on {name}", unit="stack", disable=not sys.stderr.isatty())
    ]
    target = results.depth_path(name)
    write_bytes(target, results.csv_bytes(pd.concat(tables)))
    print(f"{target}: {len(chosen)} activations, {len(study.seeds)} seeds, {min(depth.DEPTHS)} to {max(depth.DEPTHS)} blocks")


if __name__ == "__main__":
    run_script(main)
