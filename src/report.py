"""Make reports/<dataset>/ from the runs that params.yaml lists. With --readme or --experience, write results of that report elsewhere."""

import gc
import json
import subprocess
import sys
from pathlib import Path

from actgrad.analysis.evidence import Evidence
from actgrad.config.loading import data_config, require_dataset, study
from actgrad.console import dataset_name, run_script, script_parser
from actgrad.diagnosis.experience import FILE
from actgrad.files import replace_folder, write_bytes
from actgrad.report.content import RUNS_AT, content
from actgrad.report.experience import with_report
from actgrad.report.readme import SECTION, with_results
from actgrad.results.run import json_bytes

EXAMPLES = """\
  python src/report.py data=digits
  python src/report.py data=digits --readme
  python src/report.py data=digits --experience
"""
README = Path("README.md")
EXPERIENCE = Path("src", "actgrad", "diagnosis", FILE)


def main() -> None:
    parser = script_parser(__doc__, EXAMPLES)
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset whose runs have been trained")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--readme", action="store_true", help="make no report, but put the results of the existing one in place of README.md's")
    instead.add_argument("--experience", action="store_true", help="make no report, but write its results about alarms and remedies into the package")
    arguments = parser.parse_args()
    dataset = dataset_name(arguments.dataset)
    if arguments.readme:
        page = README.read_text()
        write_bytes(README, with_results(page, dataset).encode())
        print(f"{README}: the results of {dataset}, in place of those of {' and '.join(SECTION.findall(page))}")
        return
    if arguments.experience:
        write_bytes(EXPERIENCE, json_bytes(with_report(json.loads(EXPERIENCE.read_text()), dataset)))
        print(f"{EXPERIENCE}: alarms and remedies of {dataset}")
        return
    require_dataset(dataset, params := study())
    links = [sys.executable, str(Path(__file__).with_name("publish.py")), f"data={dataset}", "--links"]  # a second process: MLflow is slow to import
    with subprocess.Popen(links, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as meanwhile:
        gc.disable()  # garbage collection takes an eighth of a report's time, and frees little
        evidence = Evidence.read(dataset, params)
        gc.freeze()
        replace_folder(target := Path("reports", dataset), made := content(evidence, data_config(dataset, []), RUNS_AT, processes=2))
        if json.loads(made["provenance.json"])["images"] is None:
            sys.stderr.write(f"note: the page does not say how many images there are, because data/{dataset}.npz is not the file of these runs\n")
        print(f"{target / 'index.html'}: {len(params.activations)} activations, conditions: {', '.join(evidence.conditions)}")
        if (said := meanwhile.communicate()[0]).count("http"):  # a failing store does not stop the report
            print(f"its runs in MLflow: {said.partition(': ')[2]}", end="")


if __name__ == "__main__":
    run_script(main)
