"""Write down the recipe that a dataset's cells are trained under, in its study or in an experiment.

Cells depend on that file instead of all of conf/, so that an edit retrains those only whose recipe it changes. That of an
experiment has the configurations of its activations too.
"""

import argparse

import yaml

from actgrad import files
from actgrad.config import schema as config
from actgrad.console import dataset_name, run_script
from actgrad.pipeline import dvc as pipeline
from actgrad.results import run as results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="data=NAME", help="a file of conf/data")
    parser.add_argument("recipe", metavar="recipe=NAME", help="a file of conf/recipe, or `default` for the one that the dataset names")
    parser.add_argument("experiment", metavar="experiment=NAME", nargs="?", help="a file of conf/experiment")
    arguments = parser.parse_args()
    experiment = arguments.experiment.removeprefix("experiment=") if arguments.experiment else None
    listed = config.experiment(experiment).activations if experiment else []
    name = dataset_name(arguments.dataset)
    text = pipeline.composed_recipe(*(argument for argument in vars(arguments).values() if argument))
    config.check_tuned(experiment, name, yaml.safe_load(text)["name"])
    if experiment:
        text += yaml.safe_dump({"activations": [config.activation_config(name).model_dump() for name in listed]}, sort_keys=False)
    target = results.recipe_path(name, experiment)
    files.write_bytes(target, text.encode())


if __name__ == "__main__":
    run_script(main)
