"""Fetch the source of a dataset: a local archive, the user's cache folder or a download. Every source is checked by its sha256."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from actgrad.config.schema import Data
from actgrad.errors import UserError
from actgrad.files import sha256, write_bytes

if TYPE_CHECKING:
    import requests

WAYS_OUT = "bring the archive from another machine and give it with data.archive=PATH, or use the dataset that needs no download: data=digits"
"""What to do if the download fails."""


def fetch(data: Data) -> Path | None:
    """Find the source of a dataset on this disk, or download it.

    Looks at data.archive, then at the user's cache folder, then at each address in data.urls. A file of known checksum is
    kept in the cache. The next clone of this project then needs neither archive nor network.

    Returns:
        The path of a file with the sha256 of the configuration, or of a folder or file without checksum that data.archive
        names. None if the dataset is part of a library.

    Raises:
        UserError: if there is no such file, its checksum is wrong, or no download works.
    """
    if data.format == "digits":
        if data.archive is not None:
            raise UserError(f"data.archive={data.archive} has no use here: {data.name} is part of scikit-learn; leave it out")
        return None
    if data.archive is not None:
        return _local(data, Path(data.archive).expanduser())
    if data.sha256 is None:
        raise UserError(f"data.sha256 of {data.name} is not set; give a local file with data.archive=PATH, or the checksum of the download")
    cached = _cached(data)
    if cached.is_file() and sha256(cached) == data.sha256:
        return cached
    if not data.urls:
        raise UserError(
            f"{data.name} has no address to download from; get it from {data.source or 'its owner'} and give its archive once with: "
            f"python src/download.py data={data.name} data.archive=PATH"
        )
    return _download(data, cached)


def _cached(data: Data) -> Path:
    """Where the cache keeps this source, whether or not it is there."""
    import pooch

    return pooch.os_cache("actgrad") / f"{data.name}-{data.sha256[:16]}"


def _local(data: Data, path: Path) -> Path:
    """Check the archive or folder that the user gave, and copy an archive of known checksum to the cache."""
    if not path.exists():
        raise UserError(f"data.archive={path} does not exist; give the path of an archive or folder for {data.name}")
    if path.is_dir():
        if data.format != "image_folder":
            raise UserError(f"data.archive={path} is a folder; {data.name} has the format {data.format}, which is one file")
        return path
    if data.sha256 is None:
        return path
    if (found := sha256(path)) != data.sha256:
        raise UserError(
            f"data.archive={path} has the sha256 {found}, not {data.sha256}: it is truncated or another file; "
            "get it again, or set data.sha256 if you mean to use this one"
        )
    cached = _cached(data)
    try:
        write_bytes(cached, path.read_bytes())
    except OSError as error:
        sys.stderr.write(f"note: {path} is used, but could not be kept in {cached.parent} for the next time ({error.strerror})\n")
    return path


def _download(data: Data, cached: Path) -> Path:
    """Download from the first address that sends a file with the right checksum."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # the progress bar is enough
    failures = []
    for url in data.urls:
        try:
            downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
            return Path(pooch.retrieve(url, f"sha256:{data.sha256}", cached.name, cached.parent, downloader=downloader))
        except requests.RequestException as error:
            failures.append(f"{url}: {_cause(error)}")
        except ValueError:
            failures.append(f"{url}: what it sent has not the sha256 {data.sha256}")
        except OSError as error:
            raise UserError(f"{cached.parent} cannot hold the download ({error.strerror}); make room there, or set XDG_CACHE_HOME") from None
    raise UserError(f"{data.name} could not be downloaded ({'; '.join(failures)}); {WAYS_OUT}")


def _cause(error: "requests.RequestException") -> str:
    """Why a download failed, in a few words."""
    if isinstance(error, ValueError):  # requests raises these for text that is not an address
        return "not a web address"
    return f"HTTP status {error.response.status_code}" if error.response is not None else f"no connection ({type(error).__name__})"
