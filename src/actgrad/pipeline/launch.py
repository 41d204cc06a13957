"""Many cells at once: what a launcher of Hydra is told, and what it did, shown while it does it and handed to DVC."""

import importlib.util
import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from rich.console import Console
from rich.live import Live
from rich.table import Table

from actgrad.config import schema as config
from actgrad.config.schema import Study
from actgrad.errors import UserError
from actgrad.files import new_folder
from actgrad.pipeline import checkpoints
from actgrad.pipeline import dvc as pipeline
from actgrad.pipeline import status as marks
from actgrad.results import run as results

OUTPUTS = Path("outputs")
ATTEMPTS = 3
"""How often a cell whose process died is begun, in all."""
QUEUED, LOOK = "queued", 0.5
GRACE = 10
"""Seconds after which a cell counts as dead that runs, by its mark, and that no process holds: it loads Keras before, and its files
are complete after."""
ENDED = (marks.DONE, marks.FAILED)
STATES = (QUEUED, marks.RUNNING, *ENDED)

LAUNCHERS = {"basic": "hydra", "joblib": "joblib", "ray": "ray", "submitit_local": "submitit", "submitit_slurm": "submitit"}
"""The package that a launcher needs."""

RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
"""Ray's settings by environment, where the user's has none: no telemetry, and every line in the log."""


@dataclass(frozen=True)
class Cell:
    """One cell that is to be trained.

    Attributes:
        stage: the stage of dvc.yaml that it belongs to, alone or with others.
        folder: where its results go.
        experiment: None in the study itself.
    """

    stage: str
    folder: Path
    experiment: str | None
    activation: str
    seed: int

    @property
    def key(self) -> str:
        return str(self.folder.relative_to("runs"))


def cells(dataset: str, study: Study) -> list[Cell]:
    """All cells of a dataset, those of experiments included.

    Raises:
        UserError: if an activation or an experiment of the study is not known.
    """
    found = []
    for experiment, of in config.cells(study).items():
        for activation in of.activations:
            config.activation_config(activation)
            for seed in of.seeds:
                stage = f"experiment@{dataset}-{experiment}" if experiment else f"train@{dataset}-{activation}-{seed}"
                folder = results.folder(f"{dataset}/{experiment}" if experiment else dataset, activation, seed)
                found.append(Cell(stage, folder, experiment, activation, seed))
    return found


def keys(dataset: str) -> list[str]:
    """The keys of all cells of a dataset that params.yaml lists.

    Raises:
        UserError: if it lists no such dataset.
    """
    study = config.study(Path("params.yaml"))
    if dataset not in study.datasets:
        raise UserError(f"{dataset} is not among the datasets of params.yaml, {', '.join(study.datasets)}; add it there, or name cells by their keys")
    return [cell.key for cell in cells(dataset, study)]


def stale(dataset: str, study: Study) -> list[Cell]:
    """The cells of those stages that DVC says are stale."""
    stages = pipeline.stale()
    return [cell for cell in cells(dataset, study) if cell.stage in stages]


def log(dataset: str) -> Path:
    """What the processes of a sweep print."""
    return OUTPUTS / f"sweep-{dataset}.log"


