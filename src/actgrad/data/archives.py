"""Read the files of a folder, tar or zip archive safely: into memory, with limits. Nothing is unpacked to disk or executed."""

import bz2
import gzip
import lzma
import mmap
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from actgrad.errors import UserError
from actgrad.files import DAMAGED

GIB = 2**30
MAX_BYTES, MAX_FILE_BYTES, MAX_FILES = 4 * GIB, GIB // 4, 2_000_000
"""Limits of what an archive may unpack to. Images are held in memory, and a small archive can claim to hold terabytes."""


def members(source: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Read the wanted files of a folder, tar or zip archive, one by one.

    Args:
        source: a folder, or an archive: tar (plain, gzip, bzip2 or xz) or zip.
        wanted: says of a path inside the source whether its file is read.

    Yields:
        The path inside the source, and the content of the file.

    Raises:
        UserError: if the archive is damaged or above the limits, or if it holds links, devices or names that point outside it.
        OSError: if the source cannot be opened.
    """
    if source.is_dir():
        for file in sorted(source.rglob("*")):
            path = PurePosixPath(file.relative_to(source).as_posix())
            if wanted(path) and file.is_file():
                yield path, file.read_bytes()
        return
    with source.open("rb"):
        pass  # an archive that cannot be opened raises here, and is not called damaged
    try:
        yield from (_zip_members if zipfile.is_zipfile(source) else _tar_members)(source, wanted)
    except (*DAMAGED, tarfile.TarError, lzma.LZMAError) as error:
        reason = str(error).partition("\n")[0].rstrip(":") or "it ends too early"
        raise UserError(f"{source} is damaged or not a tar or zip archive ({reason}); get it again") from None


def check_limits(source: Path, total_bytes: int = 0, file_bytes: int = 0, files: int = 0) -> None:
    """Raise UserError if an archive would unpack to more than the limits allow."""
    if total_bytes > MAX_BYTES or file_bytes > MAX_FILE_BYTES or files > MAX_FILES:
        raise UserError(
            f"{source} unpacks to more than can be used: at most {MAX_BYTES // GIB} GiB in {MAX_FILES:,} files, "
            f"none above {MAX_FILE_BYTES // 2**20} MiB; do not use this archive, or make one of fewer or smaller images"
        )


# --- zip


@contextmanager
def open_zip(source: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file and check the number and the total size of its entries.

    Raises:
        UserError: if it is above the limits.
        An exception of files.DAMAGED: if it is not a whole zip file.
    """
    check_limits(source, files=_count_zip_entries(source))
    with zipfile.ZipFile(source) as archive:
        check_limits(source, total_bytes=sum(entry.file_size for entry in archive.infolist()))
        yield archive


def _count_zip_entries(source: Path) -> int:
    """Count the entries of a zip, or a few too many. ZipFile would read all of them into memory before it could be asked."""
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return sum(1 for _ in re.finditer(re.escape(zipfile.stringCentralDir), content))


def _zip_members(source: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[tuple[PurePosixPath, bytes]]:
    with open_zip(source) as archive:
        for entry in archive.infolist():
            path = _path_inside(source, entry.filename)
            if not entry.is_dir() and wanted(path):
                check_limits(source, file_bytes=entry.file_size)
                yield path, _unzip(source, archive, entry)


def _unzip(source: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read an entry, and no more bytes than it claims. Only deflate can be stopped there, so other compressions are refused."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{source}: {entry.filename} is packed in a way that is not read; make the zip with the usual compression, deflate")
    with archive.open(entry) as file:
        return file.read(entry.file_size + 1)  # without a size, zipfile would unpack everything first and cut it afterwards


# --- tar


def _tar_members(source: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[tuple[PurePosixPath, bytes]]:
    with _uncompressed(source) as stream, tarfile.open(fileobj=_LimitedStream(source, stream), mode="r:") as archive:
        for count, member in enumerate(archive, start=1):
            archive.members.clear()  # tarfile would keep every member in memory
            path = _path_inside(source, member.name)
            check_limits(source, total_bytes=archive.offset, files=count)
            if not (member.isfile() or member.isdir()):
                raise UserError(f"{source}: {member.name} is a link or a device; an archive of images holds files and folders only")
            if member.isfile() and wanted(path):
                check_limits(source, file_bytes=member.size)
                yield path, archive.extractfile(member).read()
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise EOFError  # a tar ends in blocks of zeros; tarfile does not notice one that was cut between two members


def _uncompressed(source: Path) -> IO[bytes]:
    """Open a file that may be compressed, told by its first bytes."""
    with source.open("rb") as file:
        magic = file.read(3)
    opener = {b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open, b"\xfd7z": lzma.open}.get(magic, open)
    return opener(source, "rb")


class _LimitedStream:
    """The stream of a tar, which refuses to read more at once than a file may hold: a member's header can claim any size."""

    def __init__(self, source: Path, stream: IO[bytes]):
        self._source, self._stream, self.seek, self.tell = source, stream, stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        check_limits(self._source, file_bytes=size)
        return self._stream.read(size)


def _path_inside(source: Path, name: str) -> PurePosixPath:
    """The path of a member; refuses a name that points outside the archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1]:
        raise UserError(f"{source}: the member {name!r} points outside the archive; do not use this archive")
    return path
