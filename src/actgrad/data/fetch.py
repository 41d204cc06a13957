"""Fetch the source of a dataset: a local archive, the user's cache folder or a download. Every source is checked by its sha256."""

import hashlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from actgrad.config.schema import Data
from actgrad.data.archives import gunzipped, is_gzipped, members
from actgrad.data.recognition import wrong_format
from actgrad.data.sources import listed
from actgrad.errors import UserError
from actgrad.files import sha256, write_bytes

if TYPE_CHECKING:
    import requests

WAYS_OUT = "bring the archive from another machine and give it with data.archive=PATH, or use the dataset that needs no download: data=digits"
"""What to do if the download fails."""
FOLDER_FORMATS = ("idx", "image_folder", "parquet")
"""Formats whose source may be a folder; the others are one file."""


def fetch(data: Data) -> Path | None:
    """Find the source of a dataset on this disk, or download it.

    Looks at data.archive, then at the user's cache folder, then at each address in data.urls. Files of known checksum are
    kept in the cache. The next clone of this project then needs neither archive nor network.

    Returns:
        The path of a file with the sha256 of the configuration, of a folder or archive that holds data.files, or of a folder or file without
        checksum that data.archive names. None if the dataset is part of a library.

    Raises:
        UserError: if there is no such file, its checksum is wrong, or no download works.
    """
    check_keys(data)
    if data.format == "digits":
        return None
    if data.archive is not None:
        return _local(data, Path(data.archive).expanduser())
    if data.sha256 is None and not data.files:
        raise UserError(
            "no-checksum", f"data.sha256 of {data.name} is not set; give a local file with data.archive=PATH, or the checksum of the download"
        )
    cached = _cached(data)
    if all(file.is_file() and sha256(file) == known for file, known in _known(data, cached).items()):
        return cached
    if not data.urls:
        raise UserError(
            "no-address",
            f"{data.name} has no address to download from; get it from {data.source or 'its owner'} and give its archive once with: "
            f"python src/download.py data={data.name} data.archive=PATH",
        )
    for file, known in _known(data, cached).items():
        if not (file.is_file() and sha256(file) == known):
            _download(data, file, known)
    return cached


def check_keys(data: Data) -> None:
    """Raise UserError if the keys that name a source contradict each other."""
    if data.format == "digits" and data.archive is not None:
        raise UserError("no-use", f"data.archive={data.archive} has no use here: {data.name} is part of scikit-learn; leave it out")
    if data.files and data.sha256 is not None:
        raise UserError(
            "contradicting-keys", f"data.sha256 and data.files of {data.name} are both set; give the checksum of one file, or those of several"
        )
    if data.files and (data.format not in FOLDER_FORMATS or data.format == "image_folder"):
        raise UserError(
            "contradicting-keys", f"data.files of {data.name} is set, and data.format={data.format} is one file; give its checksum with data.sha256"
        )


def unverified_source(data: Data) -> Path | None:
    """The archive or folder of data.archive, if it exists and the configuration has no checksum of it."""
    if data.archive is None or data.files or not (path := Path(data.archive).expanduser()).exists():
        return None
    return path if data.sha256 is None or path.is_dir() else None


