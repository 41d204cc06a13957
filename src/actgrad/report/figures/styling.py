"""The look of all figures: one colour per activation and one per layer, wherever they appear; and the parts that figures share."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Same input, same bytes: ids from a fixed salt, no date. Letters stay letters: as outlines they would double the report.
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "actgrad",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titley": 1.0,  # where titles are anyway: finding that out takes a sixth of the drawing
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e4e4e4",
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.5,
        "legend.frameon": False,
    }
)

# Okabe and Ito's colours, which colour-blind readers can tell apart, and three of Tol's; the line style is the second cue.
STYLES = {
    "linear": ("#7f7f7f", "-"),
    "sigmoid": ("#0072b2", "-"),
    "tanh": ("#56b4e9", "-"),
    "relu": ("#d55e00", "-"),
    "leaky_relu": ("#e69f00", "--"),
    "prelu": ("#009e73", "--"),
    "elu": ("#cc79a7", "-"),
    "gelu": ("#332288", ":"),
    "silu": ("#44aa99", ":"),
    "maxout": ("#882255", "-."),
}
FURTHER_COLOURS = ("#000000", "#999933", "#aa4499", "#6699cc", "#661100")


def styles(activations: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and line style of each activation; one that has none of its own gets one by its place among such."""
    further = [name for name in activations if name not in STYLES]
    return {name: STYLES.get(name) or (FURTHER_COLOURS[further.index(name) % len(FURTHER_COLOURS)], "-") for name in activations}


def layer_colours(layers: Sequence[str]) -> dict[str, Any]:
    """Dark is the layer nearest to the input, light the output."""
    return dict(zip(layers, matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(layers))), strict=True))


def spaced(name: str) -> str:
    """A name as a label: its underscores as spaces."""
    return name.replace("_", " ")


def layer_label(name: str) -> str:
    """The name of an activation layer as a label: `conv1_activation` acts on conv1."""
    return name.removesuffix("_activation")


def panels(table: pd.DataFrame, **shared: bool) -> tuple[Figure, list[tuple[Axes, pd.DataFrame, str]]]:
    """One panel an activation of the table, with its name as title: its axes, its rows and its colour."""
    colours = styles(list(dict.fromkeys(table["activation"])))
    columns = min(5, len(colours))
    lines = -(-len(colours) // columns)
    figure = Figure(figsize=(max(2.2 * columns, 4), 2.4 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, **shared).ravel()
    for axes in grid[len(colours) :]:
        axes.set_visible(False)
    made = []
    for axes, (name, (colour, _)) in zip(grid, colours.items(), strict=False):
        axes.set_title(spaced(name))
        made.append((axes, table[table["activation"] == name], colour))
    return figure, made


def by_activation(table: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, dict[str, str]]]:
    """The rows of each activation of a table, with the style of its line."""
    for name, (colour, line) in styles(list(dict.fromkeys(table["activation"]))).items():
        yield table[table["activation"] == name], {"color": colour, "linestyle": line}


def band(axes: Axes, rows: pd.DataFrame, x: str, style: Mapping[str, str]) -> None:
    """A line through the means, with a band from low to high."""
    axes.plot(rows[x], rows["mean"], **style)
    axes.fill_between(rows[x], rows["low"], rows["high"], color=style["color"], alpha=0.15, linewidth=0)


def intervals(axes: Axes, table: pd.DataFrame, value: str) -> None:
    """A dot an activation with its interval, from top to bottom."""
    rows = table.iloc[::-1]
    colours = styles(list(dict.fromkeys(table["activation"])))
    for place, row in enumerate(rows.to_dict("records")):
        colour = colours[row["activation"]][0]
        if not pd.isna(row["low"]):
            axes.plot([row["low"], row["high"]], [place, place], color=colour)
        axes.plot(row[value], place, "o", color=colour, markersize=5)
    axes.set_yticks(range(len(rows)), [spaced(name) for name in rows["activation"]])


def epochs(axes: Axes) -> None:
    """Name the horizontal axis, and mark it at whole epochs."""
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


def activation_legend(figure: Figure, activations: pd.DataFrame | Iterable[str]) -> None:
    """A legend of some activations, or of those of a table."""
    names = list(dict.fromkeys(activations["activation"] if isinstance(activations, pd.DataFrame) else activations))
    lines = [Line2D([], [], color=colour, linestyle=line, label=spaced(name)) for name, (colour, line) in styles(names).items()]
    figure.legend(handles=lines, loc="outside right center")


def layer_legend(figure: Figure, colours: Mapping[str, Any]) -> None:
    lines = [Line2D([], [], color=colour, label=layer) for layer, colour in colours.items()]
    figure.legend(handles=lines, loc="outside right center", title="layer")
