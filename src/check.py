"""Check params.yaml, and the files of conf/ that it names, before DVC reads them: what is wrong there, DVC says in words of its own."""

from actgrad.config import loading
from actgrad.console import run_script, script_parser


def main() -> None:
    script_parser(__doc__, "  python src/check.py\n").parse_args()
    study = loading.study()
    loading.listed(study)
    for dataset in study.datasets:
        loading.data_config(dataset, [])


if __name__ == "__main__":
    run_script(main)