def checksum(source: Path) -> str:
    """The sha256 of a file; for a folder, of the paths and contents of its files, without hidden and system files."""
    if not source.is_dir():
        return sha256(source)
    whole = hashlib.sha256()
    for path in sorted(listed(source).files):
        whole.update(f"{sha256(source / path)} {path}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def files_sha256(data: Data) -> str | None:
    """One sha256 for all of data.files; None if there are none."""
    return hashlib.sha256("".join(f"{known} {name}\n" for name, known in sorted(data.files.items())).encode()).hexdigest() if data.files else None


def _cached(data: Data) -> Path:
    """Path of this source in the cache, even if it is not there yet: a file, or a folder for data.files."""
    import pooch

    return pooch.os_cache("actgrad") / f"{data.name}-{str(data.sha256 or files_sha256(data))[:16]}"


def _known(data: Data, cached: Path) -> dict[Path, str]:
    """Cached file of the source -> sha256 of its unpacked content."""
    return {cached / _unpacked_name(name): known for name, known in data.files.items()} if data.files else {cached: str(data.sha256)}


def _unpacked_name(name: str) -> str:
    return name.removesuffix(".gz")


# --- local sources


def _local(data: Data, path: Path) -> Path:
    """Check the archive or folder that the user gave, and copy files of known checksum to the cache."""
    if not path.exists():
        raise UserError("missing-file", f"data.archive={path} does not exist; give the path of an archive or folder for {data.name}")
    if path.is_dir() and data.format not in FOLDER_FORMATS:
        raise wrong_format(data.format, path) or UserError(
            "folder-for-file", f"data.archive={path} is a folder; {data.name} has the format {data.format}, which is one file"
        )
    if data.files:
        _keep(data, path, _checked_files(data, path))
    elif path.is_dir() and data.sha256 is not None:
        sys.stderr.write(f"note: data.archive={path} is a folder, so it is not compared with data.sha256, the checksum of an archive\n")
    elif data.sha256 is not None:
        if (found := sha256(path)) != data.sha256:
            raise UserError(
                "wrong-checksum",
                f"data.archive={path} has the sha256 {found}, not {data.sha256}: it is truncated or another file; "
                "get it again, or set data.sha256 if you mean to use this one",
            )
        _keep(data, path, {_cached(data): path.read_bytes})
    return path


def _checked_files(data: Data, source: Path) -> dict[Path, Callable[[], bytes]]:
    """Find data.files in a folder or archive, gzipped or not, and check them; cached file -> its content, unpacked."""
    listing = listed(source)
    places = {path: _unpacked_name(path.name) for path in listing.files}
    contents: dict[str, bytes] = {}
    wanted = {_unpacked_name(name): known for name, known in data.files.items()}
    used = [path for path, name in places.items() if name in wanted]
    listing.refuse_others(used, f"is none of the files that data.files of {data.name} has checksums of; remove it, or add it there")
    for path, packed in members(source, used):
        content = gunzipped(source / path, packed)
        if (found := hashlib.sha256(content).hexdigest()) != wanted[places[path]]:
            raise UserError(
                "wrong-checksum",
                f"{source}: {path} has the sha256 {found}{' unpacked' if is_gzipped(packed) else ''}, not {wanted[places[path]]}: "
                "it is truncated or another file; get it again, or set data.files if you mean to use this one",
            )
        contents[places[path]] = content
    if missing := [name for name in wanted if name not in contents]:
        raise UserError("missing-part", f"data.archive={source} holds no {missing[0]}, gzipped or not; {data.name} needs {', '.join(wanted)}")
    return {_cached(data) / name: partial(contents.__getitem__, name) for name in contents}


def _keep(data: Data, source: Path, contents: dict[Path, Callable[[], bytes]]) -> None:
    """Write files to the cache; if that fails, say so and go on."""
    try:
        for file, content in contents.items():
            write_bytes(file, content())
    except OSError as error:
        cache = _cached(data).parent
        sys.stderr.write(f"note: {source} is used, but could not be kept in {cache} for the next time ({error.strerror})\n")


# --- downloads


def _download(data: Data, target: Path, known: str) -> None:
    """Download from the first address that sends a file with the right checksum."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # the progress bar is enough
    name = {_unpacked_name(name): name for name in data.files}.get(target.name)
    failures = []
    for address in data.urls:
        url = f"{address.rstrip('/')}/{name}" if name else address
        try:
            pooch.retrieve(url, f"sha256:{known}", target.name, target.parent, downloader=_get_and_unpack if name else _get)
            return
        except requests.RequestException as error:
            failures.append(f"{url}: {_cause(error)}")
        except (ValueError, UserError):
            failures.append(f"{url}: what it sent has not the sha256 {known}")
        except OSError as error:
            raise UserError(
                "unusable-folder", f"{target.parent} cannot hold the download ({error.strerror}); make room there, or set XDG_CACHE_HOME"
            ) from None
    raise UserError("download-failed", f"{data.name} could not be downloaded ({'; '.join(failures)}); {WAYS_OUT}")


def _get(url: str, target: str, pool: object) -> None:
    import pooch

    pooch.HTTPDownloader(progressbar=True, timeout=30)(url, target, pool)


def _get_and_unpack(url: str, target: str, pool: object) -> None:
    """Download one of data.files and unpack it. The checksum is of the unpacked file, because the bytes of a gzip file differ by packer."""
    _get(url, target, pool)
    content = Path(target).read_bytes()
    if is_gzipped(content):
        Path(target).write_bytes(gunzipped(Path(target), content))


def _cause(error: "requests.RequestException") -> str:
    """Why a download failed, in a few words."""
    if isinstance(error, ValueError):  # requests raises these for text that is not an address
        return "not a web address"
    return f"HTTP status {error.response.status_code}" if error.response is not None else f"no connection ({type(error).__name__})"
