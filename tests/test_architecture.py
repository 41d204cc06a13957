"""The house: who imports whom, and that each stage of the pipeline depends on the code that it runs."""

import ast
import hashlib
import json
import re

import pytest
import yaml

from actgrad.results import fingerprint as provenance
from conftest import ROOT

SRC = ROOT / "src"
FLOORS = (
    ("errors", "files"),
    ("config", "results", "datasets", "statistics", "provenance", "checkpoints", "console", "repository"),
    ("tables", "tuning", "evidence", "claims"),
    ("layers", "activations", "seeding", "lenet5", "gradients", "affine", "depth"),
    ("training",),
    ("plots", "html", "progress", "tracking", "pipeline", "reproduction", "marks", "front"),
    ("cells", "lineage", "sweeping"),
    ("download", "recipe", "train", "measure_depth", "tune", "sweep", "publish", "verify", "report", "front_page"),
)
OWNERS = {
    "hydra": {"train", "marks"},
    "rich": {"sweeping"},
    "mlflow": {"tracking"},
    "matplotlib": {"plots"},
    "jinja2": {"html"},
    "scipy": {"statistics"},
    "tensorflow": {"activations", "affine", "depth", "seeding", "gradients", "training", "tracking"},
}
ONLOOKERS = {"console", "progress", "tracking", "plots", "repository"}  # no cell depends on them


def modules() -> dict[str, ast.Module]:
    paths = [path for path in (*SRC.glob("*.py"), *SRC.glob("actgrad/*.py")) if path.stem != "__init__"]
    return {path.stem: ast.parse(path.read_text()) for path in paths}


def imports(tree: ast.Module) -> set[str]:
    """What a module imports: `actgrad.x` as x, of other packages the first name."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.module == "actgrad":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("actgrad."):
                found.add(node.module.split(".")[1])
            else:
                found.add(node.module.partition(".")[0])
    return found


MODULES = modules()
IMPORTS = {name: imports(tree) for name, tree in MODULES.items()}


def test_every_module_has_its_floor():
    assert sorted(name for floor in FLOORS for name in floor) == sorted(MODULES)


def test_imports_run_downwards_only():
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    upwards = [(name, other) for name, others in IMPORTS.items() for other in others & set(MODULES) if floor[other] > floor[name]]
    assert upwards == []


@pytest.mark.parametrize("package", OWNERS)
def test_a_package_is_imported_by_its_owners_only(package):
    assert {name for name, others in IMPORTS.items() if package in others} == OWNERS[package]


def transitive(name: str, without: set[str]) -> set[str]:
    found, todo = set(), {name}
    while todo:
        module = todo.pop()
        found.add(module)
        todo |= (IMPORTS[module] & set(MODULES)) - found - without
    return found


def own_layers() -> set[str]:
    """Modules of this project that conf/activation names by a dotted path."""
    layers = [yaml.safe_load(path.read_text())["layer"] for path in (ROOT / "conf" / "activation").glob("*.yaml")]
    return {layer.split(".")[1] for layer in layers if layer.startswith("actgrad.")}


@pytest.mark.parametrize(
    ("stage", "script", "without"),
    [
        ("download", "download", {"console"}),
        ("recipe", "recipe", {"console"}),
        ("experiment_recipe", "recipe", {"console"}),
        ("train", "train", ONLOOKERS),
        ("experiment", "train", ONLOOKERS),
        ("depth", "measure_depth", {"console"}),
        ("report", "report", {"console"}),
    ],
)
def test_a_stage_depends_on_the_modules_that_its_script_imports(stage, script, without):
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["deps"]
    code = {dep.removeprefix("src/").removeprefix("actgrad/").removesuffix(".py") for dep in deps if dep.endswith(".py")}
    more = own_layers() if stage in ("train", "experiment", "depth") else {"train"} if script == "recipe" else set()
    assert code == transitive(script, without) | more


def test_a_result_names_the_code_that_made_it():
    assert set(provenance.CODE) == transitive("training", set()) | own_layers()
    assert list(provenance.CODE) == sorted(provenance.CODE)


def test_onlookers_are_not_what_a_result_is_made_by():
    assert not transitive("training", set()) & ONLOOKERS


@pytest.mark.parametrize("script", FLOORS[-1])
def test_entry_scripts_are_wiring(script):
    assert len((SRC / f"{script}.py").read_text().splitlines()) <= 60


def test_no_index_address_is_committed():
    for path in (*ROOT.glob("requirements*.lock"), ROOT / "pyproject.toml", ROOT / "Makefile"):
        assert not re.search(r"--(extra-)?index-url|--find-links|https?://(?!127\.0\.0\.1)", path.read_text())


def test_the_committed_results_are_of_this_code_and_configuration():
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    deps = {
        (dep["path"], dep["md5"])
        for name, stage in stages.items()
        if re.search(r"@(digits|cifar10_jpeg)\b", name)
        for dep in stage["deps"]
        if (ROOT / dep["path"]).is_file()
    }
    other = [path for path, md5 in deps if path.startswith(("src/", "conf/")) and hashlib.md5((ROOT / path).read_bytes()).hexdigest() != md5]
    assert other == [], "train anew, or let DVC say what is stale: dvc status"
    assert {path for path, _ in deps} >= {"src/train.py", "src/actgrad/training.py", "src/report.py"}


def test_the_published_cells_are_whole():
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    outs = {
        out["md5"] for name, stage in stages.items() if name.startswith(("train@cifar10_jpeg", "experiment@cifar10_jpeg")) for out in stage["outs"]
    }
    kept = {path.parent.name + path.name: path for path in (ROOT / "published" / "files" / "md5").glob("*/*")}
    assert outs <= set(kept) | {hashlib.md5(path.read_bytes()).hexdigest() for path in ROOT.glob("runs/cifar10_jpeg/*/metrics.json")}
    folders = [json.loads(kept[md5].read_text()) for md5 in outs if md5.endswith(".dir")]
    assert {file["md5"] for folder in folders for file in folder} <= set(kept)
    assert [name for name, path in kept.items() if hashlib.md5(path.read_bytes()).hexdigest() != name.removesuffix(".dir")] == []
    assert max(path.stat().st_size for path in kept.values()) < 1e6
