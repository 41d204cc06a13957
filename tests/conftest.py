"""Fixtures: a project with the real configuration, shrunk; the real digits; one finished run."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["KERAS_BACKEND"] = os.environ.get("MONITOR_BACKEND", "tensorflow")  # the monitor's tests run on other backends too
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # as in a training process, whose numbers the tests compare with theirs
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from playwright.sync_api import Browser, sync_playwright

from actgrad.config import loading
from actgrad.config.schema import Config
from actgrad.data import storage
from actgrad.data.storage import Dataset
from actgrad.errors import PRINTED, UserError

ROOT = Path(__file__).parents[1]
GROUPS = ("activation", "data", "model", "recipe", "condition")
NAMES = {group: sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")) for group in GROUPS}
SHRUNK = ["data=digits", "recipe.epochs=2", "recipe.probe_size=64", "recipe.threads=2", "run_dir=unused"]
LAYERS = ("conv1", "conv2", "conv3", "dense1", "output")
"""The layers of LeNet-5 that have weights."""
SITES = tuple(f"{layer}_activation" for layer in LAYERS[:-1])
"""The layers that apply the activation function."""


PARTS = ("conf", "src", "benchmarks/activation_time.json", "dvc.yaml", ".dvc/config", ".dvc/plots", ".dvcignore", ".gitattributes", ".gitignore")
STUDY = {"datasets": ["digits"], "conditions": ["baseline", "he"], "activations": ["sigmoid", "relu"], "seeds": [0], "only": {}}


class Project:
    """A repository with the real configuration, shrunk: two activations, one seed, one epoch, and two conditions, the second only for ReLU."""

    def __init__(self, folder: Path):
        self.folder = folder
        for part in PARTS:
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "local"))
            else:
                shutil.copy(ROOT / part, folder / part)
        (folder / "params.yaml").write_text(yaml.safe_dump(STUDY))
        self.edit("conf/recipe/digits.yaml", "epochs: 12", "epochs: 1")
        self.edit("conf/condition/he.yaml", "activations: [linear, sigmoid, tanh, relu], seeds: [0, 1, 2]", "activations: [relu]")
        self.run("git", "init", "-q")
        self.commit("start")

    @classmethod
    def clone(cls, repository: Path, folder: Path) -> "Project":
        """Another machine's clone of a repository."""
        other = cls.__new__(cls)
        other.folder = folder
        subprocess.run(["git", "clone", "-q", repository, folder], check=True)
        return other

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command with the environment activated, and return everything that it prints."""
        done = self.start(*command)
        printed, _ = done.communicate()
        assert not check or done.returncode == 0, printed
        return printed

    def start(self, *command: str, **environment: str) -> subprocess.Popen:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "a"), ("EMAIL", "a@b"))}
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTEST"))} | who | {"PATH": path} | environment
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # a background shell ignores SIGINT, and the command would inherit this
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert text.count(old) == 1, (name, old)
        (self.folder / name).write_text(text.replace(old, new))

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "-q", "-m", message)

    def stale(self) -> set[str]:
        """The stages with changed dependencies, which `dvc repro` would run."""
        return set(json.loads(self.run("dvc", "status", "--json").splitlines()[-1]))

    def undo(self) -> None:
        self.run("git", "checkout", "--", ".")
        self.run("git", "clean", "-fdq")
        self.run("dvc", "checkout", "-q", "--force")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """The shrunk study, reproduced once and committed; its condition `he` has a second seed."""
    project = Project(tmp_path_factory.mktemp("project with spaces"))
    project.edit("conf/condition/he.yaml", "activations: [relu]", "activations: [relu], seeds: [0, 1]")
    project.commit("a second seed")
    project.printed = project.run("dvc", "repro")
    project.commit("results")
    return project


@pytest.fixture
def as_committed(project):
    yield
    project.undo()


def running(printed: str) -> list[str]:
    """The stages that DVC ran."""
    return re.findall("Running stage '(.+?)'", printed)


# --- the table of faults: what each test marked `fault` expects, and what it saw


def fault(name: str, expected: str) -> pytest.MarkDecorator:
    """Mark a test that causes a fault. What it saw goes into the table that --table writes."""
    return pytest.mark.fault(name, expected)


@pytest.fixture
def seen(request) -> Callable[[str], None]:
    """Note what a test saw, for the table. The text must be the same in every run."""

    def note(text: str, fault: str | None = None, expected: str | None = None) -> None:
        marker = request.node.get_closest_marker("fault")
        request.node.user_properties.append(("fault", (fault or marker.args[0], expected or marker.args[1], text)))

    return note


def pytest_addoption(parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write tests/golden/<processor>.json anew, from what this checkout computes")
    parser.addoption("--table", metavar="FILE", help="put what the tests of faults expected and saw into this table")


def pytest_terminal_summary(terminalreporter, config) -> None:
    """Replace the rows of the tested faults in the table. Faults whose test did not pass are removed."""
    if not (target := config.getoption("table")):
        return
    _, _, body = (Path(target).read_text() if Path(target).is_file() else TABLE).partition(RULE)
    rows = {row.split(" | ")[0]: row for row in body.splitlines()}
    for outcome in ("failed", "error", "passed"):
        for report in terminalreporter.stats.get(outcome, []):
            for fault, expected, text in [value for name, value in report.user_properties if name == "fault"]:
                cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in (fault, expected, text)]
                if outcome == "passed":
                    rows[f"| {cells[0]}"] = f"| {' | '.join(cells)} |"
                else:
                    rows.pop(f"| {cells[0]}", None)
    Path(target).write_text(TABLE + "".join(f"{row}\n" for row in rows.values()))
    terminalreporter.write_line(f"{target}: {len(rows)} faults")


RULE = "| --- | --- | --- |\n"
TABLE = """\
# Faults, and what came of them

