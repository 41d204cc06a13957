"""Figures of saturated and dead units."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from actgrad.analysis import tables
from actgrad.analysis.evidence import Evidence
from actgrad.report.figures.drawing import figure
from actgrad.report.figures.styling import activation_legend, by_activation, epochs, layer_label

COLUMNS = 8
"""Layers that are drawn, at most."""


@figure("Saturated and dead units", lambda evidence: tables.unit_states(evidence.runs))
def unit_states(table: pd.DataFrame, _: Evidence) -> Figure:
    """Above: share of activations whose derivative is below 5 % of the function's largest. Below: share of dead units (channels, in a convolution),
    which pass no gradient for any image of the probe batch. Epoch 0 is before any update; means over seeds. Of many layers, eight are drawn."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    layers = _some(list(dict.fromkeys(table["layer"])))
    grid = figure.subplots(2, len(layers), sharex=True, sharey="row", squeeze=False)
    shares = table.assign(dead_share=table["dead"] / table["units"])
    for row, column, label in zip(grid, ("saturated", "dead_share"), ("saturated", "dead"), strict=True):
        for axes, layer in zip(row, layers, strict=True):
            for rows, style in by_activation(shares[shares["layer"] == layer]):
                axes.plot(rows["epoch"], 100 * rows[column], **style)
        row[0].set_ylabel(f"{label}, %")
        row[0].set_ylim(bottom=0)
    for axes, layer in zip(grid[0], layers, strict=True):
        axes.set_title(layer_label(layer))
    for axes in grid[1]:
        epochs(axes)
    activation_legend(figure, table)
    return figure


def _some(layers: list[str]) -> list[str]:
    """At most COLUMNS of some layers, at even distances, both ends among them."""
    return [layers[place] for place in sorted({round(one) for one in np.linspace(0, len(layers) - 1, min(len(layers), COLUMNS))})]
