"""Check params.yaml and the files of conf/ that it names before DVC reads them, because DVC's own messages are less clear."""

from actgrad.config import loading
from actgrad.console import run_script, script_parser
from actgrad.pipeline import composed


def main() -> None:
    script_parser(__doc__, "  python src/check.py\n").parse_args()
    study = loading.study()
    for dataset in study.datasets:
        loading.data_config(dataset, [])
    print(f"params.yaml: {composed.check(study)} runs in conditions that can be used")


if __name__ == "__main__":
    run_script(main)
