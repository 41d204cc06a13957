"""Figures of how well networks learn."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from actgrad.analysis import tables
from actgrad.analysis.claims.article import ARTICLE, follows_article
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import every_run, threshold
from actgrad.report.figures.drawing import figure
from actgrad.report.figures.styling import STYLES, activation_legend, band, by_activation, epochs, spaced
from actgrad.results.run import validation_label


@figure("Accuracy, seed by seed", lambda evidence: tables.seeds(evidence.runs))
def seeds(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Each dot is one run, a network trained from one seed; the bar is the activation's mean. A dot left of the dotted line is a failed run: its
    accuracy is below twice the share of the largest class, or below halfway from that share to 1 where that is less. Where dots form two groups,
    their mean describes neither. A run that diverged has no dot on the left, and one on the right if it finished an epoch before."""
    names = list(evidence.runs)
    figure = Figure(figsize=(10, 1.4 + 0.3 * len(names)), layout="constrained")
    first = every_run(evidence.runs)[0]
    parts = (("test_accuracy_last", "test, last epoch"), ("val_accuracy_best", f"{validation_label(first.metrics)}, best epoch"))
    for axes, (measure, title) in zip(figure.subplots(1, 2, sharex=True, sharey=True), parts, strict=True):
        for place, (rows, style) in enumerate(by_activation(table)):
            heights = place + np.linspace(-0.25, 0.25, len(rows)) * (len(rows) > 1)  # else equal dots would look like one
            axes.scatter(rows[measure], heights, s=22, color=style["color"], linewidth=0, zorder=3)
            axes.vlines(rows[measure].mean(), place - 0.4, place + 0.4, color=style["color"])
        axes.axvline(threshold(first), color="#999999", linestyle=":", linewidth=1)
        axes.set_title(title)
    axes.set_yticks(range(len(names)), [spaced(name) for name in names])
    axes.invert_yaxis()
    figure.supxlabel("accuracy", fontsize=9)
    return figure


@figure("Learning curves", lambda evidence: tables.learning_curves(evidence.runs))
def learning_curves(table: pd.DataFrame, evidence: Evidence) -> Figure:
    """Lines are means over seeds, bands reach from the lowest to the highest seed. Which differences are significant is in the table above."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    validation = validation_label(every_run(evidence.runs)[0].metrics)
    for axes, split, title in ((left, "train", "training split (mean over the epoch)"), (right, "val", f"{validation} (after the epoch)")):
        for rows, style in by_activation(table[table["split"] == split]):
            band(axes, rows, "epoch", style)
        axes.set_title(title)
        epochs(axes)
    left.set_ylabel("accuracy")
    activation_legend(figure, table)
    return figure


@figure(
    "The article's ReLU network and this one",
    lambda evidence: tables.article_curve(evidence.runs, ARTICLE) if follows_article(evidence) else None,
)
def article_curve(table: pd.DataFrame, _: Evidence) -> Figure:
    """Circles: the article's log, one run. Lines: ReLU here, mean over seeds, with a band from the lowest to the highest seed. The article
    validates on the test split."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for split, colour, label in (("train", "#222222", "training"), ("val", STYLES["relu"][0], "validation")):
        rows = table[table["split"] == split]
        band(axes, rows, "epoch", {"color": colour, "label": f"{label}, here"})
        axes.plot(rows["epoch"], rows["article"], "o", color=colour, markerfacecolor="none", label=f"{label}, article")
    axes.set_ylabel("accuracy")
    epochs(axes)
    axes.legend()
    return figure
