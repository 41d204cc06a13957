"""Make reports/<dataset>/ from the cells in runs/<dataset>/ that params.yaml lists."""

import argparse
import shutil
from pathlib import Path

from actgrad import config, html, plots, results, statistics
from actgrad.console import run_script
from actgrad.errors import UserError
from actgrad.results import CellResult


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python src/report.py data=digits")
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset whose cells have been trained")
    argument = parser.parse_args().dataset
    if not argument.startswith("data="):
        raise UserError(f"{argument!r} is not understood; write data=NAME, such as data=digits")
    dataset = argument.removeprefix("data=")
    study = config.study(Path("params.yaml"))
    cells = {name: [CellResult.read(results.folder(dataset, name, seed)) for seed in study.seeds] for name in study.activations}
    drawings = plots.study_drawings(cells)
    table = statistics.summary(cells)
    page = html.report(dataset, study, cells, table, drawings)
    target = Path("reports", dataset)
    shutil.rmtree(target, ignore_errors=True)
    (target / "figures").mkdir(parents=True)
    for drawing in drawings:
        results.write_bytes(target / "figures" / f"{drawing.name}.svg", drawing.svg)
    results.write_bytes(target / "summary.csv", results.csv_bytes(table))
    results.write_bytes(target / "index.html", page.encode())
    print(f"{target / 'index.html'}: {len(cells)} activations, seeds {', '.join(map(str, study.seeds))}")


if __name__ == "__main__":
    run_script(main)
