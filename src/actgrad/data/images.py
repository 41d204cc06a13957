"""Decode image files to pixels as a viewer shows them, resize them, and stack them."""

import contextlib
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actgrad.data.archives import GIB, MAX_BYTES, shown
from actgrad.data.dataset import Dataset, shape_text
from actgrad.errors import UserError, first_grouped

if TYPE_CHECKING:
    from PIL import Image, ImageFile

LARGEST_SIDE = 1024
"""Largest height and width of an image, in pixels."""
LARGEST_BEFORE_RESIZING = 8192
"""Largest height and width of an image that data.image_size resizes."""
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's other formats are left out, because some of them start programs: Ghostscript draws EPS."""
BITS_PER_SAMPLE = 258
"""The TIFF tag with the number of bits per channel."""


@dataclass(frozen=True)
class _Unusable:
    """Why an image file cannot be used.

    Attributes:
        seen: what follows its name in a sentence.
        reason: the same in a few words.
        remedy: what to do, with {it} for the image.
        too_large: whether its size is the reason.
    """

    seen: str
    reason: str
    remedy: str
    too_large: bool = False


class _UnusableError(Exception):
    """An image file cannot be used. Keep only `why`: the error's traceback holds the file's content."""

    def __init__(self, seen: str, reason: str, remedy: str, too_large: bool = False):
        super().__init__(seen)
        self.why = _Unusable(seen, reason, remedy, too_large)


Images = Mapping[str, Sequence[tuple[str, np.ndarray]]]
"""split -> (name for sentences, pixels) of each image."""


def decoded(source: Path, files: Iterable[tuple[str, bytes]], size: int | None) -> list[tuple[str, np.ndarray]]:
    """Decode image files.

    Args:
        source: where they come from, for sentences.
        files: name and content of each.
        size: data.image_size.

    Returns:
        Name and pixels of each: uint8 (height, width) if it is grey, (height, width, 3) otherwise.

    Raises:
        UserError: if images cannot be read or used; it names the first few. Or if all of them take more memory than allowed.
    """
    found, unusable, total = [], [], 0
    with warnings.catch_warnings(action="ignore"):  # about damaged metadata, which does not affect pixels
        for name, content in files:
            try:
                image = _decode(content, size)
            except _UnusableError as error:
                unusable.append((shown(name), error.why))
                continue
            total += image.size
            if total > MAX_BYTES:
                raise UserError(
                    "too-large",
                    f"{source}: its images take more than {MAX_BYTES // GIB} GiB, and all are held in memory; "
                    "choose fewer, or resize them with data.image_size",
                )
            found.append((name, image))
    if unusable:
        raise _refusal(source, unusable)
    return found


def _refusal(source: Path, unusable: list[tuple[str, _Unusable]]) -> UserError:
    """The UserError for all images that cannot be used."""
    remedies = {why.remedy for _, why in unusable}
    remedy = remedies.pop() if len(remedies) == 1 else "mend, convert or remove {it}"
    if len(unusable) == 1:
        name, why = unusable[0]
        said = f"{source}: {name} {why.seen}; {remedy.format(it='it')}"
    else:
        named = first_grouped([(name, why.reason) for name, why in unusable])
        said = f"{source}: {len(unusable)} images cannot be used: {named}; {remedy.format(it='them')}"
    if all(why.too_large for _, why in unusable):
        return UserError("too-large", said)
    return UserError("unusable-image", said)


def stacked(source: Path, images: Images) -> dict[str, np.ndarray]:
    """Stack the images of each split: uint8 (n, height, width, channels), with 3 channels if any image has 3, else with 1.

    Raises:
        UserError: if two images differ in size; it names the first that differs.
    """
    channels = 3 if any(image.ndim == 3 for part in images.values() for _, image in part) else 1
    shape: tuple[int, ...] | None = None
    arrays = {}
    for split, part in images.items():
        pixels = []
        for name, image in part:
            shape = shape or image.shape[:2]
            if image.shape[:2] != shape:
                raise UserError(
                    "mixed-sizes",
                    f"{source}: {shown(name)} is {shape_text(image.shape[:2])}, others are {shape_text(shape)}; "
                    "set data.image_size=NUMBER, and all are resized to so many pixels in height and width",
                )
            pixels.append(np.broadcast_to(image if image.ndim == 3 else image[..., np.newaxis], (*shape, channels)))
        arrays[split] = np.stack(pixels)
    return arrays


