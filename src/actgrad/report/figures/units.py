"""Figures of saturated and dead units."""

import pandas as pd
from matplotlib.figure import Figure

from actgrad.analysis import tables
from actgrad.analysis.evidence import Evidence
from actgrad.networks.names import ACTIVATED_LAYERS
from actgrad.report.figures.drawing import figure
from actgrad.report.figures.styling import activation_legend, by_activation, epochs


@figure("Saturated and dead units", lambda evidence: tables.unit_states(evidence.runs))
def unit_states(table: pd.DataFrame, _: Evidence) -> Figure:
    """Above: share of activations whose derivative is below 5 % of the function's largest. Below: share of dead units (channels, in a convolution),
    which pass no gradient for any image of the probe batch. Epoch 0 is before any update; means over seeds."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    grid = figure.subplots(2, len(ACTIVATED_LAYERS), sharex=True, sharey="row")
    shares = table.assign(dead_share=table["dead"] / table["units"])
    for row, column, label in zip(grid, ("saturated", "dead_share"), ("saturated", "dead"), strict=True):
        for axes, layer in zip(row, ACTIVATED_LAYERS, strict=True):
            for rows, style in by_activation(shares[shares["layer"] == layer]):
                axes.plot(rows["epoch"], 100 * rows[column], **style)
        row[0].set_ylabel(f"{label}, %")
        row[0].set_ylim(bottom=0)
    for axes, layer in zip(grid[0], ACTIVATED_LAYERS, strict=True):
        axes.set_title(layer)
    for axes in grid[1]:
        epochs(axes)
    activation_legend(figure, table)
    return figure
