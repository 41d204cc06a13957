"""Figures of one run, for its MLflow run."""

from matplotlib.figure import Figure

from actgrad.analysis import tables
from actgrad.report.figures.styling import epochs, gradient_lines, layer_legend
from actgrad.results.run import RunResult, validation_label
from actgrad.training.names import TRAIN_ACCURACY, TRAIN_LOSS, VAL_ACCURACY, VAL_LOSS


def run_learning_curves(run: RunResult) -> Figure:
    """Loss and accuracy of one run after each epoch."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    validation = validation_label(run.metrics)
    parts = (("loss", TRAIN_LOSS, VAL_LOSS), ("accuracy", TRAIN_ACCURACY, VAL_ACCURACY))
    for axes, (name, *metrics) in zip(figure.subplots(1, 2), parts, strict=True):
        for metric, label, colour in zip(metrics, ("training", validation), ("#222222", "#d55e00"), strict=True):
            axes.plot(run.history["epoch"], run.history[metric], color=colour, marker="o", markersize=3, label=label)
        axes.set_ylabel(name)
        epochs(axes)
    figure.axes[0].legend()
    figure.suptitle(run.key)
    return figure


def run_gradient_norms(run: RunResult) -> Figure:
    """Gradient norm of each layer of one run at every step."""
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axes = figure.subplots()
    gradient_lines(axes, tables.thinned(run.gradients))
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("L2 norm of the layer's gradient")
    axes.set_title(run.key)
    layer_legend(figure)
    return figure
