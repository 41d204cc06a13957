"""Changes that change the fingerprint of a run, and changes that do not."""

import builtins
import copy
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actgrad.pipeline import keras_process
from actgrad.results.fingerprint import fingerprint, own_code_sha256
from conftest import refuses


@pytest.fixture(scope="module")
def deciding(run_config) -> dict[str, Any]:
    return run_config("activation=maxout").deciding()


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]


def changed(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The values, with the one at a path replaced by another of the same type."""
    values = copy.deepcopy(values)
    at = values
    for key in path[:-1]:
        at = at[key]
    other = {bool: lambda value: not value, int: lambda value: value + 1, float: lambda value: value * 2, str: lambda value: value + "x"}
    at[path[-1]] = [9, *at[path[-1]]] if isinstance(at[path[-1]], list) else other[type(at[path[-1]])](at[path[-1]])
    return values


def test_every_value_of_the_configuration_changes_the_fingerprint(deciding):
    paths = list(leaves(deciding))
    assert {path[0] for path in paths} == {"seed", "test", "activation", "model", "recipe"}
    assert ("activation", "config", "pieces") in paths
    found = {path: fingerprint(changed(deciding, path), "d", "c", {}) for path in paths}
    assert len({fingerprint(deciding, "d", "c", {}), *found.values()}) == len(paths) + 1


def test_the_order_of_values_does_not(deciding):
    backwards = {key: deciding[key] for key in reversed(deciding)}
    assert list(backwards) != list(deciding)
    assert fingerprint(backwards, "d", "c", {"a": "1", "b": "2"}) == fingerprint(deciding, "d", "c", {"b": "2", "a": "1"})


def test_data_core_and_environment_change_the_fingerprint(deciding):
    same = ("d", "c", {"python": "3"})
    others = [("e", *same[1:]), ("d", "e", same[2]), ("c", "d", same[2]), (*same[:2], {"python": "4"}), (*same[:2], {"numpy": "3"}), (*same[:2], {})]
    assert fingerprint(deciding, *same) == fingerprint(deciding, *same)
    assert len({fingerprint(deciding, *parts) for parts in (same, *others)}) == len(others) + 1


@pytest.mark.parametrize(
    "override",
    ["condition.name=other", "+condition.seeds=[3]", "run_dir=elsewhere", "tracking.enabled=false", "tracking.uri=sqlite:///x.db", "data.val_size=9"],
)
def test_names_places_and_the_description_of_the_data_decide_nothing(run_config, override):
    assert run_config(override) != run_config()
    assert run_config(override).deciding() == run_config().deciding()


def test_two_conditions_of_the_same_values_share_a_fingerprint(run_config):
    by_hand = run_config("model.config.batch_normalization=true", "recipe.input_scaling=standardized")
    of_condition = run_config("condition=batch_norm")
    assert of_condition.condition.name == "batch_norm"
    assert by_hand.deciding() == of_condition.deciding() != run_config().deciding()
    assert not {"condition", "data", "tracking", "run_dir", "run"} & set(of_condition.deciding())


# --- users' own code


@pytest.fixture
def write(tmp_path, monkeypatch) -> Callable[[str, str], None]:
    """Write a file into a folder of modules, and forget what this process has imported and cached."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        importlib.invalidate_caches()
        own_code_sha256.cache_clear()

    yield written
    own_code_sha256.cache_clear()


@pytest.mark.parametrize("part", ["activation", "model"])
@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("alone_code.Snake", "alone_code.py"),
        ("folder_code.snakes.Snake", "folder_code/snakes.py"),  # a folder without __init__.py
        ("package_code.Snake", "package_code/__init__.py"),
        ("package_code.snakes.Snake", "package_code/helpers/curves.py"),
    ],
)
def test_the_module_of_a_layer_or_builder_of_ones_own_is_part_of_the_fingerprint(deciding, write, tmp_path, part, path, file):
    for name in ("alone_code.py", "folder_code/snakes.py", "package_code/__init__.py", "package_code/snakes.py", "package_code/helpers/curves.py"):
        write(name, "A = 1")
    own = deciding | {part: deciding[part] | {{"activation": "layer", "model": "build"}[part]: path}}
    before = fingerprint(own, "d", "c", {})
    assert before == fingerprint(own, "d", "c", {})
    (tmp_path / file).write_text("A = 2")
    assert before == fingerprint(own, "d", "c", {})  # this process has imported the module as it was
    own_code_sha256.cache_clear()  # as in a new process
    assert before != fingerprint(own, "d", "c", {})


def test_code_of_a_layer_is_not_that_of_a_builder(deciding, write):
    """Swapping the two files gives another run."""
    write("first_code.py", "A = 1")
    write("second_code.py", "A = 2")

    def of(layer: str, build: str) -> str:
        return fingerprint(
            deciding | {"activation": deciding["activation"] | {"layer": layer}, "model": deciding["model"] | {"build": build}}, "d", "c", {}
        )

    before = of("first_code.X", "second_code.build")
    write("first_code.py", "A = 2")
    write("second_code.py", "A = 1")
    assert of("first_code.X", "second_code.build") != before


