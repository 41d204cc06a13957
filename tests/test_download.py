"""Sources of a dataset: a local archive, the cache or a server; and src/download.py itself."""

import csv
import gzip
import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from actgrad.config.loading import data_config
from actgrad.config.schema import Data
from actgrad.data import storage
from actgrad.data.readers import READERS
from conftest import NAMES, ROOT, image_set, refuses, sentence
from data_sources import folder_files, idx_files, npz, pets, refusal, tar, unpacked


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
    said = refusal(data, tmp_path / "out" / "pets.npz", "download-failed")
    assert "HTTP status 404" in said
    assert "has not the sha256" in said
    assert "data.archive=PATH" in said
    assert "data=digits" in said
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_what_is_no_address_is_called_so(script):
    assert "cifar.tar.gz: not a web address" in sentence(script("download.py", "data=cifar10", "data.urls=[cifar.tar.gz]"), "download-failed")


def test_no_network_names_the_ways_out(script):
    said = sentence(script("download.py", "data=cifar10", "data.urls=[http://127.0.0.1:9/cifar-10-binary.tar.gz]"), "download-failed")
    assert "no connection" in said
    assert "data.archive=PATH" in said
    assert "data=digits" in said


# --- a dataset of several files


def several(urls: list[str], files: dict[str, bytes], archive: Path | None = None) -> Data:
    known = {f"{name}.gz": hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return pets(archive, format="idx", urls=urls, files=known)


@pytest.mark.parametrize("level", [1, 9])
def test_several_files_are_downloaded_and_checked_unpacked(server, tmp_path, level):
    """Only their content counts, however they are compressed."""
    address, content, asked = server
    files = idx_files()
    content |= {f"/good/{name}.gz": gzip.compress(file, level) for name, file in files.items()}
    content |= {"/bad/train-images-idx3-ubyte.gz": gzip.compress(b"other"), "/bad/train-labels-idx1-ubyte.gz": b"\x1f\x8b\x08cut"}
    data = several([f"{address}/bad/", f"{address}/good"], files)
    for clone in "ab":
        storage.prepare(data, tmp_path / clone)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert asked == [f"/{folder}/{name}.gz" for name in files for folder in ("bad", "good")]


@pytest.mark.parametrize("packed", [True, False])
def test_several_local_files_are_checked_and_kept(tmp_path, packed):
    files = idx_files()
    given = {f"{name}.gz": gzip.compress(content) for name, content in files.items()} if packed else files
    storage.prepare(several([], files, unpacked(tmp_path / "given", given)), tmp_path / "a.npz")
    storage.prepare(several([], files, tar(tmp_path / "given.tar.gz", given)), tmp_path / "b.npz")
    storage.prepare(several([], files), tmp_path / "c.npz")  # from the cache
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    (tmp_path / "given" / "README.md").write_text("from where")
    storage.prepare(several([], files, tmp_path / "given"), tmp_path / "a.npz")
    more = tmp_path / "given" / "more-images-idx3-ubyte"
    more.write_bytes(b"not covered by a checksum")
    assert "more-images-idx3-ubyte is none of the files that data.files of pets has" in refusal(
        several([], files, tmp_path / "given"), tmp_path / "d.npz", "unexpected-part"
    )
    more.unlink()
    other = tmp_path / "given" / next(iter(given))
    other.write_bytes(b"other")
    assert f"{other.name} has the sha256 " in refusal(several([], files, tmp_path / "given"), tmp_path / "d.npz", "wrong-checksum")
    other.unlink()
    assert "holds no train-images-idx3-ubyte, gzipped or not" in refusal(several([], files, tmp_path / "given"), tmp_path / "d.npz", "missing-part")


@pytest.mark.parametrize(
    ("values", "code", "expected"),
    [
        ({"sha256": "0" * 64}, "contradicting-keys", "data.sha256 and data.files of pets are both set"),
        ({"format": "npz"}, "contradicting-keys", "data.files of pets is set, and data.format=npz is one file"),
        ({"format": "image_folder"}, "contradicting-keys", "data.files of pets is set, and data.format=image_folder is one file"),
        ({}, "no-address", "pets has no address to download from"),
    ],
)
def test_several_files_that_are_not_clear_are_refused(tmp_path, values, code, expected):
    data = pets(None, **({"format": "idx", "files": {"a.gz": "0" * 64}} | values))
    assert expected in refusal(data, tmp_path / "a.npz", code)


# --- the configured source must be the one that was read


@pytest.mark.parametrize("container", [lambda path, files: tar(path.with_suffix(".tar"), files, "w"), unpacked], ids=["file", "folder"])
def test_data_made_from_another_archive_are_not_trained_on(tmp_path, monkeypatch, container):
    monkeypatch.chdir(tmp_path)
    one = pets(container(tmp_path / "one", folder_files()))
    other = pets(container(tmp_path / "other", folder_files(train=8)))
    storage.prepare(one, storage.path("pets"))
    storage.load(one)
    with refuses(
        "other-dataset", "data/pets.npz was made from another source, or from files that have changed since; make", "python src/download.py"
    ):
        storage.load(other)
    storage.load(pets(container(tmp_path / "copy", folder_files())))  # the same content elsewhere is the same source


def test_an_archive_that_changed_is_not_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = unpacked(tmp_path / "one", folder_files())
    storage.prepare(pets(source), storage.path("pets"))
    (source / ".DS_Store").write_bytes(b"of no account")
    storage.load(pets(source))
    (source / "pets" / "train" / "cat" / "more.png").write_bytes(b"new")
    with refuses("other-dataset", "data/pets.npz"):
        storage.load(pets(source))


def test_an_archive_that_is_gone_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = tar(tmp_path / "one.tar.gz", folder_files())
    storage.prepare(pets(source), storage.path("pets"))
    source.unlink()
    storage.load(pets(source))
    assert f"note: data.archive={source} is not here, so it cannot be compared with data/pets.npz" in capsys.readouterr().err
    with refuses("other-dataset", "data/pets.npz"):
        storage.load(pets(source, val_size=0))


def test_a_folder_does_not_pass_for_the_archive_of_the_checksum(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    archive = tar(tmp_path / "a.tar.gz", folder_files())
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    storage.prepare(pets(unpacked(tmp_path / "a", folder_files()), sha256=digest), storage.path("pets"))
    assert f"note: data.archive={tmp_path / 'a'} is a folder, so it is not compared with data.sha256" in capsys.readouterr().err
    with refuses("other-dataset", "data/pets.npz"):
        storage.load(pets(None, sha256=digest))
    storage.prepare(pets(archive, sha256=digest), storage.path("pets"))
    storage.load(pets(None, sha256=digest))
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_train_refuses_data_of_another_archive(script, tmp_path):
    """The real training script ends before it trains."""
    for seed, name in enumerate(("one", "other")):
        npz(tmp_path / f"{name}.npz", x_train=image_set(20, 12, seed=seed + 5))
    overrides = ["data=mnist", "data.sha256=null", "data.val_size=4"]
    assert script("download.py", *overrides, "data.archive=one.npz").returncode == 0
    said = sentence(script("train.py", *overrides, "+data.archive=other.npz", "run_dir=out", "tracking.enabled=false"), "other-dataset")
    assert "data/mnist.npz" in said
    assert "python src/download.py data=mnist" in said


def test_the_digits_have_the_bytes_that_results_were_made_from(tmp_path):
    storage.prepare(data_config("digits", []), tmp_path / "digits.npz")
    recorded = next(csv.DictReader((ROOT / "runs" / "digits" / "relu.csv").read_text().splitlines()))["data_sha256"]
    assert hashlib.sha256((tmp_path / "digits.npz").read_bytes()).hexdigest() == recorded


# --- the command


@pytest.mark.parametrize("name", ["set #1", "2024", "a: b", "[x]", "true", "a,b", "${x}", "ünï"])
def test_a_path_is_taken_as_it_was_typed(name):
    assert data_config("cifar10_jpeg", [f"data.archive={name}", "data.val_size=1"]).archive == name


def test_help_names_every_format_and_key(script):
    said = " ".join(script("download.py", "--help").stdout.split())
    for word in [*READERS, *Data.model_fields]:
        assert word in said


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
    ("arguments", "code", "expected"),
    [
        (["data=digit"], "unknown-name", f"data=digit is not known; known: {', '.join(NAMES['data'])}"),
        (["digits"], "not-understood", "'digits'"),
        (["data=digits", "val_size=0"], "not-understood", "'val_size=0'"),
        (["data=digits", "data.vals=0"], "unknown-key", "data.vals is not a key of this configuration; known there: name, format"),
        (["data=digits", "data.urls=[a"], "wrong-configuration", "data.urls=[a"),
        (["data=digits", "data.archive=x.zip"], "no-use", "data.archive=x.zip"),
        (["data=digits", "data.split_seed=4294967296"], "wrong-value", "data.split_seed=4294967296 cannot be used: it must be below 4294967296"),
        (["data=digits", "data.image_size=2"], "wrong-value", "data.image_size=2 cannot be used: it must be at least 4"),
        (["data=mnist", "data.archive="], "wrong-value", "data.archive='' cannot be used: it must not be empty"),
        (["data=mnist", "data.archive=."], "folder-for-file", "data.archive=. "),
        (["data=cifar10_jpeg"], "no-address", "python src/download.py data=cifar10_jpeg data.archive=PATH"),
    ],
)
def test_download_refuses_with_one_sentence(script, tmp_path, arguments, code, expected):
    assert expected in sentence(script("download.py", *arguments), code)
    assert not (tmp_path / "data").exists()
