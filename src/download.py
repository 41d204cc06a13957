"""Make data/<dataset>.npz: fetch, verify, read and split one dataset."""

import argparse

from actgrad.config import schema as config
from actgrad.console import run_script
from actgrad.data import storage as datasets
from actgrad.errors import UserError

HELP = """\
examples
  python src/download.py data=digits
  python src/download.py data=cifar10
  python src/download.py data=cifar10 data.archive=~/Downloads/cifar-10-binary.tar.gz
  python src/download.py data=cifar10_jpeg data.archive=cifar10-images.tar.xz data.val_size=0

Datasets are the files of conf/data. A download is kept in the user's cache folder, outside the repository.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="data=NAME", help="a file of conf/data")
    parser.add_argument("overrides", metavar="data.KEY=VALUE", nargs="*", default=[], help=f"KEY is one of {', '.join(config.Data.model_fields)}")
    arguments = parser.parse_args()
    if not arguments.dataset.startswith("data="):
        raise UserError(f"{arguments.dataset!r} is not understood; begin with data=NAME, such as data=digits")
    data = config.data_config(arguments.dataset.removeprefix("data="), arguments.overrides)
    target = datasets.path(data.name)
    dataset = datasets.prepare(data, target)
    sizes = ", ".join(f"{len(dataset.images[part])} {part}" for part in datasets.SPLITS)
    height, width, channels = dataset.images["train"].shape[1:]
    print(f"{target}: {sizes} images of {height}x{width}x{channels}, {len(dataset.class_names)} classes")
    if dataset.validation_split == "test":
        print("No validation split: the test split will be used for validation, and every result says so.")


if __name__ == "__main__":
    run_script(main)
