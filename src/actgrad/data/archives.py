"""Read the files of a folder, tar or zip archive safely: into memory, with limits. Nothing is unpacked to disk or executed."""

import bz2
import gzip
import io
import lzma
import mmap
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from actgrad.data.ignored import ignored_by
from actgrad.errors import UserError
from actgrad.files import DAMAGED

GIB = 2**30
MAX_BYTES, MAX_FILE_BYTES, MAX_FILES = 4 * GIB, GIB // 4, 2_000_000
"""Limits of an unpacked archive. Images are held in memory, and a small archive can claim to hold terabytes."""
ZIP_ENTRY = b"PK\x01\x02"
"""First bytes of each entry in the directory of a zip."""
ZIP_END = b"PK\x05\x06"
"""First bytes of the 22 that end a zip. Its comment follows, of at most 2**16 bytes."""
UTF8 = 0x800
"""The flag of an entry of a zip whose name is UTF-8."""
JOINED = "it is joined with another archive, or with other data"


@dataclass(frozen=True)
class Entry:
    """A file or folder inside a source. `read` returns a file's content, but only while the source is being listed."""

    path: PurePosixPath
    is_folder: bool
    read: Callable[[], bytes] = bytes


def entries(source: Path) -> Iterator[Entry]:
    """List what is inside a folder, or an archive: tar (plain, gzip, bzip2 or xz) or zip.

    Links in a folder are followed, except under a hidden or system folder.

    Raises:
        UserError: if the archive is damaged or above the limits, if it holds links, devices or names that point outside it, or if a link of a
            folder leads nowhere or to a folder above it.
        OSError: if the source cannot be opened.
    """
    if source.is_dir():
        yield from _folder_entries(source)
        return
    with source.open("rb") as file:  # raises here if the archive cannot be opened; it is not damaged then
        magic = file.read(2)
    with _whole(source):
        yield from (_zip_entries if magic == b"PK" else _tar_entries)(source)


def members(source: Path, wanted: Container[PurePosixPath]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Read the wanted files of a folder, tar or zip archive, one by one; yields the path inside the source, and the content.

    Raises:
        As `entries`.
    """
    for entry in entries(source):
        if entry.path in wanted:
            if source.is_dir():
                yield entry.path, entry.read()
            else:
                with _whole(source):
                    content = entry.read()
                yield entry.path, content


@contextmanager
def _whole(source: Path, kind: str = "tar or zip archive") -> Iterator[None]:
    """Turn the errors of a damaged file into a sentence."""
    try:
        yield
    except (*DAMAGED, tarfile.TarError, lzma.LZMAError) as error:
        reason = str(error).partition("\n")[0].rstrip(":") or "it ends too early"
        raise UserError("damaged-file", f"{source} is damaged or not a {kind} ({shown(reason)}); get it again") from None


def check_limits(source: Path, total_bytes: int = 0, file_bytes: int = 0, files: int = 0) -> None:
    """Raise UserError if an archive would unpack to more than the limits allow."""
    if total_bytes > MAX_BYTES or file_bytes > MAX_FILE_BYTES or files > MAX_FILES:
        raise UserError(
            "too-large",
            f"{source} unpacks to more than can be used: at most {MAX_BYTES // GIB} GiB in {MAX_FILES:,} files, "
            f"none above {MAX_FILE_BYTES // 2**20} MiB; do not use this archive, or make one of fewer or smaller images",
        )


def shown(path: PurePosixPath | str) -> str:
    """A path or name for a sentence: characters that cannot be printed are escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(path))


# --- folder


def _folder_entries(source: Path) -> Iterator[Entry]:
    """Walk a folder. Each folder knows the folders above it, so that a link back to one of them is refused."""
    count = 0
    waiting: list[tuple[PurePosixPath, tuple[tuple[int, int], ...]]] = [(PurePosixPath(), (_identity(source.stat()),))]
    while waiting:
        folder, above = waiting.pop()
        try:
            with os.scandir(source / folder) as found:
                items = sorted(found, key=lambda item: item.name)
        except PermissionError:
            if not ignored_by(folder):
                raise
            items = []  # such as lost+found
        inside: list[tuple[PurePosixPath, tuple[tuple[int, int], ...]]] = []
        for item in items:
            count += 1
            check_limits(source, files=count)
            path = folder / item.name
            ignored = ignored_by(path)
            if ignored and (item.is_symlink() or not item.is_dir()):
                yield Entry(path, False)
                continue
            mode, identity = _followed(source, path, item)
            if stat.S_ISDIR(mode):
                if identity in above:
                    raise UserError("link-or-device", f"{source}: {shown(path)} is a link to a folder that it lies in; remove the link")
                yield Entry(path, True)
                inside.append((path, (*above, identity)))
            elif stat.S_ISREG(mode):
                yield Entry(path, False, (source / path).read_bytes)
            else:
                raise UserError(
                    "link-or-device", f"{source}: {shown(path)} is a pipe, socket or device; a folder of images holds files and folders only"
                )
        waiting += reversed(inside)


def _followed(source: Path, path: PurePosixPath, item: os.DirEntry) -> tuple[int, tuple[int, int]]:
    """The mode and identity of a file or folder. Links are followed."""
    try:
        info = item.stat()
    except OSError:
        if not item.is_symlink():
            raise
        raise UserError("link-or-device", f"{source}: {shown(path)} is a link that leads nowhere; mend or remove it") from None
    return info.st_mode, _identity(info)


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


# --- zip


