"""Write the results of one report into README.md: what won, what cannot be told apart, where gradients vanish, which claims fell."""

import argparse
from pathlib import Path

from actgrad.console import dataset_name, run_script
from actgrad.files import write_bytes
from actgrad.report import readme as front

README = Path("README.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python src/front_page.py data=digits")
    parser.add_argument("dataset", metavar="data=NAME", help="a dataset with a report in reports/")
    dataset = dataset_name(parser.parse_args().dataset)
    write_bytes(README, front.replaced(README.read_text(), front.section(dataset)).encode())
    print(f"{README}: the results of {dataset}")


if __name__ == "__main__":
    run_script(main)
