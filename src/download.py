"""Make data/<dataset>.npz: fetch, verify, read and split one dataset."""

from actgrad.config.loading import data_config
from actgrad.config.schema import Data
from actgrad.console import dataset_name, run_script, script_parser
from actgrad.data import storage

EXAMPLES = """\
  python src/download.py data=digits
  python src/download.py data=cifar10
  python src/download.py data=cifar10 data.archive=~/Downloads/cifar-10-binary.tar.gz
  python src/download.py data=cifar10_jpeg data.archive=cifar10-images.tar.xz data.val_size=0

Datasets are the files of conf/data. A download is kept in the user's cache folder, outside the repository.
"""


def main() -> None:
    parser = script_parser(__doc__, EXAMPLES)
    parser.add_argument("dataset", metavar="data=NAME", help="a file of conf/data")
    parser.add_argument("overrides", metavar="data.KEY=VALUE", nargs="*", default=[], help=f"KEY is one of {', '.join(Data.model_fields)}")
    arguments = parser.parse_args()
    data = data_config(dataset_name(arguments.dataset), arguments.overrides)
    target = storage.path(data.name)
    dataset = storage.prepare(data, target)
    images = dataset.images
    height, width, channels = images["train"].shape[1:]
    sizes = ", ".join(f"{len(part)} {name}" for name, part in images.items())
    print(f"{target}: {sizes} images of {height}x{width}x{channels}, {len(dataset.class_names)} classes")
    if not len(images["val"]):
        print("No validation split: the test split will be used for validation, and every result says so.")


if __name__ == "__main__":
    run_script(main)