Each line is a fault that a test made happen, with the real parts: TensorFlow, DVC, MLflow, a disk
that is full. `make faults` runs them and writes this file. A test that fails has no line.

| fault | expected | seen |
| --- | --- | --- |
"""


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    """Use one number of threads for all tests, because a process cannot change it after computing something."""
    if os.environ["KERAS_BACKEND"] != "tensorflow":
        return
    from actgrad.training import determinism

    determinism.start(0, 2)


@pytest.fixture
def names_from_the_start() -> None:
    """Reset Keras' layer names, so that their numbers start as in a new process."""
    import keras

    keras.utils.clear_session()


@pytest.fixture(scope="session")
def run_config() -> Callable[..., Config]:
    """Compose the configuration of a run: two epochs of digits, with further overrides."""

    def composed(*overrides: str) -> Config:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return loading.run_config(compose("config", [*SHRUNK, *overrides]))

    return composed


def left_out(reason: str) -> None:
    """Skip a test because a program is missing. If CI is set, fail it instead."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        left_out("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Dataset:
    data = loading.data_config("digits", [])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("digits"))
        storage.prepare(data, storage.path("digits"))
        return storage.load(data)


@pytest.fixture(scope="session")
def few_digits(digits) -> Dataset:
    """Every fourth digit: 300 training images, ten batches of 32 an epoch, the last of 12."""
    return Dataset(
        {name: images[::4] for name, images in digits.images.items()},
        {name: labels[::4] for name, labels in digits.labels.items()},
        digits.class_names,
        digits.sha256,
    )


def train(config: Config, dataset: Dataset, *arguments, **keywords):
    """Train one network, as pipeline.run does: its RunResult, and the network."""
    from actgrad.pipeline.run import result_of
    from actgrad.training import loop

    measured, network = loop.train(config, dataset, *arguments, **keywords)
    return result_of(config, measured, dataset.sha256, "f" * 64), network


@pytest.fixture(scope="session")
def trained(run_config, few_digits):
    """A run of tanh: its configuration, RunResult and network."""
    config = run_config("activation=tanh")
    return config, *train(config, few_digits)


def layer_named(model, name: str):
    """A layer of a model, or of a nested model."""
    return next(layer for layer in model._flatten_layers() if layer.name == name)


def as_project(folder: Path, **environment: str) -> dict[str, str]:
    """Make a folder the root of a project, with links to this code and configuration. Return the environment variables for its scripts.

    Without PYTHONSAFEPATH, Python would search modules where a script's link points.
    """
    for name in ("src", "conf"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    modules = os.pathsep.join(filter(None, [str(folder / "src"), environment.get("PYTHONPATH")]))
    return {"PYTHONSAFEPATH": "1", **environment, "PYTHONPATH": modules}


@pytest.fixture
def script(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Run an entry script of an empty project, with its own caches and store."""

    def run(name: str, *arguments: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess:
        own = as_project(tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"), PYTHONWARNINGS="", **environment)
        command = [sys.executable, tmp_path / "src" / name, *arguments]
        return subprocess.run(command, cwd=cwd, env=os.environ | own, capture_output=True, text=True)

    return run


def sentence(result: subprocess.CompletedProcess, code: str) -> str:
    """The sentence after `error[CODE]: ` of a refused command. It must be its only line, with exit code 1."""
    assert result.returncode == 1, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error[{code}]: "), line
    return PRINTED.sub("", line)


@contextmanager
def refuses(code: str, *parts: str) -> Iterator[None]:
    """The code inside this context must raise a UserError with this code, and a one-line sentence with these parts."""
    with pytest.raises(UserError) as raised:
        yield
    said = str(raised.value)
    assert raised.value.code == code, said
    assert [part for part in parts if part not in said] == [], said
    assert "\n" not in said


def image_set(n: int, size: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)
