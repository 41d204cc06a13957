"""Train the runs of a study that are missing or stale, several at once.

params.yaml and conf/condition list the runs. Their configurations are first written to runs/<dataset>/composed-runs/<activation>.yaml.
A run whose process dies goes on where it was. A run that fails stops no other, and is named at the end. conf/local/default.yaml
chooses where runs are trained: see docs/clusters.md.
"""

from actgrad.config import loading
from actgrad.console import named, run_script, script_parser
from actgrad.errors import UserError
from actgrad.pipeline import composed, study

EXAMPLES = """\
  python src/study.py data=digits
  python src/study.py data=digits activation=relu condition=baseline seed=0
  python src/study.py data=digits activation=relu --compose
"""


def main() -> None:
    parser = script_parser(__doc__, EXAMPLES)
    parser.add_argument("arguments", metavar="KEY=NAME", nargs="+", help="data=NAME, and to narrow it activation=NAME, condition=NAME, seed=NUMBER")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--compose", action="store_true", help="only write the composed files")
    only.add_argument("--train", action="store_true", help="only train what the composed files list")
    only.add_argument("--remove-unlisted", action="store_true", help="only remove the files of activations that params.yaml does not list")
    arguments = parser.parse_intermixed_args()
    given = named(arguments.arguments, "data", "activation", "condition", "seed")
    if "data" not in given:
        raise UserError("usage", "name a dataset of params.yaml with data=NAME, such as data=digits")
    seed = given.get("seed", "0")
    if not (seed.isascii() and seed.isdecimal()):
        raise UserError("wrong-value", f"seed={seed} is not a whole number; write seed=NUMBER")
    params = loading.study()
    loading.require_dataset(given["data"], params)
    for key, known in (("activation", params.activations), ("condition", params.conditions)):
        loading.require(key, given.get(key, known[0]), known, f"{key}s")
    selection = study.Selection(given["data"], given.get("activation"), given.get("condition"), int(seed) if "seed" in given else None)
    if arguments.remove_unlisted:
        study.remove_unlisted_activations(selection.dataset, params)
        return
    for activation in () if arguments.train else selection.activations(params):
        composed.write(selection.dataset, activation, params)
    if not arguments.compose:
        study.train_missing(selection, params)


if __name__ == "__main__":
    run_script(main, "the same command goes on where it was")
