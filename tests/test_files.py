"""Files and folders are written whole or not at all."""

import ctypes
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from actgrad import files
from actgrad.files import replace_folder, write_bytes
from conftest import ROOT


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir() if item.is_file()] == ["file"]


# --- folders that are replaced

OLD = {"index.html": b"old", "figures/a.svg": b"old", "gone.csv": b"old"}
NEW = {"index.html": b"new", "figures/a.svg": b"new", "figures/more/b.svg": b"new"}


def held(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def no_exchange(monkeypatch, how: str) -> None:
    """Pretend that the system cannot exchange two folders, or refuses with this error."""

    def refuses(*_: object) -> int:
        ctypes.set_errno(getattr(errno, how))
        return -1

    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: SimpleNamespace(**{} if how == "absent" else {"renameat2": refuses}))


@pytest.mark.parametrize("how", ["exchanged", "absent", "ENOSYS", "EINVAL"])
def test_a_folder_holds_the_new_files_and_no_others(tmp_path, monkeypatch, how):
    if how != "exchanged":
        no_exchange(monkeypatch, how)
    folder = tmp_path / "not" / "there" / "folder"
    for content in (OLD, NEW, {}, OLD):
        replace_folder(folder, content)
        assert held(folder) == content
        assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def test_a_folder_that_cannot_be_exchanged_stays_and_is_named(tmp_path, monkeypatch):
    replace_folder(tmp_path / "folder", OLD)
    no_exchange(monkeypatch, "EACCES")
    with pytest.raises(OSError, match="Permission denied") as error:
        replace_folder(tmp_path / "folder", NEW)
    assert error.value.filename == str(tmp_path / "folder")
    assert held(tmp_path / "folder") == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_that_cannot_be_written_leaves_the_old_folder(tmp_path, monkeypatch):
    replace_folder(tmp_path / "folder", OLD)
    writes = Path.write_bytes

    def full_disk(path: Path, data: bytes) -> int:
        if path.name == "b.svg":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return writes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left") as error:
        replace_folder(tmp_path / "folder", NEW)
    assert error.value.filename == str(tmp_path / "folder")
    assert held(tmp_path / "folder") == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


INTERRUPTED = '''
"""Replace a folder again and again, in a process that ends before its first step, then before its second one, and so on. A step is a line
of files.py, or a call of the system that Python reports to an audit hook. Prints what was left, and how often."""

import json, os, shutil, signal, sys
from collections import Counter
from pathlib import Path
from actgrad import files

how, exchange, old, new = sys.argv[1], sys.argv[2] == "exchange", *(json.loads(content) for content in sys.argv[3:])
old, new = ({name: text.encode() for name, text in content.items()} for content in (old, new))
folder = Path("place/folder")

def held(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

def ends_before(step):
    left = step
    def count(*_):
        nonlocal left
        left -= 1
        if left == 0 and how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif left == 0:
            raise KeyboardInterrupt
    def trace(frame, *_):
        if frame.f_code.co_filename == files.__file__:
            count()
            return trace
    if not exchange:
        files.ctypes.CDLL = lambda *_, **__: None
    code = 1
    try:
        sys.addaudithook(count)
        sys.settrace(trace)
        files.replace_folder(folder, new)
        code = 0
    finally:
        left = 0
        sys.settrace(None)
        os._exit(code)

seen, step, status = Counter(), 0, None
while status != 0:
    step += 1
    shutil.rmtree("place", ignore_errors=True)
    files.replace_folder(folder, old)
    if child := os.fork():
        status = os.waitpid(child, 0)[1]
    else:
        ends_before(step)
    found = held(folder) if folder.exists() else None
    if found is None:
        beside = [held(part) for part in Path("place").glob(".folder.*.part/old")]
        seen["beside" if old in beside else "none"] += 1
    else:
        seen["old" if found == old else "new" if found == new else "mixture"] += 1
print(json.dumps(seen))
'''


def interrupted(folder: Path, how: str, exchange: str) -> dict[str, int]:
    contents = [json.dumps({name: data.decode() for name, data in content.items()}) for content in (OLD, NEW)]
    command = [sys.executable, "-c", INTERRUPTED, how, exchange, *contents]
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["killed", "interrupted"])
@pytest.mark.slow
def test_an_interruption_at_any_step_leaves_the_old_folder_or_the_new_one(tmp_path, how):
    seen = interrupted(tmp_path, how, "exchange")
    assert set(seen) == {"old", "new"}
    assert sum(seen.values()) > 50


@pytest.mark.parametrize("how", ["killed", "interrupted"])
@pytest.mark.slow
def test_where_the_system_cannot_exchange_folders_an_interruption_loses_nothing(tmp_path, how):
    """Between two steps, the old folder may lie next to its place, in a folder whose name ends in .part."""
    assert {"old", "new"} <= set(interrupted(tmp_path, how, "fallback")) <= {"old", "new", "beside"}
