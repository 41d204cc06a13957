"""Make reports/<dataset>/ from what params.yaml lists of runs/<dataset>/."""

import argparse
import gc
from pathlib import Path

from actgrad.analysis import claims, tables
from actgrad.analysis.evidence import Evidence
from actgrad.config import schema as config
from actgrad.console import dataset_name, run_script
from actgrad.errors import UserError
from actgrad.files import replace_folder
from actgrad.report import figures as plots
from actgrad.report import page as html
from actgrad.results import run as results


def main() -> None:
    gc.disable()  # looking for garbage takes an eighth of a report's time, and finds little
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python src/report.py data=digits")
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset whose cells have been trained")
    dataset = dataset_name(parser.parse_args().dataset)
    study = config.study(Path("params.yaml"))
    if dataset not in study.datasets:
        raise UserError(
            f"data={dataset} is not in params.yaml, whose datasets are {', '.join(study.datasets)}; add it there, and train it with dvc repro"
        )
    evidence = Evidence.read(dataset, study)
    gc.freeze()
    findings, drawings = claims.ledger(evidence), plots.study_drawings(evidence, processes=2)
    content = {
        "index.html": html.report(evidence, findings, drawings).encode(),
        "claims.json": results.json_bytes(findings),
        "summary.csv": results.csv_bytes(tables.summary(evidence.cells)),
        "pairs.csv": results.csv_bytes(evidence.pairs_under),
    }
    for drawing in drawings:
        content |= {f"{drawing.name}.csv": results.csv_bytes(drawing.data)}
        content |= {f"figures/{drawing.name}.svg": drawing.svg, f"figures/{drawing.name}.png": drawing.png}
    target = Path("reports", dataset)
    replace_folder(target, content)
    print(f"{target / 'index.html'}: {len(study.activations)} activations, seeds {', '.join(map(str, study.seeds))}")


if __name__ == "__main__":
    run_script(main)
