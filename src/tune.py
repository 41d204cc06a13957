"""Search the learning rate of each activation on the validation split, and write the best ones into conf/rates/<dataset>.yaml.

Trains the short trials of conf/condition/tuning.yaml, logs each to MLflow, and keeps their results in runs/<dataset>/learning-rates.csv.
The condition `standardized_tuned` takes for each activation the rate with the highest validation accuracy. A new search of an activation replaces
its earlier trials. An interrupted search goes on where it was.
"""

from actgrad.console import dataset_name, run_script, script_parser
from actgrad.pipeline import search

EXAMPLES = """\
  python src/tune.py data=digits
  python src/tune.py data=digits activation=relu,snake recipe.learning_rate=0.001,0.01,0.1
  python src/tune.py data=cifar10 recipe.epochs=2 seed=0,1,2
"""
OVERRIDES = "other trials than conf/condition/tuning.yaml lists; of keys other than activation, recipe.learning_rate and seed, one value"


def main() -> None:
    parser = script_parser(__doc__, EXAMPLES)
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset that has been downloaded")
    parser.add_argument("overrides", metavar="KEY=VALUE,VALUE", nargs="*", default=[], help=OVERRIDES)
    arguments = parser.parse_args()
    search.run(dataset_name(arguments.dataset), arguments.overrides)


if __name__ == "__main__":
    run_script(main)
