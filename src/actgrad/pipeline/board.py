"""The progress of a study: a live table at a terminal, a line for each finished run in a log."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from actgrad.pipeline import status
from actgrad.pipeline.composed import ComposedRun
from actgrad.pipeline.status import DONE, FAILED, QUEUED, RUNNING

ENDED = (DONE, FAILED)
STATES = (QUEUED, RUNNING, *ENDED)


class Board:
    """The state of each run of a study, read from the status files that their jobs write."""

    def __init__(self, runs: Sequence[ComposedRun], folder: Path):
        self._runs, self._folder, self._began = runs, folder, time.monotonic()
        self._status: dict[str, dict[str, Any]] = {}
        console = Console()
        self._live = Live(self._table(), console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "Board":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def state(self, run: ComposedRun) -> str:
        return self._status.get(run.key, {}).get("state", QUEUED)

    def reason(self, run: ComposedRun) -> str:
        return self._status.get(run.key, {}).get("reason", "it was not trained")

    def warnings(self) -> list[str]:
        return status.warnings(self._status)

    def fail(self, runs: Iterable[ComposedRun], reason: str) -> None:
        self._status |= {run.key: {"state": FAILED, "reason": reason} for run in runs}

    def requeue(self, run: ComposedRun) -> None:
        """Queue a run again whose process has died."""
        status.path(self._folder, run.key).unlink(missing_ok=True)
        self._status.pop(run.key, None)

    def say(self, sentence: str) -> None:
        if self._live:
            self._live.console.print(sentence, highlight=False)
        else:
            print(sentence, flush=True)

    def look(self) -> None:
        """Read the status files again, and show what has changed."""
        for run in self._runs:
            if self.state(run) in ENDED:
                continue
            self._status[run.key] = status.read(self._folder, run.key)
            if self.state(run) in ENDED and not self._live:
                self.say(f"{run.key}  {self.state(run)}  ({self._summary()})")
        if self._live:
            self._live.update(self._table(), refresh=True)

    def _summary(self) -> str:
        count = Counter(map(self.state, self._runs))
        return f"{', '.join(f'{count[state]} {state}' for state in STATES)}; {self._time_left(count)} left"

    def _time_left(self, count: Counter) -> str:
        ended = sum(count[state] for state in ENDED)
        if not ended:
            return "?"
        return _clock((time.monotonic() - self._began) / ended * (len(self._runs) - ended))

    def _table(self) -> Table:
        count = Counter(map(self.state, self._runs))
        running = [run.key for run in self._runs if self.state(run) == RUNNING]
        table = Table(caption=f"training now: {', '.join(running)}" if running else None, caption_justify="left")
        table.add_column("condition")
        for state in STATES:
            table.add_column(state, justify="right")
        table.add_column("time", justify="right")
        table.add_column("left", justify="right")
        of_conditions: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for run in self._runs:
            of_conditions[run.condition][self.state(run)] += 1
        for name, of_condition in of_conditions.items():
            table.add_row(name, *(str(of_condition[state]) for state in STATES), "", "")
        table.add_section()
        table.add_row("all", *(str(count[state]) for state in STATES), _clock(time.monotonic() - self._began), self._time_left(count), style="bold")
        return table


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
