"""Archives: names, flags and kinds of their members, and other data beside them."""

import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from actgrad.data import storage
from data_sources import folder_files, pets, refusal, tar, zipped

FILES = {name.removeprefix("pets/"): content for name, content in folder_files().items()}
TRAIN = {f"a/{name}": content for name, content in FILES.items() if name.startswith("train")}
"""The files of the train split, in another folder."""


def special_zip(path: Path, name: str, mode: int = 0, flags: int = 0) -> Path:
    """A zip of FILES with one more entry, of this kind of file or with these flags."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    with zipfile.ZipFile(zipped(path, FILES), "a") as archive:
        archive.writestr(info, "../../dog/000.png")
        info.flag_bits |= flags
    return path


def test_links_and_encrypted_files_of_a_zip_are_refused(tmp_path):
    link = special_zip(tmp_path / "a.zip", "train/cat/link.png", mode=stat.S_IFLNK | 0o777)
    assert "train/cat/link.png is a link or a device" in refusal(pets(link), tmp_path / "o.npz", "link-or-device")
    encrypted = special_zip(tmp_path / "b.zip", "train/cat/secret.png", flags=1)
    assert "train/cat/secret.png is encrypted; unpack the archive yourself" in refusal(pets(encrypted), tmp_path / "o.npz", "unusual-archive")


@pytest.mark.parametrize(("encoding", "flag"), [("utf-8", 0x800), ("utf-8", 0), ("cp437", 0)])
def test_names_in_a_zip_are_read_with_and_without_the_flag_of_utf8(tmp_path, encoding, flag, monkeypatch):
    monkeypatch.setattr(zipfile.ZipInfo, "_encodeFilenameFlags", lambda entry: (entry.filename.encode(encoding), flag))
    source = zipped(tmp_path / "a.zip", {name.replace("cat", "café"): content for name, content in FILES.items()})
    monkeypatch.undo()
    assert storage.prepare(pets(source), tmp_path / "o.npz").class_names == ["café", "dog"]


def test_a_file_that_an_archive_holds_twice_is_refused(tmp_path):
    with tarfile.open(tar(tmp_path / "a.tar", FILES, "w"), "a") as archive:
        archive.addfile(tarfile.TarInfo("train/cat/000.png"))
    assert "train/cat/000.png is in the archive twice" in refusal(pets(tmp_path / "a.tar"), tmp_path / "o.npz", "file-twice")


def test_a_folder_of_a_tar_with_the_name_of_a_file_is_refused(tmp_path):
    folder = tarfile.TarInfo("train/cat/000.png")
    folder.type = tarfile.DIRTYPE
    with tarfile.open(tar(tmp_path / "a.tar", FILES, "w"), "a") as archive:
        archive.addfile(folder)
    assert "(train/cat/000.png is a folder and a file)" in refusal(pets(tmp_path / "a.tar"), tmp_path / "o.npz", "damaged-file")


def test_a_tar_that_ends_in_a_zip_is_a_tar(tmp_path):
    """A zip can also be recognised by its end, and this tar ends like a zip."""
    inner = zipped(tmp_path / "inner.zip", {name: content for name, content in FILES.items() if "/000" in name}).read_bytes()
    assert "inner.zip is not at <split>/<class>/<file>" in refusal(
        pets(tar(tmp_path / "a.tar", FILES | {"inner.zip": inner}, "w")), tmp_path / "o.npz", "unexpected-part"
    )


@pytest.mark.parametrize(
    ("make", "joined"),
    [
        *(
            (lambda p, mode=mode: tar(p / "a", FILES, mode).read_bytes() + tar(p / "b", TRAIN, mode).read_bytes(), True)
            for mode in ("w", "w:gz", "w:xz")
        ),
        (lambda p: tar(p / "a", FILES, "w").read_bytes() + bytes(5000) + b"x" * 2048, True),
        (lambda p: tar(p / "a", FILES, "w").read_bytes() + bytes(3_000_000), False),
        (lambda p: zipped(p / "a", FILES).read_bytes() + zipped(p / "b", TRAIN).read_bytes(), True),
        (lambda p: zipped(p / "a", FILES).read_bytes() + zipped(p / "b", TRAIN).read_bytes()[:-22], True),
        (lambda p: commented(zipped(p / "a", FILES)).read_bytes() + bytes(5000) + b"x", True),
        (lambda p: commented(zipped(p / "a", FILES)).read_bytes() + bytes(5000), False),
    ],
)
def test_only_zeros_may_lie_beside_an_archive(tmp_path, make, joined):
    """Of two joined archives, a reader would use one, and say nothing of the other."""
    source = tmp_path / "source"
    source.write_bytes(make(tmp_path))
    if joined:
        assert "(it is joined with another archive, or with other data); get it again" in refusal(pets(source), tmp_path / "o.npz", "damaged-file")
    else:
        assert len(storage.prepare(pets(source), tmp_path / "o.npz").images["test"]) == 4


def commented(path: Path) -> Path:
    """A zip with a comment, which is the last of its bytes."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"of pets"
    return path
