"""Edits that change the core's hash, and processes that train with the core that they hashed."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from actgrad.config import loading
from actgrad.data import storage
from actgrad.files import PROJECT
from actgrad.pipeline import keras_process, run
from actgrad.results.fingerprint import CORE, CORE_SHA256, OTHER_BACKENDS, core_sha256
from conftest import ROOT, refuses

PACKAGE = PROJECT / "src" / "actgrad"


@pytest.fixture
def package(tmp_path) -> Path:
    """A copy of src/actgrad."""
    return shutil.copytree(PACKAGE, tmp_path / "src" / "actgrad", ignore=shutil.ignore_patterns("__pycache__"))


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new))


def test_the_core_of_this_process_is_that_of_its_files(package):
    assert core_sha256(package) == core_sha256(PACKAGE) == CORE_SHA256


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("monitor/probe.py", "def _per_example(", "# Another comment.\ndef _per_example("),
        ("training/prepared.py", "jit_compile=False,", "jit_compile=False,  # another comment"),
        ("training/prepared.py", '"""A network that is ready', '"""Another docstring of the module: a network'),
        ("monitor/probe.py", '"""Measures a model on one', '"""Another docstring of the class'),
        ("training/measurements.py", '"""One row a site, as', '"""Another docstring of a method'),
        ("monitor/probe.py", '"""tau of Sokar', '"""Another docstring of a constant'),
        ("training/measurements.py", '"""Layer -> number of units, and of those that are dead on all of these images."""\n', ""),
        ("networks/build.py", "is not a function; is its module on PYTHONPATH", "is no function; where is its module"),
        ("training/determinism.py", "cannot be set in a process that already uses another number", "is another number than this process has"),
        ("networks/layers.py", "pieces must be a whole number of at least 2, got {pieces!r}", "pieces={pieces} is no whole number above 1"),
        ("networks/own_code.py", "its module cannot be imported (", "its module is broken ("),
        ("networks/build.py", "units, and the activation a layer of its own: activation()(x)", "units"),
        ("training/loop.py", "code of your own has state in no variable, such as", "your own code has a state in no variable, for example"),
        (
            "monitor/sites.py",
            " applies acts on several units together, so only its weights are measured",
            " does acts on many units: only weights are seen",
        ),
        ("training/loop.py", "split = validation_split(dataset.images)\n", "split = (\n        validation_split(dataset.images)\n    )\n\n"),
        ("training/determinism.py", 'set_floatx("float32")', "set_floatx('float32')"),
        ("training/determinism.py", "def start(seed: int, threads: int | None) -> None:", "def start(seed, threads: object):"),
    ],
)
def test_an_edit_that_changes_no_meaning_leaves_the_core(package, file, old, new):
    edit(package / file, old, new)
    assert core_sha256(package) == CORE_SHA256


def test_formatting_everything_anew_leaves_the_core(package):
    for room in CORE:
        for file in (package / room).rglob("*.py"):
            file.write_text(ast.unparse(ast.parse(file.read_text())), newline="\r\n")
    assert core_sha256(package) == CORE_SHA256


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("monitor/names.py", "SATURATION = 0.05", "SATURATION = 0.06"),
        ("training/batches.py", "EVALUATION_BATCH = 1000", "EVALUATION_BATCH = 1000.0"),
        ("monitor/units.py", "steep < SATURATION", "steep <= SATURATION"),
        ("monitor/recording.py", '"float32") for tensor in', '"float64") for tensor in'),
        ("networks/build.py", "atol=1e-2", "atol=1e-3"),
        ("networks/mlp.py", "if residual and number > 1", "if residual and number > 2"),
        ("networks/lenet5.py", 'padding="same"', 'padding="valid"'),
        ("training/loop.py", "(number - 1) * steps", "(number + 1) * steps"),
        ("networks/layers.py", "pieces: int = 2", "pieces: int = 3"),
        ("training/loop.py", "checkpoint: StateStore | None = None,", "checkpoint: StateStore | None = ...,"),
        ("training/prepared.py", "jit_compile=False", "jit_compile=True"),
        (
            "training/determinism.py",
            "    keras.utils.set_random_seed(seed)\n    tf.config.experimental.enable_op_determinism()\n",
            "    tf.config.experimental.enable_op_determinism()\n    keras.utils.set_random_seed(seed)\n",
        ),
        ("training/determinism.py", 'set_floatx("float32")', 'set_floatx("float64")'),
        ("networks/inputs.py", "deviation > 0", "deviation >= 0"),
        ("networks/initial_weights.py", '{seed}/{layer}"', '{seed}-{layer}"'),
        ("networks/layers.py", "or pieces < 2:", "or pieces < 3:"),
        ("networks/layers.py", 'raise ValueError(f"pieces', 'raise TypeError(f"pieces'),
        ("training/loop.py", "observed(epochs[-1])", "pass"),
        ("training/epochs.py", "variable.assign(state", "print(state"),
    ],
)
def test_an_edit_that_changes_the_meaning_changes_the_core(package, file, old, new):
    edit(package / file, old, new)
    assert core_sha256(package) != CORE_SHA256


def test_a_file_more_less_or_of_another_name_changes_the_core(package):
    def changed(move: Callable[[Path], object]) -> bool:
        move(package)
        return core_sha256(package) != CORE_SHA256

    assert changed(lambda folder: (folder / "training/linearity.py").rename(folder / "training/affine.py"))
    assert not changed(lambda folder: (folder / "training/affine.py").rename(folder / "training/linearity.py"))
    assert changed(lambda folder: (folder / "networks/more").mkdir() or (folder / "networks/more/cnn.py").write_text("A = 1"))
    assert not changed(lambda folder: shutil.rmtree(folder / "networks/more"))
    assert changed(lambda folder: (folder / "monitor/names.py").unlink())


def test_an_edit_outside_the_core_leaves_it(package):
    others = [file for file in package.rglob("*.py") if file.relative_to(package).parts[0] not in CORE]
    others += [package / name for name in OTHER_BACKENDS]
    assert len(others) > 20
    for file in others:
        file.write_text(f"{file.read_text()}\nEDITED = 1\n")
    (package / "monitor" / "notes.txt").write_text("no code")
    (package / "monitor" / "__pycache__").mkdir()
    (package / "monitor" / "__pycache__" / "probe.cpython-311.pyc").write_bytes(b"no source")
    assert core_sha256(package) == CORE_SHA256


def test_a_run_imports_no_code_that_its_core_does_not_hold():
    program = "import sys; from actgrad.pipeline.keras_process import load_core; load_core(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(PROJECT / "src")}, capture_output=True, text=True)
    assert "actgrad.monitor.backends.tensorflow" in done.stdout.split()
    assert not {f"actgrad.{name.removesuffix('.py').replace('/', '.')}" for name in OTHER_BACKENDS} & set(done.stdout.split())


def test_no_text_that_computes_can_pass_for_a_sentence():
    """The hash leaves out texts with two spaces, such as the subscripts of einsum may have."""
    assert not [file for room in CORE for file in (PACKAGE / room).rglob("*.py") if "einsum" in file.read_text()]


@pytest.mark.parametrize("room", CORE)
def test_a_folder_without_a_core_is_no_package_of_ours(package, room):
    shutil.rmtree(package / room)
    with pytest.raises(FileNotFoundError, match=room):
        core_sha256(package)


SAMPLE = '''
"""Syntax that versions of Python have parsed differently."""
from __future__ import annotations
GLOBAL: int = 3
NEGATIVE, HUGE, SMALL, COMPLEX, BYTES = -1, 10**20, 1e-07, 2j, b"\\x00a"
TEXT = "one" f"{GLOBAL!r:>{NEGATIVE + 12}} two {GLOBAL=}" 'it' "\\N{BULLET}" u"u"
@property
class Base(dict, metaclass=type):
    x: float = 1.0
    """Attribute."""
    async def run(self, a, /, b=2, *rest: int, c, d=None, **more) -> Iterator[int]:
        async with a as opened, b:
            yield await opened
        async for i in rest:
            if not (1 < i <= 3 != c) or i is None and d not in more:
                continue
def function(n=0, *, key=lambda x, *y: (x, *y)):
    try:
        total[1:n:2], (first, *others) = total[::-1], [i**2 for i in range(n) if i % 2 for _ in ...]
        total += {**{"a": 1, None: {1, 2}}}[n] @ -n // 3 if n else ~n << 1
    except* (ValueError, OSError) as error:
        raise path.error(f"wrong: {error}") from error
    while (m := n - 1) > 0:
        with open("f") as (a, b):
            del a[..., 0]
    match n:
        case [1, *_, {"k": "v", **rest}] | Base(x=1.5, y=None) if m:
            yield from (x for x in rest)
        case "s" | -1 | None as bound:
            return f"{bound:%Y-%m-%d}" f'{"nested"}'
'''


def test_the_core_does_not_depend_on_the_version_of_python(tmp_path):
    """The sha256 was computed with Python 3.11.7, 3.12.1 and 3.13.0."""
    for room in CORE:
        (tmp_path / room).mkdir()
        (tmp_path / room / "sample.py").write_text(SAMPLE)
    assert core_sha256(tmp_path) == "9921ba3ed395db1a5ee19c2ec90602a92d5bbaa1f9af2867bc9f459a6b76a71e"


# --- a process whose core is edited

SMALL = ["data=digits", "recipe.epochs=1", "recipe.batch_size=256", "recipe.probe_size=16", "tracking.enabled=false"]


def variables(home: Path) -> dict[str, str]:
    """Environment variables without the user's settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


