"""From a function that draws a table to the files of a figure."""

import io
import re
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import pandas as pd
from matplotlib.figure import Figure

from actgrad.analysis.evidence import Evidence


@dataclass(frozen=True)
class Drawing:
    """A finished figure: the name of its files, what it is called, how to read it, its data, and the picture."""

    name: str
    title: str
    caption: str
    data: pd.DataFrame
    svg: bytes
    png: bytes


FIGURES: list[Callable[[Evidence], Drawing | None]] = []


def figure(title: str, data: Callable[[Evidence], pd.DataFrame | None]) -> Callable:
    """Makes a function a figure of the report. Its docstring is the caption; it is left out where there are no data for it."""

    def register(draw: Callable[[pd.DataFrame, Evidence], Figure]) -> Callable[[pd.DataFrame, Evidence], Figure]:
        def drawing(evidence: Evidence) -> Drawing | None:
            table = data(evidence)
            if table is None:
                return None
            drawn = laid_out(draw(table, evidence))
            return Drawing(draw.__name__, title, " ".join(draw.__doc__.split()), table, image(drawn, "svg"), image(drawn, "png"))

        FIGURES.append(drawing)
        return draw

    return register


def drawings(evidence: Evidence, processes: int = 1) -> list[Drawing]:
    """All figures of one dataset's report; drawn by several processes where the system can fork them."""
    if processes > 1 and sys.platform == "linux":
        with ProcessPoolExecutor(processes, get_context("fork"), _take, (evidence,)) as pool:
            drawn = list(pool.map(_draw, range(len(FIGURES))))
    else:
        drawn = [one(evidence) for one in FIGURES]
    return [drawing for drawing in drawn if drawing is not None]


_taken: list[Evidence] = []


def _take(evidence: Evidence) -> None:
    """In a process that draws: keep the evidence, which the process has by being forked. To send it would take longer than to draw."""
    _taken.append(evidence)


def _draw(number: int) -> Drawing | None:
    return FIGURES[number](_taken[-1])


def laid_out(figure: Figure) -> Figure:
    """The figure, laid out once: else each picture of it would be laid out anew, and drawn once more for that."""
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine(None)
    return figure


def image(figure: Figure, form: str) -> bytes:
    """The picture as `svg` or `png`; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=130, metadata={"Date": None} if form == "svg" else {"Software": None})
    if form == "png":
        return buffer.getvalue()
    # A tenth of a point is finer than any screen, and the report holds every figure: this halves it.
    paths = re.sub(rb' (d|x|y|transform)="[^"]*"', lambda part: re.sub(rb"\d+\.\d{2,}", _tenths, part[0]), buffer.getvalue())
    return re.sub(rb"\s*\n\s*", b" ", paths)


def _tenths(number: re.Match[bytes]) -> bytes:
    value = float(number[0])
    return number[0] if value < 1 else b"%.1f" % value
