"""Find duplicate images, by a checksum of their pixels, and blank images."""

import hashlib
from collections.abc import Iterator
from itertools import permutations

from actgrad.data.dataset import SPLITS, Dataset
from actgrad.errors import UserError

REFUSED_SHARE = 0.5
"""A split is refused if at least this share of its images is in another split too: its accuracy would mostly measure memorisation.
Published datasets have less than 1 % of such images."""
DARK = 32
"""Images whose largest pixel is below this were probably scaled to a range other than 0 to 255."""


def remarks(name: str, dataset: Dataset) -> list[str]:
    """Count images that occur twice (within a split, in two splits, in two classes), and images of one colour. Note a nearly black train split.

    Raises:
        UserError: if half of the images of a split, or more, are in another split too.
    """
    digests = {split: [hashlib.sha256(image).digest() for image in dataset.images[split]] for split in SPLITS}
    return [*_between(name, digests), *_within(digests), *_under_two_labels(dataset, digests), *_without_contents(dataset)]


def _between(name: str, digests: dict[str, list[bytes]]) -> Iterator[str]:
    known = {split: set(found) for split, found in digests.items()}
    for of, other in permutations(SPLITS, 2):
        shared = sum(digest in known[other] for digest in digests[of])
        if shared and shared >= REFUSED_SHARE * len(digests[of]):
            raise UserError(
                "shared-images",
                f"{name}: {shared} of the {len(digests[of])} images of {of} are also in {other}; "
                "a split must hold other images than the rest; keep one copy of each image",
            )
        if shared and SPLITS.index(of) > SPLITS.index(other):
            yield f"{shared} of the {len(digests[of])} images of {of} are also in {other}"


def _within(digests: dict[str, list[bytes]]) -> Iterator[str]:
    for split, found in digests.items():
        if copies := len(found) - len(set(found)):
            yield f"{copies} of the {len(found)} images of {split} are copies of others in it"


def _under_two_labels(dataset: Dataset, digests: dict[str, list[bytes]]) -> Iterator[str]:
    labels: dict[bytes, set[int]] = {}
    for split, found in digests.items():
        for digest, label in zip(found, dataset.labels[split].tolist(), strict=True):
            labels.setdefault(digest, set()).add(label)
    if contradicting := sum(len(found) > 1 for found in labels.values()):
        yield f"{contradicting} different image{'s stand' if contradicting > 1 else ' stands'} under more than one class"


def _without_contents(dataset: Dataset) -> Iterator[str]:
    for split, images in dataset.images.items():
        if single := sum(bool((image == image[0, 0]).all()) for image in images):
            yield f"{single} of the {len(images)} images of {split} are of one colour"
    if (largest := dataset.images["train"].max()) < DARK:
        yield f"the largest pixel of the train split is {largest} of 255; if its pixels were scaled to another range, scale them back"
