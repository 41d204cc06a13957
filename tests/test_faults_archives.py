"""Malicious archives and arrays: one sentence, little memory, and nothing is unpacked, linked or run."""

import gzip
import io
import os
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq

from conftest import as_project, fault, sentence
from faults import one_set

pytest_plugins = "faults"


def member(name: str, content: bytes = b"", **fields) -> bytes:
    """The header and content of a tar's member, with these claimed fields."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def gzipped(folder: Path, *parts: bytes, repeat: int = 1) -> Path:
    target = folder / "hostile.tar.gz"
    with gzip.open(target, "wb", compresslevel=1) as file:
        for part in parts:
            for _ in range(repeat):
                file.write(part)
        file.write(bytes(1024))
    return target


def a_zip(folder: Path, *entries: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    target = folder / "hostile.zip"
    with zipfile.ZipFile(target, "w", how) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return target


def ten_million_entries(folder: Path) -> Path:
    """A zip whose central directory names one file ten million times."""
    small = a_zip(folder, ("train/a/x.png", b"x")).read_bytes()
    start = small.index(b"PK\x01\x02")
    entry = small[start : small.index(b"PK\x05\x06")]
    count, size = 10_000_000, 10_000_000 * len(entry)
    with (folder / "hostile.zip").open("wb") as file:
        file.write(small[:start])
        for _ in range(100):
            file.write(entry * (count // 100))
        at = start + size
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start))
        file.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1))
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    return folder / "hostile.zip"


def claiming(folder: Path) -> Path:
    """A zip of a few bytes whose entries say that they unpack to 20 GB."""
    target = a_zip(folder, *[(f"train/a/{i}.png", b"x") for i in range(100)])
    content = bytearray(target.read_bytes())
    for found in re.finditer(re.escape(b"PK\x01\x02"), bytes(content)):
        content[found.start() + 24 : found.start() + 28] = struct.pack("<L", 200 * 2**20)
    target.write_bytes(content)
    return target


def lying(folder: Path) -> Path:
    """A zip of a few MB whose entry says that it unpacks to 10 bytes, and unpacks to 1.9 GB."""
    target = folder / "hostile.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("train/a/x.png", "w") as file:
        for _ in range(1_900):
            file.write(bytes(2**20))
    content = bytearray(target.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<L", 10)
    target.write_bytes(content)
    return target


def link_in_a_zip(folder: Path) -> Path:
    info = zipfile.ZipInfo("train/a/x.png")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(folder / "hostile.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return folder / "hostile.zip"


def bomb_of_gzip(folder: Path) -> Path:
    """A file of IDX whose 5 MB unpack to 1.2 GB."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        for _ in range(1_200):
            file.write(bytes(2**20))
    return a_zip(folder, ("train-images-idx3-ubyte.gz", buffer.getvalue()), ("train-labels-idx1-ubyte", b""), how=zipfile.ZIP_STORED)


