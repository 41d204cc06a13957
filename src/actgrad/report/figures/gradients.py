"""Figures of the gradient on its way back through the network."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from actgrad.analysis import tables
from actgrad.analysis.evidence import Evidence
from actgrad.report.figures.drawing import figure
from actgrad.report.figures.styling import activation_legend, band, by_activation, epochs, intervals, layer_colours, layer_label, layer_legend, panels


@figure("Gradient of each layer's weights, step by step", lambda evidence: tables.gradient_norms(evidence.runs))
def gradient_norms(table: pd.DataFrame, _: Evidence) -> Figure:
    """One panel an activation; dark is the layer nearest to the input, light the output. Lines far apart, with the dark ones below, mean that
    the gradient shrinks on its way back. Each line is the L2 norm of the gradient of a layer's weights, as the optimizer is given it: geometric
    mean over seeds and over neighbouring steps, on a log scale. A norm of exactly 0 cannot be drawn on it. Weights that not all of these networks
    have, such as PReLU's slopes, are in the data alone."""
    figure, drawn = panels(table, sharex=True, sharey=True)
    in_all = table.groupby("layer", sort=False)["activation"].nunique() == table["activation"].nunique()
    colours = layer_colours(in_all.index[in_all])
    for axes, rows, _ in drawn:
        axes.set_yscale("log")
        for layer, colour in colours.items():
            of_layer = rows[rows["layer"] == layer]
            axes.plot(of_layer["step"], of_layer["grad_norm"], color=colour, linewidth=1.1)
    layer_legend(figure, colours)
    figure.supxlabel("optimizer step")
    figure.supylabel("L2 norm of the layer's gradient", fontsize=10)
    return figure


@figure("Gradient with respect to pre-activations, layer by layer", lambda evidence: tables.preact_grads(evidence.runs))
def preact_grads(table: pd.DataFrame, _: Evidence) -> Figure:
    """dL/dz is the gradient of one image's loss with respect to a layer's pre-activations. Left and middle: its root mean square over units and
    over one fixed batch of images; geometric mean over seeds, log scale. A line that falls to the left is a vanishing gradient. Right: attenuation,
    the decades by which it shrinks from the last activated layer back to the first, while the network trains; mean over seeds. A gradient of 0 is
    not drawn on the left, and counts as the smallest normal float32 on the right."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    start, end, decades = figure.subplots(1, 3)
    end.sharey(start)
    for rows, style in by_activation(table):
        for axes, epoch in ((start, 0), (end, rows["epoch"].max())):
            values = rows[rows["epoch"] == epoch]
            axes.plot(values["layer"].map(layer_label), values["preact_grad_rms"], marker="o", markersize=3.5, **style)
        once = rows.drop_duplicates("epoch")
        decades.plot(once["epoch"], once["attenuation"], **style)
    for axes, title in ((start, "before any update"), (end, "after the last finished epoch")):
        axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("layer, from the input to the output")
        axes.tick_params(axis="x", labelrotation=30)
    decades.set_title("attenuation from last to first, decades")
    decades.axhline(0, color="#999999", linewidth=0.6)
    epochs(decades)
    start.set_ylabel("RMS of dL/dz on the probe batch")
    activation_legend(figure, table)
    return figure


@figure("Where the gradient shrinks, and why", lambda evidence: tables.share_of_next(evidence.runs))
def share_of_next(table: pd.DataFrame, _: Evidence) -> Figure:
    """A layer's dL/dz as a share of the next layer's, before any update. Solid: measured. Dashed: predicted from the activation's derivatives
    and the weights between the two layers (Glorot and Bengio 2010, equation 6). Dotted: the derivatives' part alone. Where dashed and solid
    agree, the loss has been explained; the distance from dotted to dashed is due to weights and pooling."""
    figure, drawn = panels(table, sharex=True, sharey=True)
    lines = (("share_of_next", "-", "measured"), ("predicted", "--", "predicted"), ("derivatives_alone", ":", "derivatives\nalone"))
    for axes, rows, colour in drawn:
        for column, line, label in lines:
            marker = "o" if column == "share_of_next" else ""
            axes.plot(rows["layer"].map(layer_label), rows[column], color=colour, linestyle=line, marker=marker, markersize=3.5, label=label)
        axes.set_yscale("log")
        axes.axhline(1, color="#999999", linewidth=0.6)
        axes.tick_params(axis="x", labelrotation=45)
    figure.legend(handles=[Line2D([], [], color="#444444", linestyle=line, label=label) for _, line, label in lines], loc="outside right center")
    figure.supylabel("dL/dz, as a share of the next layer's", fontsize=10)
    return figure


@figure("More layers", lambda evidence: None if evidence.depth is None else tables.depth(evidence.depth))
def depth(table: pd.DataFrame, _: Evidence) -> Figure:
    """Networks that differ in their number of layers alone, before any update. Left: attenuation, the decades by which dL/dz shrinks from the last
    activated layer to the first (bands: lowest to highest seed); a depth at which no gradient arrives is not drawn. Right: the slope of the lines on
    the left, which is what one more layer costs, with its 95 % interval. 0 means that nothing is lost, however many layers there are."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for rows, style in by_activation(table[np.isfinite(table["mean"]) & (table["lost"] == 0)]):
        band(left, rows, "depth", style | {"marker": "o", "markersize": 3.5})
    left.set_xlabel("layers")
    left.set_ylabel("attenuation, decades")
    left.xaxis.get_major_locator().set_params(integer=True)
    rates = table.drop_duplicates("activation")[["activation", "rate", "rate_low", "rate_high"]]
    intervals(right, rates.rename(columns={"rate_low": "low", "rate_high": "high"}), "rate")
    right.set_xlabel("decades per layer")
    right.axvline(0, color="#999999", linewidth=0.6)
    activation_legend(figure, table)
    return figure