@pytest.mark.parametrize(
    "imported",
    [
        "import helper_code",
        "import os, helper_code as h",
        "from helper_code import A",
        "def build():\n    from helper_code import A\n    return A",
        "try:\n    import helper_code\nexcept ImportError:\n    pass",
    ],
)
def test_a_module_beside_a_single_one_counts_if_that_imports_it(write, imported):
    write("net_code.py", imported)
    write("helper_code.py", "A = 1")
    write("unrelated_code.py", "A = 1")
    before = own_code_sha256("net_code.build")
    write("unrelated_code.py", "A = 2")
    assert own_code_sha256("net_code.build") == before
    write("helper_code.py", "A = 2")
    assert own_code_sha256("net_code.build") != before


def test_what_an_imported_module_imports_counts_too(write):
    """Also a package, and modules that import one another."""
    write("net_code.py", "import middle_code")
    write("middle_code.py", "import net_code\nfrom pack_code.inner import B")
    write("pack_code/__init__.py", "")
    write("pack_code/inner.py", "from .deep import B")
    write("pack_code/deep.py", "import last_code\nB = 1")
    write("last_code.py", "C = 1")
    seen = {own_code_sha256("net_code.build")}
    for name in ("middle_code.py", "pack_code/__init__.py", "pack_code/deep.py", "last_code.py"):
        write(name, "import net_code\nfrom pack_code.inner import B\nimport last_code\nD = 2")
        seen.add(own_code_sha256("net_code.build"))
    assert len(seen) == 5


@pytest.mark.parametrize(("folder", "counts"), [("far", True), ("site-packages", False)])
def test_a_module_in_another_folder_counts_unless_it_is_installed(write, tmp_path, monkeypatch, folder, counts):
    write("net_code.py", "import numpy, far_code")
    far = tmp_path / folder
    far.mkdir()
    (far / "far_code.py").write_text("A = 1")
    monkeypatch.syspath_prepend(far)
    before = own_code_sha256("net_code.build")
    assert (before == hashlib.sha256(b"import numpy, far_code").hexdigest()) != counts
    (far / "far_code.py").write_text("A = 2")
    own_code_sha256.cache_clear()
    assert (own_code_sha256("net_code.build") != before) == counts


def test_code_of_this_project_that_a_module_of_ones_own_imports_counts_in_the_core_alone(write):
    write("net_code.py", "import actgrad.networks.layers, os")
    assert own_code_sha256("net_code.build") == hashlib.sha256(b"import actgrad.networks.layers, os").hexdigest()


def test_how_lines_end_does_not_count(write, tmp_path):
    write("net_code.py", "A = 1\nB = 2\n")
    before = own_code_sha256("net_code.build")
    (tmp_path / "net_code.py").write_bytes(b"A = 1\r\nB = 2\r\n")
    own_code_sha256.cache_clear()
    assert own_code_sha256("net_code.build") == before


def test_a_module_that_is_no_python_counts_as_it_is(write):
    """It is refused when it is imported."""
    write("net_code.py", "import helper_code (")
    before = own_code_sha256("net_code.build")
    write("net_code.py", "import helper_code ((")
    assert own_code_sha256("net_code.build") != before


@pytest.mark.parametrize(
    "path",
    [
        "actgrad.networks.layers.Maxout",
        "actgrad.networks.lenet5.build",
        "keras.layers.ReLU",
        "ReLU",
        "no_such_module.X",
        "sys.X",
        "os.X",
        "__main__.X",
    ],
)
def test_what_is_no_file_of_ones_own_adds_nothing(monkeypatch, path):
    """Code of Keras and of this project is counted elsewhere. The others are refused when they are built."""
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # as in train.py
    assert own_code_sha256(path) == ""


def test_a_folder_without_python_files_adds_nothing(write):
    write("empty_code/notes.txt", "")
    assert own_code_sha256("empty_code.X") == ""


def test_code_of_ones_own_that_was_edited_after_the_process_started_trains_nothing(write, tmp_path):
    write("late_code.py", "import helper_code\ndef build(): ...")
    write("helper_code.py", "A = 1")
    own_code_sha256("late_code.build")
    (tmp_path / "helper_code.py").write_text("A = 2")
    with refuses("changed-meanwhile", "late_code.build"):
        keras_process.load_own_code(["late_code.build"])


def test_modules_of_ones_own_keep_nothing_of_an_earlier_run(write):
    """Both paths see one helper module, as in a new process."""
    write("net_code.py", "import helper_code\nkept = helper_code.kept")
    write("act_code.py", "import helper_code\nkept = helper_code.kept")
    write("helper_code.py", "kept = []")
    for _ in range(2):
        keras_process.load_own_code(["act_code.A", "net_code.build"])
        net, act = (importlib.import_module(name) for name in ("net_code", "act_code"))
        assert net.kept is act.kept
        assert net.kept == []
        net.kept.append("of this run")


def test_a_module_that_can_be_imported_only_once_is_kept_and_said_so(write, capsys):
    """Such as one that registers a gradient with TensorFlow."""
    write("once_code.py", "import builtins\nassert not hasattr(builtins, 'once_code')\nbuiltins.once_code = True")
    try:
        for said in (False, True):
            keras_process.load_own_code(["once_code.build"])
            assert "once_code" in sys.modules
            assert ("once_code.build can be imported only once in a process" in capsys.readouterr().err) == said
    finally:
        del builtins.once_code