def launcher(overrides: Sequence[str], jobs: int | None, threads: int) -> list[str]:
    """The launcher that these overrides of Hydra name, or joblib, told how many cells of so many threads it may train at once.

    Args:
        jobs: None for as many as this machine has cores for; a cluster is then left to decide by itself.

    Raises:
        UserError: if there is no such launcher, its package is not installed, or it cannot train so many.
    """
    given = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    here = max(1, _cores() // threads) if jobs is None else jobs
    name = given.get("hydra/launcher", "joblib" if given or here > 1 else "basic")
    if here < 1:
        raise UserError(f"--jobs {jobs} trains nothing; choose 1 or more")
    if name not in LAUNCHERS:
        raise UserError(f"hydra/launcher={name} is not known; known: {', '.join(LAUNCHERS)}")
    if importlib.util.find_spec(LAUNCHERS[name]) is None:
        raise UserError(f"hydra/launcher={name} needs packages that are not installed; install them with make setup-scale")
    told: dict[str, object] = {}
    if name == "basic" and (jobs or 1) > 1:
        raise UserError(f"hydra/launcher=basic trains one cell after the other, not {jobs} at once; leave --jobs away, or name another launcher")
    if name == "joblib":
        told = {"hydra.launcher.n_jobs": here}
    elif name == "ray":
        told = {"++hydra.launcher.ray.remote.num_cpus": threads}
        if not any(key.startswith("hydra.launcher.ray.init") for key in given):
            told["++hydra.launcher.ray.init.num_cpus"] = here * threads
    elif name == "submitit_local":
        told = {"hydra.launcher.cpus_per_task": threads, "hydra.sweeper.max_batch_size": here}
    elif name == "submitit_slurm":
        told = {"hydra.launcher.cpus_per_task": threads} | ({"hydra.launcher.array_parallelism": jobs} if jobs else {})
    own = [f"{key}={value}" for key, value in told.items() if key.lstrip("+") not in given]
    return [f"hydra/launcher={name}", *own, *(override for override in overrides if not override.startswith("hydra/launcher="))]


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train(dataset: str, study: Study, cells: Sequence[Cell], launching: Sequence[str]) -> dict[Cell, str]:
    """Train cells, and commit those stages to DVC that have all of theirs.

    A cell whose process died is begun again, and goes on from its checkpoint; by itself, because its process may have been
    ended for another's fault.

    Returns:
        The cells that failed, and why.

    Raises:
        UserError: if DVC fails.
    """
    died, committed = Counter(), set()
    new_folder(str(OUTPUTS), "outputs")
    with tempfile.TemporaryDirectory(prefix="sweep-", dir=OUTPUTS) as folder, log(dataset).open("wb") as output, Board(cells, Path(folder)) as board:
        marking = (f"+hydra.callbacks.marks._target_={marks.__name__}.Marks", f"+hydra.callbacks.marks.folder={folder}")
        while todo := [cell for cell in cells if board.state(cell) == QUEUED]:
            for fixed, of_multirun in _multiruns(dataset, study, todo, died):
                before = output.tell()
                _run([*pipeline.TRAIN, "-m", *launching, *marking, *fixed], output, board)
                if all(board.state(cell) == QUEUED for cell in of_multirun):
                    board.failed(of_multirun, f"the launcher started no cell: {_last_line(log(dataset), before)}")
                whole = {cell.stage for cell in cells} - {cell.stage for cell in cells if board.state(cell) != marks.DONE} - committed
                if whole:
                    board.say(f"{len(whole)} stages are trained; handing them to DVC")
                    commit(whole)
                    committed |= whole
            free_since: dict[Cell, float] = {}
            while left := [cell for cell in todo if board.state(cell) == marks.RUNNING]:
                for cell in left:
                    if _held(cell):
                        free_since.pop(cell, None)
                    elif time.monotonic() - free_since.setdefault(cell, time.monotonic()) >= GRACE:
                        died[cell] += 1
                        board.died(cell, again=died[cell] < ATTEMPTS)
                time.sleep(LOOK)  # others of the launcher's may live on without it
                board.look()
        return {cell: board.reason(cell) for cell in cells if board.state(cell) != marks.DONE}


def commit(stages: Set[str]) -> None:
    """Do what dvc commit --force does with stages, which reads and writes all of dvc.lock for each of them, at once for all.

    Raises:
        UserError: with DVC's own message, if it fails.
    """
    from dvc.exceptions import DvcException  # here, because a sweep that trains nothing need not wait for DVC
    from dvc.repo import Repo, lock_repo

    try:
        with Repo() as repo, lock_repo(repo), repo.scm_context:
            chosen = [stage for stage in repo.index.stages if stage.addressing in stages]
            for stage in chosen:
                stage.save()
                stage.commit()
            chosen[0].dvcfile.dump_stages(chosen, update_pipeline=False)
    except DvcException as error:
        raise UserError(f"dvc commit failed: {error}") from None


def _held(cell: Cell) -> bool:
    """Whether a process trains this cell."""
    path = checkpoints.path(cell.folder).with_suffix(".lock")
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def _multiruns(dataset: str, study: Study, cells: Iterable[Cell], died: Mapping[Cell, int]) -> Iterator[tuple[list[str], list[Cell]]]:
    """Overrides of train.py and the cells that they span: all activations that lack the same seeds, or one cell that has died."""
    of_activation = defaultdict(list)
    for cell in cells:
        of_activation[cell.experiment, cell.activation, cell if died[cell] else None].append(cell)
    together = defaultdict(list)
    for (experiment, _, alone), lacking in of_activation.items():
        together[experiment, tuple(cell.seed for cell in lacking), alone] += lacking
    for (experiment, seeds, _), chosen in together.items():
        activations = ",".join(dict.fromkeys(cell.activation for cell in chosen))
        of_experiment = [f"experiment={experiment}"] if experiment else []
        run_dir = f"run_dir={chosen[0].folder.parent}/${{activation.name}}-${{seed}}"
        fixed = [f"data={dataset}", f"recipe={study.recipe}", "model=lenet5", *of_experiment]
        yield [*fixed, f"activation={activations}", f"seed={','.join(map(str, seeds))}", run_dir], chosen


def _run(command: Sequence[str], output: BinaryIO, board: "Board") -> None:
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=_environment(), start_new_session=True)
    try:
        while process.poll() is None:
            time.sleep(LOOK)
            board.look()
    finally:
        if process.poll() is None:  # this process is interrupted
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    board.look()


