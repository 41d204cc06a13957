"""Make data/<dataset>.npz: fetch, verify, read and split one dataset."""

from typing import get_args

from actgrad.config.loading import data_config
from actgrad.config.schema import Data
from actgrad.console import dataset_name, run_script, script_parser
from actgrad.data import storage
from actgrad.data.summary import summary

EXAMPLES = f"""\
  python src/download.py data=digits
  python src/download.py data=cifar10
  python src/download.py data=cifar10 data.archive=~/Downloads/cifar-10-binary.tar.gz
  python src/download.py data=cifar10_jpeg data.archive=cifar10-images.tar.xz data.val_size=0
  python src/download.py data=fashion_mnist data.archive=/usr/share/datasets/fashion-mnist

Datasets are the files of conf/data. A download is kept in the user's cache folder, outside the repository.
data.format is one of {", ".join(get_args(Data.model_fields["format"].annotation))}.
data.archive is a file or folder on this disk; data.image_size=32 resizes all images to 32x32.
data.test_size and data.val_size are numbers of images that are taken from the train split.
docs/datasets.md describes each format and key.
"""


def main() -> None:
    parser = script_parser(__doc__, EXAMPLES)
    parser.add_argument("dataset", metavar="data=NAME", help="a file of conf/data")
    parser.add_argument("overrides", metavar="data.KEY=VALUE", nargs="*", default=[], help=f"KEY is one of {', '.join(Data.model_fields)}")
    arguments = parser.parse_args()
    data = data_config(dataset_name(arguments.dataset), arguments.overrides)
    target = storage.path(data.name)
    lines = summary(storage.prepare(data, target))
    print(f"{target}: {next(lines)}", *lines, sep="\n")


if __name__ == "__main__":
    run_script(main)
