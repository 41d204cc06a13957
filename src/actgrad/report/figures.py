"""Every figure: drawn from results, with one colour per activation and one per layer, wherever they appear."""

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from actgrad.analysis import learning_rates as tuning
from actgrad.analysis import tables
from actgrad.analysis.claims import ARTICLE, follows_article
from actgrad.analysis.evidence import STUDY, Evidence
from actgrad.results import run as results
from actgrad.results.run import ACTIVATED_LAYERS, LAYERS, CellResult

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
LAYER_COLOURS = dict(zip(LAYERS, matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(LAYERS))), strict=True))


def styles(activations: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and line style of each activation; one that has none of its own gets one by its place among such."""
    further = [name for name in activations if name not in STYLES]
    return {name: STYLES.get(name) or (FURTHER_COLOURS[further.index(name) % len(FURTHER_COLOURS)], "-") for name in activations}


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


def study_drawings(evidence: Evidence, processes: int = 1) -> list[Drawing]:
    """All figures of one dataset's report, in the order of this file; drawn by several processes where the system can fork them."""
    if processes > 1 and sys.platform == "linux":
        with ProcessPoolExecutor(processes, get_context("fork"), _take, (evidence,)) as pool:
            drawings = list(pool.map(_draw, range(len(FIGURES))))
    else:
        drawings = [drawn(evidence) for drawn in FIGURES]
    return [drawing for drawing in drawings if drawing is not None]


_taken: list[Evidence] = []


def _take(evidence: Evidence) -> None:
    """In a process that draws: what it draws from, which it has by being forked, for sending it would take longer than drawing."""
    _taken.append(evidence)


def _draw(number: int) -> Drawing | None:
    return FIGURES[number](_taken[-1])


def laid_out(figure: Figure) -> Figure:
    """The figure, laid out once: else each picture of it would be laid out anew, and drawn once more for that."""
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine(None)
    return figure


def image(figure: Figure, form: str) -> bytes:
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


# --- results


@figure("Accuracy, seed by seed", lambda evidence: tables.seeds(evidence.cells))
def seeds(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Each dot is one cell, a network trained from one seed; the bar is the activation's mean. A dot left of the dotted line has not learned: it is
    below twice the accuracy of guessing, or below 75 % where there are two classes. Where dots form two groups, their mean describes neither. A cell
    that diverged has no dot on the left, and one on the right if it finished an epoch before."""
    names = list(evidence.cells)
    figure = Figure(figsize=(10, 1.4 + 0.3 * len(names)), layout="constrained")
    validation = results.validation_label(evidence.cells[names[0]][0].metrics)
    parts = (("test_accuracy_last", "test, last epoch"), ("val_accuracy_best", f"{validation}, best epoch"))
    for axes, (measure, title) in zip(figure.subplots(1, 2, sharex=True, sharey=True), parts, strict=True):
        for place, (rows, style) in enumerate(_by_activation(table)):
            heights = place + np.linspace(-0.25, 0.25, len(rows)) * (len(rows) > 1)  # else equal dots would look like one
            axes.scatter(rows[measure], heights, s=22, color=style["color"], linewidth=0, zorder=3)
            axes.vlines(rows[measure].mean(), place - 0.4, place + 0.4, color=style["color"])
        axes.axvline(tables.learned_from(evidence.cells), color="#999999", linestyle=":", linewidth=1)
        axes.set_title(title)
    axes.set_yticks(range(len(names)), [_title(name) for name in names])
    axes.invert_yaxis()
    figure.supxlabel("accuracy", fontsize=9)
    return figure


@figure("Learning curves", lambda evidence: tables.learning_curves(evidence.cells))
def learning_curves(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Lines are means over seeds, bands reach from the lowest to the highest seed. Which differences these seeds can
    show is in the table above."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    validation = results.validation_label(next(iter(evidence.cells.values()))[0].metrics)
    for axes, split, title in ((left, "train", "training split (mean over the epoch)"), (right, "val", f"{validation} (after the epoch)")):
        for rows, style in _by_activation(table[table["split"] == split]):
            _band(axes, rows, "epoch", style)
        axes.set_title(title)
        _epochs(axes)
    left.set_ylabel("accuracy")
    _activation_legend(figure, table)
    return figure


@figure(
    "The article's ReLU network and this one",
    lambda evidence: tables.article_curve(evidence.cells, ARTICLE) if follows_article(evidence) else None,
)
def article_curve(table: pd.DataFrame, _: Evidence) -> Figure:
    """Circles: the article's log, one run. Lines: ReLU here, mean over seeds, with a band from the lowest to the highest seed. The article
    validates on the test split."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for split, colour, label in (("train", "#222222", "training"), ("val", STYLES["relu"][0], "validation")):
        rows = table[table["split"] == split]
        _band(axes, rows, "epoch", {"color": colour, "label": f"{label}, here"})
        axes.plot(rows["epoch"], rows["article"], "o", color=colour, markerfacecolor="none", label=f"{label}, article")
    axes.set_ylabel("accuracy")
    _epochs(axes)
    axes.legend()
    return figure


# --- gradients


@figure("Gradient that reaches each layer, step by step", lambda evidence: tables.gradient_norms(evidence.cells))
def gradient_norms(table: pd.DataFrame, _: Evidence) -> Figure:
    """One panel an activation; dark is the layer nearest to the input, light the output. Lines far apart, with the dark ones below, mean that
    the gradient shrinks on its way back. Each line is the L2 norm of the gradient of a layer's kernel and bias, as the optimizer applied
    it: geometric mean over seeds and over neighbouring steps, on a log scale. A norm of exactly 0 cannot be drawn on it."""
    figure, panels = _panels(table, sharex=True, sharey=True)
    for axes, rows, _ in panels:
        _gradient_lines(axes, rows)
    _layer_legend(figure)
    figure.supxlabel("optimizer step")
    figure.supylabel("L2 norm of the layer's gradient", fontsize=10)
    return figure


@figure("The same signal, before layer sizes play in", lambda evidence: tables.signal(evidence.cells))
def delta(table: pd.DataFrame, _: Evidence) -> Figure:
    """dL/dz, the gradient of one image's loss with respect to a layer's pre-activations, as root mean square over units and over one fixed
    batch of images; geometric mean over seeds, log scale. Left and middle: a line that falls to the left is a vanishing gradient. Right:
    what is left of it at conv1, as a share of the output layer's, while the network trains."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    start, end, share = figure.subplots(1, 3)
    end.sharey(start)
    for rows, style in _by_activation(table):
        for axes, epoch in ((start, 0), (end, rows["epoch"].max())):
            values = rows[rows["epoch"] == epoch]
            axes.plot(values["layer"], values["delta_rms"], marker="o", markersize=3.5, **style)
        by_layer = rows.pivot_table(index="epoch", columns="layer", values="delta_rms").reindex(columns=[LAYERS[0], LAYERS[-1]])
        share.plot(by_layer.index, by_layer[LAYERS[0]] / by_layer[LAYERS[-1]], **style)
    for axes, title in ((start, "before any update"), (end, "after the last finished epoch"), (share, "conv1 as a share of output")):
        axes.set_yscale("log")
        axes.set_title(title)
    for axes in (start, end):
        axes.set_xlabel("layer, from the input to the output")
    _epochs(share)
    start.set_ylabel("RMS of dL/dz on the probe batch")
    _activation_legend(figure, table)
    return figure


@figure("Where the signal is lost, and why", lambda evidence: tables.signal(evidence.cells).query("epoch == 0"))
def attenuation(table: pd.DataFrame, _: Evidence) -> Figure:
    """What a layer's dL/dz keeps of the next layer's, before any update. Solid: measured. Dashed: predicted from the activation's derivatives
    and the weights between the two layers (Glorot and Bengio 2010, equation 6). Dotted: the derivatives' part alone. Where dashed and solid
    agree, the loss has been explained; the distance from dotted to dashed is due to weights and pooling."""
    figure, panels = _panels(table, sharex=True, sharey=True)
    lines = (("attenuation", "-", "measured"), ("predicted", "--", "predicted"), ("derivative_factor", ":", "derivatives\nalone"))
    for axes, every, colour in panels:
        rows = every[every["layer"] != LAYERS[-1]]
        for column, line, label in lines:
            marker = "o" if column == "attenuation" else ""
            axes.plot(rows["layer"], rows[column], color=colour, linestyle=line, marker=marker, markersize=3.5, label=label)
        axes.set_yscale("log")
        axes.axhline(1, color="#999999", linewidth=0.6)
        axes.tick_params(axis="x", labelrotation=45)
    figure.legend(handles=[Line2D([], [], color="#444444", linestyle=line, label=label) for _, line, label in lines], loc="outside right center")
    figure.supylabel("delta, as a share of the next layer's", fontsize=10)
    return figure


@figure("More layers", lambda evidence: None if evidence.depth is None else tables.depth(evidence.depth))
def depth(table: pd.DataFrame, _: Evidence) -> Figure:
    """The network's dense block, stacked 2 to 20 high, before any update. Left: decades of dL/dz that are lost between the last block and the
    first (bands: lowest to highest seed). Right: the slope of the lines on the left, which is what one more block costs, with its 95 %
    interval. 0 means that nothing is lost, however many blocks there are."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for rows, style in _by_activation(table[np.isfinite(table["mean"])]):
        _band(left, rows, "depth", style)
    left.set_xlabel("blocks")
    left.set_ylabel("decades of dL/dz lost")
    left.xaxis.get_major_locator().set_params(integer=True)
    rates = table.drop_duplicates("activation")[["activation", "rate", "rate_low", "rate_high"]]
    _intervals(right, rates.rename(columns={"rate_low": "low", "rate_high": "high"}), "rate")
    right.set_xlabel("decades a block")
    right.axvline(0, color="#999999", linewidth=0.6)
    _activation_legend(figure, table)
    return figure


# --- units


@figure("Saturated and dead units", lambda evidence: tables.census(evidence.cells))
def census(table: pd.DataFrame, _: Evidence) -> Figure:
    """Above: share of activations whose derivative is below 5 % of the function's largest. Below: share of units (channels, in a convolution)
    that pass no gradient for any image of the probe batch. Epoch 0 is before any update; means over seeds."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    grid = figure.subplots(2, len(ACTIVATED_LAYERS), sharex=True, sharey="row")
    shares = table.assign(dead_share=table["dead"] / table["units"])
    for row, column, label in zip(grid, ("saturated", "dead_share"), ("saturated", "dead"), strict=True):
        for axes, layer in zip(row, ACTIVATED_LAYERS, strict=True):
            for rows, style in _by_activation(shares[shares["layer"] == layer]):
                axes.plot(rows["epoch"], 100 * rows[column], **style)
        row[0].set_ylabel(f"{label}, %")
        row[0].set_ylim(bottom=0)
    for axes, layer in zip(grid[0], ACTIVATED_LAYERS, strict=True):
        axes.set_title(layer)
    for axes in grid[1]:
        _epochs(axes)
    _activation_legend(figure, table)
    return figure


# --- under other conditions


@figure("How much the learning rate decides", lambda evidence: None if evidence.trials is None else tables.learning_rates(evidence.trials))
def learning_rates(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Validation accuracy of short trials against the learning rate. The dot is the rate that the recipe `tuned` takes for this activation, the
    dashed vertical line the one that the study uses. A trial that diverged counts as 0."""
    figure, panels = _panels(table, sharex=True, sharey=True)
    chosen = tuning.best(evidence.trials).set_index("activation")["learning_rate"]
    for axes, rows, colour in panels:
        name = rows["activation"].iloc[0]
        _band(axes, rows, "learning_rate", {"color": colour})
        best = rows[rows["learning_rate"] == chosen[name]]
        axes.plot(best["learning_rate"], best["mean"], "o", color=colour)
        axes.axvline(tables.configuration(evidence.cells[name][0])["recipe"]["learning_rate"], color="#777777", linewidth=0.8, linestyle="--")
        axes.set_xscale("log")
    figure.supxlabel("learning rate")
    figure.supylabel(f"validation accuracy after {evidence.trials['epochs'].max()} epochs", fontsize=10)
    return figure


@figure("The same under other conditions", lambda evidence: tables.experiments(evidence.studies) if evidence.experiments else None)
def experiments(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Test accuracy after the last epoch: mean over seeds with its 95 % interval, in the study and in each of its experiments."""
    groups = list(dict.fromkeys(table["experiment"]))
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    axes = figure.subplots()
    for place, (name, (colour, _)) in enumerate(styles(list(evidence.cells)).items()):
        rows = table[table["activation"] == name]
        x = [groups.index(group) + 0.8 * ((place + 0.5) / len(evidence.cells) - 0.5) for group in rows["experiment"]]
        errors = np.nan_to_num(np.array([rows["mean"] - rows["low"], rows["high"] - rows["mean"]], float))
        axes.errorbar(x, rows["mean"], errors, fmt="o", markersize=4, color=colour, elinewidth=1.2)
    for boundary in range(1, len(groups)):
        axes.axvline(boundary - 0.5, color="#bbbbbb", linewidth=0.6)
    axes.set_xticks(range(len(groups)), [_title(group) for group in groups])
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_ylim(max(0, table["mean"].min() - 0.1), min(1.02, table["mean"].max() + 0.1))
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("test accuracy")
    _activation_legend(figure, evidence.cells)
    return figure


# --- the functions themselves


@figure("How far each trained network is from one affine map", lambda evidence: tables.affine(evidence.studies))
def affine(table: pd.DataFrame, _: Evidence) -> Figure:
    """Largest difference, on the test split, between a network's logits and those of the affine map that agrees with it at the black image, as
    a share of the largest logit; the worst seed, log scale. What is left at 1e-6 is rounding: that network is one linear layer."""
    shown = table[table["experiment"].isin([STUDY, "average_pooling"])].iloc[::-1]
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(shown)), layout="constrained")
    axes = figure.subplots()
    labels = [_title(row.activation) + ("" if row.experiment == STUDY else f", {_title(row.experiment)}") for row in shown.itertuples()]
    colours = styles(list(dict.fromkeys(table["activation"])))
    axes.scatter(shown["folding_error"].clip(lower=1e-9), labels, color=[colours[name][0] for name in shown["activation"]], s=40, zorder=3)
    axes.set_xscale("log")
    axes.set_xlabel("largest difference from one affine map, as a share of the largest logit")
    return figure


@figure("The activation functions and their derivatives", lambda evidence: tables.activation_functions(evidence.cells))
def activations(table: pd.DataFrame, _: Evidence) -> Figure:
    """Coloured: the function. Dashed: its derivative, by automatic differentiation of the very layer that was trained, at initialisation. The
    derivative is the factor that a gradient is multiplied by on its way back. maxout is drawn along one of its pieces, the others at 0."""
    figure, panels = _panels(table, sharex=True)
    for axes, curve, colour in panels:
        axes.plot(curve["z"], curve["value"], color=colour, label="function")
        axes.plot(curve["z"], curve["derivative"], color="#222222", linestyle="--", linewidth=1.2, label="derivative")
        axes.axhline(0, color="#999999", linewidth=0.6)
        axes.set_ylim(-1.6, 3.1)
    panels[0][0].legend(loc="upper left", fontsize=8)
    figure.supxlabel("pre-activation z")
    return figure


@figure("What an activation costs", lambda evidence: tables.times(evidence.times, evidence.cells) if evidence.times else None)
def times(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Time as a multiple of ReLU's, median with 95 % interval: of the four activation layers alone, forward and backward, and of a whole training
    step. Measured once, by the benchmark of the project, on the machine that is named; the study's own results hold no times."""
    figure = Figure(figsize=(10, 1.6 + 0.28 * len(table)), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, part, title in ((left, "layers_to_relu", "activation layers alone"), (right, "step_to_relu", "a whole training step")):
        _intervals(axes, table.rename(columns={f"{part}_{key}": key for key in ("value", "low", "high")}), "value")
        axes.axvline(1, color="#999999", linewidth=0.6)
        axes.set_xlim(left=0)
        axes.set_title(title)
    machine = evidence.times["machine"]
    measured_on = f"{machine['processor']}, {machine['cores']} cores, batches of {evidence.times['batch_size']} images of {evidence.times['dataset']}"
    figure.supxlabel(f"times ReLU's   ({measured_on})", fontsize=9)
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
        axes.set_ylabel(name)
        _epochs(axes)
    figure.axes[0].legend()
    figure.suptitle(cell.key)
    return figure


def cell_gradient_norms(cell: CellResult) -> Figure:
    """Gradient norm of each layer of one cell at every step."""
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axes = figure.subplots()
    _gradient_lines(axes, tables.thinned(cell.gradients))
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("L2 norm of the layer's gradient")
    axes.set_title(cell.key)
    _layer_legend(figure)
    return figure


# --- parts


def _panels(table: pd.DataFrame, **shared: bool) -> tuple[Figure, list[tuple[Axes, pd.DataFrame, str]]]:
    """One panel an activation of the table, with its name as title: its axes, its rows and its colour."""
    colours = styles(list(dict.fromkeys(table["activation"])))
    columns = min(5, len(colours))
    lines = -(-len(colours) // columns)
    figure = Figure(figsize=(max(2.2 * columns, 4), 2.4 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, **shared).ravel()
    for axes in grid[len(colours) :]:
        axes.set_visible(False)
    panels = []
    for axes, (name, (colour, _)) in zip(grid, colours.items(), strict=False):
        axes.set_title(_title(name))
        panels.append((axes, table[table["activation"] == name], colour))
    return figure, panels


def _by_activation(table: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, dict[str, str]]]:
    """The rows of each activation of a table, with the style of its line."""
    for name, (colour, line) in styles(list(dict.fromkeys(table["activation"]))).items():
        yield table[table["activation"] == name], {"color": colour, "linestyle": line}


def _gradient_lines(axes: Axes, gradients: pd.DataFrame) -> None:
    """A line a layer; log scale, on which a norm of 0 has no place."""
    axes.set_yscale("log")
    for layer in LAYERS:
        axes.plot(gradients["step"], gradients[layer], color=LAYER_COLOURS[layer], linewidth=1.1)


def _band(axes: Axes, rows: pd.DataFrame, x: str, style: Mapping[str, str]) -> None:
    """A line through the means, with a band from low to high."""
    axes.plot(rows[x], rows["mean"], **style)
    axes.fill_between(rows[x], rows["low"], rows["high"], color=style["color"], alpha=0.15, linewidth=0)


def _intervals(axes: Axes, table: pd.DataFrame, value: str) -> None:
    """A dot an activation with its interval, from top to bottom."""
    rows = table.iloc[::-1]
    colours = styles(list(dict.fromkeys(table["activation"])))
    for place, row in enumerate(rows.to_dict("records")):
        colour = colours[row["activation"]][0]
        if not pd.isna(row["low"]):
            axes.plot([row["low"], row["high"]], [place, place], color=colour)
        axes.plot(row[value], place, "o", color=colour, markersize=5)
    axes.set_yticks(range(len(rows)), [_title(name) for name in rows["activation"]])


def _epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


def _activation_legend(figure: Figure, activations: pd.DataFrame | Iterable[str]) -> None:
    """A legend of some activations, or of those of a table."""
    names = list(dict.fromkeys(activations["activation"] if isinstance(activations, pd.DataFrame) else activations))
    lines = [Line2D([], [], color=colour, linestyle=line, label=_title(name)) for name, (colour, line) in styles(names).items()]
    figure.legend(handles=lines, loc="outside right center")


def _layer_legend(figure: Figure) -> None:
    lines = [Line2D([], [], color=colour, label=layer) for layer, colour in LAYER_COLOURS.items()]
    figure.legend(handles=lines, loc="outside right center", title="layer")


def _title(activation: str) -> str:
    return activation.replace("_", " ")
