"""Search the learning rate of each activation on the validation split, and write what was found as the recipe <dataset>_tuned.

Trains the short trials of conf/experiment/tuning.yaml, logs each to MLflow, keeps their results in runs/<dataset>/tuning.csv, and
writes conf/recipe/<dataset>_tuned.yaml: the dataset's own recipe, with the learning rate of each activation that reached the
highest validation accuracy. A new search of an activation replaces its earlier trials. One that was interrupted goes on.
"""

import argparse
import subprocess
import time
from pathlib import Path

import pandas as pd

from actgrad import files
from actgrad.analysis import learning_rates as tuning
from actgrad.config import schema as config
from actgrad.console import dataset_name, run_script
from actgrad.data import storage as datasets
from actgrad.errors import UserError
from actgrad.pipeline import dvc as pipeline
from actgrad.results import run as results

EXAMPLES = """\
examples
  python src/tune.py data=digits
  python src/tune.py data=digits activation=relu,snake recipe.learning_rate=0.001,0.01,0.1
  python src/tune.py data=cifar10 recipe.epochs=2 seed=0,1,2
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset that has been downloaded")
    parser.add_argument("overrides", metavar="KEY=VALUE,VALUE", nargs="*", default=[], help="other trials than conf/experiment/tuning.yaml lists")
    arguments = parser.parse_args()
    name = dataset_name(arguments.dataset)
    if datasets.load(config.data_config(name, [])).validation_split == "test":
        raise UserError(f"{name} has no validation split, and a learning rate chosen on the test split would spoil it; set data.val_size above 0")
    folder = Path("outputs", name, "tuning")
    began = time.time()
    trials = subprocess.run([*pipeline.TRAIN, "-m", f"data={name}", "experiment=tuning", *arguments.overrides], check=False)
    if trials.returncode:
        raise UserError("the trials did not finish, see above; nothing was written")
    kept, target = results.tuning_path(name), config.CONF / "recipe" / f"{name}_{config.TUNED}.yaml"
    table = tuning.read(folder, since=began)
    if kept.is_file():
        table = tuning.merged(pd.read_csv(kept), table)
    recipe = tuning.recipe(name, pipeline.composed_recipe(f"data={name}"), table)
    files.new_folder(str(kept.parent), "runs")
    files.write_bytes(kept, results.csv_bytes(table))
    files.write_bytes(target, recipe.encode())
    print(tuning.best(table).to_string(index=False), "\nat_edge: no smaller or no larger rate was tried, and a better one may lie outside")
    print(f"{target.relative_to(config.CONF.parent)} and {kept}: {len(table)} trials. Train under it: experiment={config.TUNED}")


if __name__ == "__main__":
    run_script(main)