def bomb_of_parquet(folder: Path) -> Path:
    """A Parquet file of a few KB whose rows take 5 GB: each refers to the same bytes."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5_000, np.int32)), pa.array([bytes(2**20)]))
    pq.write_table(pa.table({"image": column, "label": np.arange(5_000) % 2}), folder / "hostile.parquet", store_schema=False, compression="zstd")
    return folder / "hostile.parquet"


def picture(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "png")
    return buffer.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(touch) (%pipe%touch hacked) (w) file\n%%EOF\n"
PAX = member("pax", bytes(300 * 2**20), type=tarfile.XHDTYPE)
HOSTILE = {
    "a path that leads out": (lambda f: gzipped(f, member("train/a/../../../../x.png")), "outside-archive", "x.png"),
    "an absolute path": (lambda f: gzipped(f, member("/train/a/x.png")), "outside-archive", "x.png"),
    "a path of another system that leads out": (lambda f: a_zip(f, ("train\\a\\..\\..\\..\\x.png", b"")), "outside-archive", "x.png"),
    "a symbolic link": (lambda f: gzipped(f, member("train/a/x.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "link-or-device", "x.png"),
    "a hard link": (lambda f: gzipped(f, member("train/a/x.png", type=tarfile.LNKTYPE, linkname="/etc/passwd")), "link-or-device", "x.png"),
    "a device": (lambda f: gzipped(f, member("train/a/x.png", type=tarfile.CHRTYPE)), "link-or-device", "x.png"),
    "a bomb: a member of 8 GB": (lambda f: gzipped(f, member("train/a/x.png", size=8 * 2**30)), "too-large", "hostile."),
    "a bomb: 300 MB of headers": (lambda f: gzipped(f, PAX, member("train/a/x.png")), "too-large", "hostile."),
    "a bomb: a zip that claims 20 GB": (claiming, "too-large", "hostile."),
    "a bomb: a zip that claims 10 bytes, and holds 1.9 GB": (lying, "damaged-file", "hostile.zip"),
    "a zip that is packed with LZMA": (lambda f: a_zip(f, ("train/a/x.png", b"x"), how=zipfile.ZIP_LZMA), "unusual-archive", "x.png"),
    "10 million members in a tar": (lambda f: gzipped(f, member(".about/x") * 10_000, repeat=1000), "too-large", "hostile."),
    "10 million members in a zip": (ten_million_entries, "too-large", "hostile."),
    "a bomb: a gzip file that unpacks to 1.2 GB": (bomb_of_gzip, "too-large", "hostile."),
    "a bomb: rows of Parquet that take 5 GB": (bomb_of_parquet, "unusable-image", "hostile.parquet"),
    "a symbolic link in a zip": (link_in_a_zip, "link-or-device", "x.png"),
    "a picture of 30,000 x 30,000": (lambda f: a_zip(f, ("train/a/x.png", picture(30_000))), "unusable-image", "x.png"),
    "a picture of 5,000 x 5,000": (lambda f: a_zip(f, ("train/a/x.png", picture(5_000))), "too-large", "1024x1024"),
    "a program that claims to be a picture": (lambda f: a_zip(f, ("train/a/x.png", b"\x7fELF" + bytes(100))), "unusable-image", "x.png"),
    "PostScript that claims to be a picture": (lambda f: a_zip(f, ("train/a/x.png", EPS)), "unusable-image", "x.png"),
}


@pytest.mark.parametrize("what", HOSTILE)
@fault("a hostile archive", "one sentence, exit 1, within 2 GB of memory; nothing is unpacked, linked or run")
def test_a_hostile_archive(what, tmp_path, seen):
    make, code, part = HOSTILE[what]
    (tmp_path / "made").mkdir()
    archive = make(tmp_path / "made")
    (tmp_path / "here").mkdir()
    form = {"bomb_of_gzip": "idx", "bomb_of_parquet": "parquet"}.get(make.__name__, "image_folder")
    arguments = ("data=cifar10_jpeg", f"data.archive={archive}", f"data.format={form}", "data.sha256=null", "data.val_size=0")
    limited = (
        f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, ({2 * 2**30},) * 2); sys.argv.pop(0);"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0]); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    env = os.environ | as_project(tmp_path / "here", OPENBLAS_NUM_THREADS="1")
    command = [sys.executable, "-c", limited, tmp_path / "here" / "src" / "download.py", *arguments]
    assert part in sentence(subprocess.run(command, cwd=tmp_path / "here", env=env, capture_output=True, text=True), code)
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"src", "conf"}
    seen(f"`error[{code}]`", what)


@pytest.mark.parametrize(
    ("what", "shape", "expected"),
    [("an array that claims 64 TB", (10**12, 8, 8, 1), "is not an .npz of plain arrays"), ("objects", None, "Object arrays cannot be loaded")],
)
@fault("a hostile .npz", "one sentence, exit 1; no object is unpickled")
def test_a_hostile_npz(own, what, shape, expected, seen):
    class Hack:
        def __reduce__(self):
            return os.mkdir, (str(own.folder / "hacked"),)

    one_set(own.folder, class_names=np.array([Hack(), "b"], dtype=object))
    if shape:
        one_set(own.folder)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(own.folder / "a.npz", "a") as archive:
            archive.writestr("x_val.npy", header.getvalue())
            archive.writestr("y_val.npy", header.getvalue())
    printed = own.run("python", "src/download.py", "data=a", check=False)
    assert expected in printed
    assert "Traceback" not in printed
    assert not (own.folder / "hacked").exists()
    seen(f"`… {expected} …`", f"{what} in an .npz")