def resized(dataset: Dataset, size: int) -> Dataset:
    """The dataset with all images resized. Images that already have the size, or not 1 or 3 channels, stay as they are."""
    from PIL import Image

    def one(image: np.ndarray) -> np.ndarray:
        channels = image.shape[-1]
        return np.asarray(_resize(Image.fromarray(image if channels == 3 else image[..., 0]), size)).reshape(size, size, channels)

    def all_of(images: np.ndarray) -> np.ndarray:
        if images.shape[1:3] == (size, size) or images.shape[-1] not in (1, 3):
            return images
        return np.stack([one(image) for image in images]) if len(images) else np.zeros((0, size, size, images.shape[-1]), np.uint8)

    return replace(dataset, images={split: all_of(images) for split, images in dataset.images.items()})


def _resize(image: "Image.Image", size: int) -> "Image.Image":
    """Resize to size x size, bilinear. When shrinking, Pillow averages over all pixels that a new pixel covers."""
    from PIL import Image

    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def _decode(content: bytes, size: int | None) -> np.ndarray:
    """Decode an image to uint8: (height, width) if it is grey, (height, width, 3) otherwise.

    Raises:
        _UnusableError: if that is not possible.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as file:
            _check_usable(file, size)
            file.load()
            image: Image.Image = file
            with contextlib.suppress(Exception):  # a damaged EXIF block has no usable orientation
                image = ImageOps.exif_transpose(image)
            grey = image.mode in ("1", "L", "LA")
            if image.has_transparency_data:
                image = image.convert("RGBA")
                if image.getchannel("A").getextrema()[1] == 0:
                    raise _UnusableError(
                        "is transparent all over, so nothing of it is seen", "transparent all over", "save {it} without transparency"
                    )
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("L" if grey else "RGB")
            return np.asarray(_resize(image, size) if size else image)
    except (_UnusableError, MemoryError):
        raise
    except Exception as error:  # each decoder raises its own errors for a damaged image
        known = f"none of {', '.join(IMAGE_FORMATS)}"
        reason = known if isinstance(error, UnidentifiedImageError) else shown(" ".join(str(error).split()))
        raise _UnusableError(f"cannot be read as an image ({reason})", reason, "mend or remove {it}") from None


def _check_usable(image: "ImageFile.ImageFile", size: int | None) -> None:
    """Raise _UnusableError if an image is too large, has more than 8 bits per channel, or is one of several in its file."""
    largest = LARGEST_BEFORE_RESIZING if size else LARGEST_SIDE
    if max(image.size) > largest:
        limit = f"the largest that can be used is {shape_text((largest, largest))}, resize {{it}}{'' if size else ' or set data.image_size'}"
        found = shape_text(image.size[::-1])
        raise _UnusableError(f"is {found}", found, limit, too_large=True)
    if _is_deep(image):
        raise _UnusableError("has more than 8 bits a channel", "more than 8 bits a channel", "convert {it} to 8 bits")
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a camera's MPO is a JPEG followed by a preview
        raise _UnusableError("holds more than one image (frames or pages)", "several frames or pages", "save each as a file of its own")


def _is_deep(image: "ImageFile.ImageFile") -> bool:
    """Whether a file has more than 8 bits per channel. The header decides, because Pillow silently reads such colour images as 8 bits."""
    if image.mode.startswith(("I", "F")):
        return True
    if image.format == "TIFF":
        tags: Any = image  # only a TIFF has them
        return max(tags.tag_v2.get(BITS_PER_SAMPLE, (1,))) > 8
    decoding = [tile.args if isinstance(tile.args, tuple) else (tile.args,) for tile in image.tile]
    if image.format == "PNG":
        return any(";16" in str(value) for values in decoding for value in values)
    if image.format == "PPM":  # its decoder takes the value of white
        return any(isinstance(value, int) and value > 255 for values in decoding for value in values)
    return False
