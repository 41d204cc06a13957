"""Make reports/<dataset>/ from the cells in runs/<dataset>/ that params.yaml lists."""

import argparse
from pathlib import Path

from actgrad import claims, config, html, plots, results, statistics
from actgrad.console import run_script
from actgrad.errors import UserError
from actgrad.files import replace_folder
from actgrad.results import CellResult


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python src/report.py data=digits")
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset whose cells have been trained")
    argument = parser.parse_args().dataset
    if not argument.startswith("data="):
        raise UserError(f"{argument!r} is not understood; write data=NAME, such as data=digits")
    dataset = argument.removeprefix("data=")
    study = config.study(Path("params.yaml"))
    if dataset not in study.datasets:
        raise UserError(
            f"data={dataset} is not in params.yaml, whose datasets are {', '.join(study.datasets)}; add it there, and train it with dvc repro"
        )
    cells = {name: [CellResult.read(results.folder(dataset, name, seed)) for seed in study.seeds] for name in study.activations}
    statistics.belong_together(cells)
    table = statistics.summary(cells)
    pairs = statistics.paired(cells, "last", results.TEST_ACCURACY)
    findings = claims.ledger(claims.Evidence(dataset, cells, pairs))
    drawings = plots.study_drawings(cells)
    content = {f"figures/{drawing.name}.svg": drawing.svg for drawing in drawings}
    content |= {"summary.csv": results.csv_bytes(table), "pairs.csv": results.csv_bytes(pairs), "claims.json": results.json_bytes(findings)}
    content["index.html"] = html.report(dataset, study, cells, table, pairs, findings, drawings).encode()
    target = Path("reports", dataset)
    replace_folder(target, content)
    print(f"{target / 'index.html'}: {len(cells)} activations, seeds {', '.join(map(str, study.seeds))}")


if __name__ == "__main__":
    run_script(main)
