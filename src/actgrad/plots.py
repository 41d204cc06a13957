"""Every figure: drawn from results, with one colour per activation and one per layer, wherever they appear."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from actgrad import results
from actgrad.results import LAYERS, CellResult

# Same input, same bytes: ids from a fixed salt, no date; letters as outlines, so that a figure looks alike everywhere.
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "actgrad",
        "svg.fonttype": "path",
        "font.size": 9,
        "axes.titlesize": 10,
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
LAYER_COLOURS = dict(zip(LAYERS, matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(LAYERS))), strict=True))
POINTS = 120


def styles(activations: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and line style of each activation; one that has none of its own gets one by its place among such."""
    further = [name for name in activations if name not in STYLES]
    return {name: STYLES.get(name) or (FURTHER_COLOURS[further.index(name) % len(FURTHER_COLOURS)], "-") for name in activations}


@dataclass(frozen=True)
class Drawing:
    """A finished figure: the name of its file, what it is called, how to read it, and the picture."""

    name: str
    title: str
    caption: str
    svg: bytes


def study_drawings(cells: Mapping[str, Sequence[CellResult]]) -> list[Drawing]:
    """All figures of one dataset's study, in the order of a report."""
    validation = results.validation_label(next(iter(cells.values()))[0].metrics)
    return [
        Drawing(
            "gradient_norms",
            "Gradient that reaches each layer, step by step",
            "One panel an activation; dark is the layer nearest to the input, light the output. Lines far apart, with the dark ones below, mean that "
            "the gradient shrinks on its way back. Each line is the L2 norm of the gradient of a layer's kernel and bias, as the optimizer "
            "applied it: geometric mean over seeds and over neighbouring steps, on a log scale. A norm of exactly 0 cannot be drawn on it.",
            svg(gradient_norms(cells)),
        ),
        Drawing(
            "delta",
            "The same signal, before layer sizes play in",
            "dL/dz, the gradient of one image's loss with respect to a layer's pre-activations, as root mean square over units and over one "
            "fixed batch of images. A line that falls to the left is a vanishing gradient. Geometric mean over seeds, log scale.",
            svg(delta_by_layer(cells)),
        ),
        Drawing(
            "learning_curves",
            "Learning curves",
            "Lines are means over seeds, bands reach from the lowest to the highest seed. "
            "Where bands overlap, these seeds do not tell the activations apart.",
            svg(learning_curves(cells, validation)),
        ),
        Drawing(
            "activations",
            "The activation functions and their derivatives",
            "Coloured: the function. Dashed: its derivative, by automatic differentiation of the very layer that was trained, "
            "at initialisation. The derivative is the factor that a gradient is multiplied by on its way back. "
            "maxout is drawn along one of its pieces, the others at 0.",
            svg(activation_functions(cells)),
        ),
    ]


def svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


# --- a study: cells of one dataset, by activation


def activation_functions(cells: Mapping[str, Sequence[CellResult]]) -> Figure:
    """Each activation function with its derivative."""
    figure, panels = _panels(cells, sharex=True)
    for name, axes in panels.items():
        colour, _ = styles(list(cells))[name]
        curve = cells[name][0].activation
        axes.plot(curve["z"], curve["value"], color=colour, label="function")
        axes.plot(curve["z"], curve["derivative"], color="#222222", linestyle="--", linewidth=1.2, label="derivative")
        axes.axhline(0, color="#999999", linewidth=0.6)
        axes.set_ylim(-1.6, 3.1)
        axes.set_title(_title(name))
    axes = next(iter(panels.values()))
    axes.legend(loc="upper left", fontsize=8)
    figure.supxlabel("pre-activation z")
    return figure


