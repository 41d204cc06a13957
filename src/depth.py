"""Measure what depth does to the gradient, for the activations and seeds of params.yaml, before any update."""

from actgrad.config import loading
from actgrad.console import dataset_name, run_script, script_parser
from actgrad.pipeline import depth
from actgrad.results.paths import depth_path


def main() -> None:
    parser = script_parser(__doc__, "  python src/depth.py data=digits\n")
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset of params.yaml whose runs have been composed: dvc repro compose@NAME-relu")
    name = dataset_name(parser.parse_args().dataset)
    study = loading.study()
    loading.require_dataset(name, study)
    measured = depth.write(name, study)
    print(f"{depth_path(name)}: {len(study.activations)} activations, {measured} of them measured now")


if __name__ == "__main__":
    run_script(main)
