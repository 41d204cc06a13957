"""Where a dataset's source is taken from: a local archive, the cache or a server; and src/download.py itself."""

import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from actgrad.config.schema import Data
from actgrad.data import storage
from conftest import NAMES, sentence
from data_sources import folder_files, pets, refusal, tar


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# --- downloads


@pytest.fixture
def server():
    """Serve path -> bytes on this machine, and list the paths that were asked for. Other paths give a 404."""
    content: dict[str, bytes] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path in content else 404)
            self.end_headers()
            self.wfile.write(content.get(self.path, b""))

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", content, asked
        http.shutdown()
        thread.join()


@pytest.fixture
def remote(server, tmp_path) -> Callable[..., tuple[Data, list[str]]]:
    address, content, asked = server
    body = tar(tmp_path / "served.tar.gz", folder_files()).read_bytes()
    content |= {"/good": body, "/truncated": body[:-10]}

    def data(*names: str) -> Data:
        return pets(None, urls=[f"{address}/{name}" for name in names], sha256=hashlib.sha256(body).hexdigest())

    return lambda *names: (data(*names), asked)


def test_sources_are_tried_in_order_and_only_the_checksum_counts(remote, tmp_path):
    data, asked = remote("absent", "truncated", "good")
    dataset = storage.prepare(data, tmp_path / "pets.npz")
    assert asked == ["/absent", "/truncated", "/good"]
    assert len(dataset.images["train"]) == 8


def test_a_second_clone_downloads_nothing(remote, tmp_path):
    data, asked = remote("good")
    for clone in "ab":
        (tmp_path / clone).mkdir()
        storage.prepare(data, tmp_path / clone / "pets.npz")
    assert asked == ["/good"]


def test_a_local_archive_is_kept_for_the_next_time(tmp_path):
    archive = tar(tmp_path / "a.tar.gz", folder_files())
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    storage.prepare(pets(archive, sha256=digest), tmp_path / "a.npz")
    archive.unlink()
    storage.prepare(pets(None, sha256=digest), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_cache_that_cannot_be_written_costs_no_local_archive(tmp_path, capsys):
    archive = tar(tmp_path / "a.tar.gz", folder_files())
    (tmp_path / "cache").write_text("a file where a folder should be")
    storage.prepare(pets(archive, sha256=hashlib.sha256(archive.read_bytes()).hexdigest()), tmp_path / "a.npz")
    assert "could not be kept" in capsys.readouterr().err


def test_no_source_that_works_names_the_ways_out(remote, tmp_path):
    data, _ = remote("absent", "truncated")
    said = refusal(data, tmp_path / "out" / "pets.npz")
    assert "HTTP status 404" in said
    assert "has not the sha256" in said
    assert "data.archive=PATH" in said
    assert "data=digits" in said
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_what_is_no_address_is_called_so(script):
    assert "cifar.tar.gz: not a web address" in sentence(script("download.py", "data=cifar10", "data.urls=[cifar.tar.gz]"))


def test_no_network_names_the_ways_out(script):
    said = sentence(script("download.py", "data=cifar10", "data.urls=[http://127.0.0.1:9/cifar-10-binary.tar.gz]"))
    assert "no connection" in said
    assert "data.archive=PATH" in said
    assert "data=digits" in said


# --- the command


def test_download_makes_the_file_and_says_what_is_in_it(script, tmp_path):
    done = script("download.py", "data=digits")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "data/digits.npz: 1197 train, 240 val, 360 test images of 8x8x1, 10 classes",
        "Images of each class (train / val / test):",
        "  0: 118 / 24 / 36   1: 122 / 24 / 36   2: 118 / 24 / 35   3: 121 / 25 / 37   4: 121 / 24 / 36   5: 121 / 24 / 37",
        "  6: 121 / 24 / 36   7: 119 / 24 / 36   8: 116 / 23 / 35   9: 120 / 24 / 36",
        "Ignored: nothing.",
    ]
    assert (tmp_path / "data" / "digits.npz").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data=digit"], f"data=digit is not known; known: {', '.join(NAMES['data'])}"),
        (["digits"], "'digits' is not understood; write data=NAME, such as data=digits"),
        (["data=digits", "val_size=0"], "'val_size=0' is not understood; write data.KEY=VALUE"),
        (["data=digits", "data.vals=0"], "data.vals is not a key of this configuration; known there: name, format"),
        (["data=digits", "data.urls=[a"], "cannot be read"),
        (["data=digits", "data.archive=x.zip"], "data.archive=x.zip has no use here"),
        (["data=cifar10_jpeg"], "cifar10_jpeg has no address to download from"),
    ],
)
def test_download_refuses_with_one_sentence(script, tmp_path, arguments, expected):
    assert expected in sentence(script("download.py", *arguments))
    assert not (tmp_path / "data").exists()
