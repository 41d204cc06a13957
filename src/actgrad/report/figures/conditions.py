"""Figures of what changes under other conditions."""

import pandas as pd
from matplotlib.figure import Figure

from actgrad.analysis import learning_rates as search
from actgrad.analysis import tables
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import configuration
from actgrad.report.figures.drawing import figure
from actgrad.report.figures.styling import activation_legend, band, panels, spaced, styles


@figure("How much the learning rate decides", lambda evidence: None if evidence.trials is None else tables.learning_rates(evidence.trials))
def learning_rates(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Validation accuracy of short trials against the learning rate. The dot is the rate that the condition `tuned` takes for this activation, the
    dashed vertical line the one of the runs above. A trial that diverged counts as 0."""
    figure, drawn = panels(table, sharex=True, sharey=True)
    chosen = search.best(evidence.trials).set_index("activation")["learning_rate"]
    for axes, rows, colour in drawn:
        name = rows["activation"].iloc[0]
        band(axes, rows, "learning_rate", {"color": colour})
        best = rows[rows["learning_rate"] == chosen[name]]
        axes.plot(best["learning_rate"], best["mean"], "o", color=colour)
        if name in evidence.runs:
            axes.axvline(configuration(evidence.runs[name][0])["recipe"]["learning_rate"], color="#777777", linewidth=0.8, linestyle="--")
        axes.set_xscale("log")
    figure.supxlabel("learning rate")
    figure.supylabel(f"validation accuracy after {evidence.trials['epochs'].max()} epochs", fontsize=10)
    return figure


@figure("The same under other conditions", lambda evidence: tables.conditions(evidence.conditions) if evidence.other_conditions else None)
def conditions(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Test accuracy after the last epoch under each condition: mean over seeds with its 95 % interval."""
    groups = list(dict.fromkeys(table["condition"]))
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    axes = figure.subplots()
    for place, (name, (colour, _)) in enumerate(styles(list(evidence.runs)).items()):
        rows = table[table["activation"] == name]
        x = [groups.index(group) + 0.8 * ((place + 0.5) / len(evidence.runs) - 0.5) for group in rows["condition"]]
        errors = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]  # NaN, for which no bar is drawn, where there is a single seed
        axes.errorbar(x, rows["mean"], errors, fmt="o", markersize=4, color=colour, elinewidth=1.2)
    for boundary in range(1, len(groups)):
        axes.axvline(boundary - 0.5, color="#bbbbbb", linewidth=0.6)
    axes.set_xticks(range(len(groups)), [spaced(group) for group in groups])
    axes.set_xlim(-0.5, len(groups) - 0.5)
    if len(table):
        axes.set_ylim(max(0, table["mean"].min() - 0.1), min(1.02, table["mean"].max() + 0.1))
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("test accuracy")
    activation_legend(figure, evidence.runs)
    return figure
