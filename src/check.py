"""Check params.yaml and the files of conf/ that it names before DVC reads them, because DVC's own messages are less clear."""

from actgrad.config import loading
from actgrad.console import run_script, script_parser
from actgrad.errors import UserError
from actgrad.pipeline import composed


def main() -> None:
    script_parser(__doc__, "  python src/check.py\n").parse_args()
    study = loading.study()
    for dataset in study.datasets:
        loading.data_config(dataset, [])
    runs = composed.check(study)
    if "only" not in study.model_fields_set:
        raise UserError("missing-value", "params.yaml: only is missing, and DVC needs it; write only: {}")
    print(f"params.yaml: {runs} runs in conditions that can be used")


if __name__ == "__main__":
    run_script(main)