def learning_curves(cells: Mapping[str, Sequence[CellResult]], validation: str) -> Figure:
    """Accuracy after each epoch on the training and the validation split: mean over seeds, band from lowest to highest."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, metric, title in (
        (left, results.TRAIN_ACCURACY, "training split (mean over the epoch)"),
        (right, results.VAL_ACCURACY, f"{validation} (after the epoch)"),
    ):
        for name, (colour, line) in styles(list(cells)).items():
            values = pd.concat([cell.history.set_index("epoch")[metric] for cell in cells[name]], axis=1)
            if values.empty:
                continue
            axes.plot(values.index, values.mean(axis=1), color=colour, linestyle=line)
            axes.fill_between(values.index, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.15, linewidth=0)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    left.set_ylabel("accuracy")
    _activation_legend(figure, cells)
    return figure


def gradient_norms(cells: Mapping[str, Sequence[CellResult]]) -> Figure:
    """Gradient norm of each layer at every step: one panel an activation, geometric mean over seeds and neighbouring steps."""
    figure, panels = _panels(cells, sharex=True, sharey=True)
    for name, axes in panels.items():
        _gradient_lines(axes, pd.concat([cell.gradients for cell in cells[name]]))
        axes.set_title(_title(name))
    _layer_legend(figure)
    figure.supxlabel("optimizer step")
    figure.supylabel("L2 norm of the layer's gradient", fontsize=10)
    return figure


def delta_by_layer(cells: Mapping[str, Sequence[CellResult]]) -> Figure:
    """delta of each layer before any update and at the end: geometric mean over seeds."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    start, end = figure.subplots(1, 2, sharey=True)
    for axes, title, pick in ((start, "before any update", min), (end, "after the last finished epoch", max)):
        for name, (colour, line) in styles(list(cells)).items():
            rows = pd.concat([cell.probe[cell.probe["epoch"] == pick(cell.probe["epoch"])] for cell in cells[name]])
            values = [_geometric_mean(rows.loc[rows["layer"] == layer, "delta_rms"]) for layer in LAYERS]
            axes.plot(LAYERS, values, color=colour, linestyle=line, marker="o", markersize=3.5)
        axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("layer, from the input to the output")
    start.set_ylabel("RMS of dL/dz on the probe batch")
    _activation_legend(figure, cells)
    return figure


# --- one cell


def cell_learning_curves(cell: CellResult) -> Figure:
    """Loss and accuracy of one cell after each epoch."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    validation = results.validation_label(cell.metrics)
    for axes, name, metrics in zip(
        figure.subplots(1, 2),
        ("loss", "accuracy"),
        ((results.TRAIN_LOSS, results.VAL_LOSS), (results.TRAIN_ACCURACY, results.VAL_ACCURACY)),
        strict=True,
    ):
        for metric, label, colour in zip(metrics, ("training", validation), ("#222222", "#d55e00"), strict=True):
            axes.plot(cell.history["epoch"], cell.history[metric], color=colour, marker="o", markersize=3, label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.axes[0].legend()
    figure.suptitle(cell.key)
    return figure


def cell_gradient_norms(cell: CellResult) -> Figure:
    """Gradient norm of each layer of one cell at every step."""
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axes = figure.subplots()
    _gradient_lines(axes, cell.gradients)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("L2 norm of the layer's gradient")
    axes.set_title(cell.key)
    _layer_legend(figure)
    return figure


# --- parts


def _panels(cells: Mapping[str, Sequence[CellResult]], **shared: bool) -> tuple[Figure, dict[str, Axes]]:
    columns = min(5, len(cells))
    rows = -(-len(cells) // columns)
    figure = Figure(figsize=(max(2.2 * columns, 4), 2.4 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for axes in grid[len(cells) :]:
        axes.set_visible(False)
    return figure, dict(zip(cells, grid, strict=False))


def _gradient_lines(axes: Axes, gradients: pd.DataFrame) -> None:
    """Lines through the geometric mean of at most POINTS stretches of steps; log scale. A norm of 0 has no place there."""
    axes.set_yscale("log")
    if gradients.empty:
        return
    width = int(np.ceil(gradients["step"].max() / POINTS))
    stretch = (gradients["step"] - 1) // width
    with np.errstate(divide="ignore"):
        logs = np.log(gradients[list(LAYERS)]).replace(-np.inf, np.nan)
    means = np.exp(logs.groupby(stretch).mean())
    steps = gradients["step"].groupby(stretch).mean()
    for layer in LAYERS:
        axes.plot(steps, means[layer], color=LAYER_COLOURS[layer], linewidth=1.1)


def _activation_legend(figure: Figure, activations: Iterable[str]) -> None:
    lines = [Line2D([], [], color=colour, linestyle=line, label=_title(name)) for name, (colour, line) in styles(list(activations)).items()]
    figure.legend(handles=lines, loc="outside right center")


def _layer_legend(figure: Figure) -> None:
    lines = [Line2D([], [], color=colour, label=layer) for layer, colour in LAYER_COLOURS.items()]
    figure.legend(handles=lines, loc="outside right center", title="layer")


def _geometric_mean(values: pd.Series) -> float:
    positive = values[values > 0]
    return float(np.exp(np.log(positive).mean())) if len(positive) else np.nan


def _title(activation: str) -> str:
    return activation.replace("_", " ")
