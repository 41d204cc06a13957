"""Make reports/<dataset>/ from what params.yaml lists of runs/<dataset>/; with --readme, write the results of that report into README.md."""

import gc
from contextlib import suppress
from pathlib import Path

from actgrad.analysis.evidence import Evidence
from actgrad.config.loading import data_config, require_dataset, study
from actgrad.console import dataset_name, run_script, script_parser
from actgrad.errors import UserError
from actgrad.files import replace_folder, write_bytes
from actgrad.report.content import RUNS_AT, content
from actgrad.report.readme import replaced, section

EXAMPLES = """\
  python src/report.py data=digits
  python src/report.py data=digits --readme
"""
README = Path("README.md")


def main() -> None:
    parser = script_parser(__doc__, EXAMPLES)
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset whose runs have been trained")
    parser.add_argument("--readme", action="store_true", help="make no report, but write the results of the existing one into README.md")
    arguments = parser.parse_args()
    dataset = dataset_name(arguments.dataset)
    if arguments.readme:
        write_bytes(README, replaced(README.read_text(), section(dataset)).encode())
        print(f"{README}: the results of {dataset}")
        return
    params = study()
    require_dataset(dataset, params)
    gc.disable()  # looking for garbage takes an eighth of a report's time, and finds little
    evidence = Evidence.read(dataset, params)
    gc.freeze()
    target = Path("reports", dataset)
    replace_folder(target, content(evidence, data_config(dataset, []), RUNS_AT, processes=2))
    print(f"{target / 'index.html'}: {len(params.activations)} activations, seeds {', '.join(map(str, params.seeds))}")
    from actgrad.tracking import experiments, store  # here, because MLflow takes as long to import as a report to make

    with suppress(UserError):  # a store that fails costs no report
        if link := experiments.link(store.configured(dataset)):
            print(f"its runs in MLflow: {link}")


if __name__ == "__main__":
    run_script(main)