def _environment() -> dict[str, str]:
    """This process' environment, in which the processes of every launcher find this project, and Ray has its settings."""
    path = [str(config.CONF.parent / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return RAY | os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def _last_line(path: Path, start: int) -> str:
    """The last that was printed into a file since it had `start` bytes: an error of train.py's, if there is one."""
    lines = [line.strip() for line in path.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error: ")] or lines or ["it printed nothing"]
    return said[-1].removeprefix("error: ")


class Board:
    """How the cells of a sweep are: a table that follows them at a terminal, a line for each that ends in a log."""

    def __init__(self, cells: Sequence[Cell], folder: Path):
        self._cells, self._folder, self._began = cells, folder, time.monotonic()
        self._marks: dict[Cell, dict[str, str]] = {}
        console = Console()
        self._live = Live(self._table(), console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "Board":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def state(self, cell: Cell) -> str:
        return self._marks.get(cell, {}).get("state", QUEUED)

    def reason(self, cell: Cell) -> str:
        return self._marks[cell]["reason"]

    def failed(self, cells: Iterable[Cell], reason: str) -> None:
        self._marks |= {cell: {"state": marks.FAILED, "reason": reason} for cell in cells}

    def died(self, cell: Cell, again: bool) -> None:
        """The process of a running cell is no more: it is queued again, or has failed."""
        marks.path(self._folder, cell.folder).unlink()
        self._marks.pop(cell)
        if not again:
            self.failed([cell], f"its process died {ATTEMPTS} times")
        self.say(f"{cell.key}  its process died; {'it goes on where it was' if again else 'given up'}")

    def say(self, sentence: str) -> None:
        if self._live:
            self._live.console.print(sentence, highlight=False)
        else:
            print(sentence, flush=True)

    def look(self) -> None:
        """Read the marks anew, and show what has changed."""
        for cell in self._cells:
            path = marks.path(self._folder, cell.folder)
            if self.state(cell) in ENDED or not path.is_file():
                continue
            self._marks[cell] = json.loads(path.read_text())
            if self.state(cell) in ENDED and not self._live:
                self.say(f"{cell.key}  {self.state(cell)}  ({self._summary()})")
        if self._live:
            self._live.update(self._table(), refresh=True)

    def _summary(self) -> str:
        count = Counter(map(self.state, self._cells))
        return f"{', '.join(f'{count[state]} {state}' for state in STATES)}; {self._time_left(count)} left"

    def _time_left(self, count: Counter) -> str:
        ended = sum(count[state] for state in ENDED)
        if not ended:
            return "?"
        return _clock((time.monotonic() - self._began) / ended * (len(self._cells) - ended))

    def _table(self) -> Table:
        count = Counter(map(self.state, self._cells))
        running = [cell.key for cell in self._cells if self.state(cell) == marks.RUNNING]
        table = Table(caption=f"training now: {', '.join(running)}" if running else None, caption_justify="left")
        table.add_column("cells of")
        for state in STATES:
            table.add_column(state, justify="right")
        table.add_column("time", justify="right")
        table.add_column("left", justify="right")
        of_experiments = defaultdict(Counter)
        for cell in self._cells:
            of_experiments[cell.experiment or "the study"][self.state(cell)] += 1
        for name, of_experiment in of_experiments.items():
            table.add_row(name, *(str(of_experiment[state]) for state in STATES), "", "")
        table.add_section()
        table.add_row("all", *(str(count[state]) for state in STATES), _clock(time.monotonic() - self._began), self._time_left(count), style="bold")
        return table


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