@pytest.fixture
def edited_core(package, monkeypatch) -> Path:
    """A copy of src/actgrad in which this process looks for edits, as if it were its own code."""
    monkeypatch.setattr(keras_process, "PROJECT", package.parents[1])
    keras_process.load_core.cache_clear()
    yield package
    keras_process.load_core.cache_clear()


def test_a_core_that_was_edited_after_the_process_started_trains_nothing(edited_core, run_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage.prepare(loading.data_config("digits", []), storage.path("digits"))
    edit(edited_core / "training" / "batches.py", "EVALUATION_BATCH = 1000", "EVALUATION_BATCH = 100")
    with refuses("changed-meanwhile", "src/actgrad"):
        run.complete(run_config("run_dir=of_an_edited_core", "tracking.enabled=false"))
    assert list(Path("of_an_edited_core").iterdir()) == []


def test_a_comment_that_was_edited_after_the_process_started_is_no_matter(edited_core):
    edit(edited_core / "training" / "batches.py", "EVALUATION_BATCH = 1000", "EVALUATION_BATCH = 1000  # as many as fit")
    keras_process.load_core()


@pytest.mark.slow
@pytest.mark.usefixtures("package")
def test_the_core_that_trains_is_that_of_the_start_whatever_becomes_of_its_files(tmp_path):
    """Once the core is loaded, its files may be edited or even removed."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    storage.prepare(loading.data_config("digits", []), tmp_path / storage.path("digits"))
    code = """
import shutil, sys
from actgrad.config import composing
from actgrad.pipeline import keras_process, run
assert "keras" not in sys.modules
keras_process.load_core()
for room in ("monitor", "networks", "training"):
    shutil.rmtree(f"src/actgrad/{room}")
config = composing.composed(sys.argv[1:])
run.complete(config)
"""
    command = [sys.executable, "-c", code, *SMALL, "run_dir=done"]
    done = subprocess.run(command, cwd=tmp_path, env=variables(tmp_path) | {"PYTHONPATH": "src"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "done" / "metrics.json").read_text())["core_sha256"] == CORE_SHA256


@pytest.mark.slow
def test_the_whole_core_is_loaded_when_its_hash_is_compared(script, tmp_path):
    """Otherwise a file that only a later run needs could be edited before it is loaded."""
    program = """
import sys
from pathlib import Path
from actgrad.files import PROJECT
from actgrad.pipeline.keras_process import load_core
from actgrad.results.fingerprint import CORE, OTHER_BACKENDS
load_core()
package = PROJECT / "src" / "actgrad"
files = [path.relative_to(package) for room in CORE for path in (package / room).rglob("*.py") if path.stem != "__init__"]
files = [path for path in files if path.as_posix() not in OTHER_BACKENDS]
print([name for name in (".".join(("actgrad", *path.with_suffix("").parts)) for path in files) if name not in sys.modules])
"""
    (tmp_path / "program.py").write_text(program)
    assert script(tmp_path / "program.py", PYTHONPATH=str(Path(__file__).parents[1] / "src")).stdout == "[]\n"