@contextmanager
def open_zip(source: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file and check the number and the total size of its entries.

    Raises:
        UserError: if it is above the limits.
        An exception of files.DAMAGED: if it is not a whole zip file, or if other data lie before or behind it.
    """
    check_limits(source, files=_count_zip_entries(source))
    with zipfile.ZipFile(source) as archive:
        _check_alone(source, archive)
        check_limits(source, total_bytes=sum(entry.file_size for entry in archive.infolist()))
        yield archive


def _count_zip_entries(source: Path) -> int:
    """Count the entries of a zip, perhaps a few too many. ZipFile would first read all of them into memory."""
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return sum(1 for _ in re.finditer(re.escape(ZIP_ENTRY), content))


def _check_alone(source: Path, archive: zipfile.ZipFile) -> None:
    """Raise BadZipFile if other data lie before or behind a zip, such as a second zip: ZipFile would read only one of them, and say nothing."""
    with source.open("rb") as file:
        file.seek(max(0, source.stat().st_size - 2**17))
        tail = file.read()
    behind = tail[tail.rfind(ZIP_END) + 22 + len(archive.comment) :].strip(b"\0")
    if behind or min((entry.header_offset for entry in archive.infolist()), default=archive.start_dir):
        raise zipfile.BadZipFile(JOINED)


def _zip_entries(source: Path) -> Iterator[Entry]:
    with open_zip(source) as archive:
        for entry in archive.infolist():
            entry.filename = _name(entry)
            path = _path_inside(source, entry.filename)
            if stat.S_ISLNK(entry.external_attr >> 16):
                _refuse_link(source, entry.filename)
            if entry.flag_bits & 1:
                raise UserError(
                    "unusual-archive", f"{source}: {shown(entry.filename)} is encrypted; unpack the archive yourself, and give the folder"
                )
            yield Entry(path, entry.is_dir(), partial(_unzip, source, archive, entry))


def _name(entry: zipfile.ZipInfo) -> str:
    """The name of an entry. Some programs write UTF-8 without the flag that says so, and zipfile then reads it as code page 437."""
    if not entry.flag_bits & UTF8:
        with suppress(UnicodeError):
            return entry.filename.encode("cp437").decode()
    return entry.filename


def _unzip(source: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read an entry, but no more bytes than it claims to have. Only deflate can be stopped there, so other compressions are refused."""
    check_limits(source, file_bytes=entry.file_size)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            "unusual-archive",
            f"{source}: {shown(entry.filename)} is packed in a way that is not read; make the zip with the usual compression, deflate",
        )
    with archive.open(entry) as file:
        return file.read(entry.file_size + 1)  # without a size, zipfile would unpack everything first and cut it afterwards


# --- tar


def _tar_entries(source: Path) -> Iterator[Entry]:
    with _uncompressed(source) as stream, tarfile.open(fileobj=cast(IO[bytes], _LimitedStream(source, stream)), mode="r:") as archive:
        for count, member in enumerate(archive, start=1):
            archive.members.clear()  # type: ignore[attr-defined]  # typeshed lacks this list, where tarfile would keep every member
            path = _path_inside(source, member.name)
            check_limits(source, total_bytes=member.offset_data + member.size, files=count)
            if not (member.isfile() or member.isdir()):
                _refuse_link(source, member.name)
            yield Entry(path, member.isdir(), partial(_untar, source, archive, member))
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise EOFError  # a tar ends in zeros; tarfile does not notice a cut between two members
        while rest := stream.read(2**20):
            check_limits(source, total_bytes=stream.tell())
            if rest.strip(tarfile.NUL):
                raise tarfile.TarError(JOINED)  # tarfile would read only the first of two tars


def _untar(source: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    check_limits(source, file_bytes=member.size)
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.TarError(f"{shown(member.name)} is a folder and a file")
    return file.read()


def _uncompressed(source: Path) -> IO[bytes]:
    """Open a file. Its first bytes tell how it is compressed, if at all."""
    with source.open("rb") as file:
        magic = file.read(3)
    openers: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open, b"\xfd7z": lzma.open}
    return openers.get(magic, open)(source, "rb")


class _LimitedStream:
    """The stream of a tar that refuses to read more at once than a file may hold, because a member's header can claim any size."""

    def __init__(self, source: Path, stream: IO[bytes]):
        self._source, self._stream, self.seek, self.tell = source, stream, stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        check_limits(self._source, file_bytes=size)
        return self._stream.read(size)


# --- all archives


def _refuse_link(source: Path, name: str) -> None:
    raise UserError("link-or-device", f"{source}: {shown(name)} is a link or a device; an archive of images holds files and folders only")


def _path_inside(source: Path, name: str) -> PurePosixPath:
    """The path of a member; refuses a name that points outside the archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise UserError("outside-archive", f"{source}: the member {name!r} points outside the archive; do not use this archive")
    return path


# --- one file that may be gzipped


def is_gzipped(content: bytes) -> bool:
    return content[:3] == b"\x1f\x8b\x08"


def gunzipped(file: Path, content: bytes) -> bytes:
    """A file's content, unpacked if it is gzipped.

    Args:
        file: its name, for sentences.
        content: its bytes.

    Raises:
        UserError: if it is damaged, or unpacks to more than 1 GiB.
    """
    if not is_gzipped(content):
        return content
    with _whole(file, "gzip file"), gzip.open(io.BytesIO(content)) as unpacked:
        whole = unpacked.read(GIB + 1)
    if len(whole) > GIB:
        raise UserError("too-large", f"{file} unpacks to more than can be used, 1 GiB; do not use it")
    return whole
