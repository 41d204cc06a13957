"""Figures of the activation functions themselves."""

import pandas as pd
from matplotlib.figure import Figure

from actgrad.analysis import tables
from actgrad.analysis.claims.functions import LINEAR_POOLING
from actgrad.analysis.evidence import Evidence
from actgrad.report.figures.drawing import figure
from actgrad.report.figures.styling import intervals, panels, spaced, styles


@figure("How far each trained network is from one affine map", lambda evidence: tables.linearity(evidence.conditions))
def linearity(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Largest difference, on the test split, between a network's logits and those of the affine map that agrees with it at the black image, as
    a share of the largest logit; the worst seed, log scale. What is left at 1e-6 is rounding: that network is one linear layer."""
    shown = table[table["condition"].isin([evidence.headline, LINEAR_POOLING])].iloc[::-1]
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(shown)), layout="constrained")
    axes = figure.subplots()
    labels = [spaced(row.activation) + ("" if row.condition == evidence.headline else f", {spaced(row.condition)}") for row in shown.itertuples()]
    colours = styles(list(dict.fromkeys(table["activation"])))
    axes.scatter(shown["folding_error"].clip(lower=1e-9), labels, color=[colours[name][0] for name in shown["activation"]], s=40, zorder=3)
    axes.set_xscale("log")
    axes.set_xlabel("largest difference from one affine map, as a share of the largest logit")
    return figure


@figure("The activation functions and their derivatives", lambda evidence: tables.activation_functions(evidence.runs))
def activations(table: pd.DataFrame, _: Evidence) -> Figure:
    """Coloured: the function. Dashed: its derivative, by automatic differentiation of the very layer that was trained, at initialisation. The
    derivative is the factor that a gradient is multiplied by on its way back. maxout is drawn along one of its pieces, the others at 0."""
    figure, drawn = panels(table, sharex=True)
    for axes, curve, colour in drawn:
        axes.plot(curve["z"], curve["value"], color=colour, label="function")
        axes.plot(curve["z"], curve["derivative"], color="#222222", linestyle="--", linewidth=1.2, label="derivative")
        axes.axhline(0, color="#999999", linewidth=0.6)
        axes.set_ylim(-1.6, 3.1)
    drawn[0][0].legend(loc="upper left", fontsize=8)
    figure.supxlabel("pre-activation z")
    return figure


@figure("What an activation costs", lambda evidence: tables.times(evidence.times, evidence.runs) if evidence.times else None)
def times(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Time as a multiple of ReLU's, median with 95 % interval: of the four activation layers alone, forward and backward, and of a whole training
    step. Measured once, by the benchmark of the project, on the machine that is named; the study's own results hold no times."""
    figure = Figure(figsize=(10, 1.6 + 0.28 * len(table)), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, part, title in ((left, "layers_to_relu", "activation layers alone"), (right, "step_to_relu", "a whole training step")):
        intervals(axes, table.rename(columns={f"{part}_{key}": key for key in ("value", "low", "high")}), "value")
        axes.axvline(1, color="#999999", linewidth=0.6)
        axes.set_xlim(left=0)
        axes.set_title(title)
    machine = evidence.times["machine"]
    measured_on = f"{machine['processor']}, {machine['cores']} cores, batches of {evidence.times['batch_size']} images of {evidence.times['dataset']}"
    figure.supxlabel(f"times ReLU's   ({measured_on})", fontsize=9)
    return figure
