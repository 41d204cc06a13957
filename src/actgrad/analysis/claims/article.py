"""The article's log of its ReLU network on CIFAR-10, and whether our runs match it."""

from actgrad.analysis.claims.registry import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED, Finding, claim, keys, measured
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import DIVERGED, configuration, outcome
from actgrad.analysis.statistics import estimate
from actgrad.results.run import validation_label
from actgrad.training.names import TRAIN_ACCURACY, VAL_ACCURACY, VAL_LOSS

ARTICLE = {
    "train": (0.3390, 0.4927, 0.5583, 0.6094, 0.6594, 0.7017, 0.7426, 0.7894, 0.8265, 0.8605),
    "val": (0.4513, 0.5106, 0.5170, 0.5534, 0.5513, 0.5494, 0.5488, 0.5435, 0.5333, 0.5417),
}
"""The article's log of its ReLU network on CIFAR-10: accuracy after each epoch. Its validation split is the test split."""

LOWEST_LOSS = 4
"""The epoch at which validation loss is lowest in the article's log."""

TRAINING = {
    "input_scaling": "none",
    "kernel_initializer": "glorot_uniform",
    "optimizer": "Adam",
    "learning_rate": 0.001,
    "batch_size": 256,
    "epochs": len(ARTICLE["train"]),
}
"""The article's recipe."""
BUILD = "actgrad.networks.lenet5.build"
NETWORK = {"pooling": "max", "batch_normalization": False}
"""The article's settings of the network."""


def follows_article(evidence: Evidence) -> bool:
    """Whether ReLU is trained as the article does, on CIFAR-10 or its re-encoded copy."""
    if "relu" not in evidence.runs or evidence.dataset not in ("cifar10", "cifar10_jpeg"):
        return False
    values = configuration(evidence.runs["relu"][0])
    model = values["model"]
    return model["build"] == BUILD and NETWORK.items() <= model["config"].items() and TRAINING.items() <= values["recipe"].items()


@claim(
    "lenet5-relu-cifar10",
    "LeNet-5 with ReLU on CIFAR-10 reaches 0.86 training and 0.54 validation accuracy in ten epochs, with the lowest validation loss near epoch 4.",
    ["relu"],
    "article_curve",
    title="The article's accuracies are reached",
)
def lenet5_relu_cifar10(evidence: Evidence) -> Finding:
    """Only on CIFAR-10 or its re-encoded copy, with the article's network and recipe. Confirmed if mean training accuracy is within 0.05 and mean
    validation accuracy within 0.03 of the article's at epoch 10, and validation loss is lowest in epochs 2 to 6 in every seed; else refuted."""
    runs = evidence.runs["relu"]
    if not follows_article(evidence):
        return Finding(NOT_MEASURED, "This is not CIFAR-10 under the article's recipe.")
    if any(outcome(run) == DIVERGED for run in runs):
        return Finding(INCONCLUSIVE, "A run of ReLU diverged.", keys=keys(evidence, "relu"))
    train = estimate([run.metrics["last"][TRAIN_ACCURACY] for run in runs])
    validation = estimate([run.metrics["last"][VAL_ACCURACY] for run in runs])
    lowest = [int(run.history["epoch"].iloc[run.history[VAL_LOSS].argmin()]) for run in runs]
    near = abs(train.value - ARTICLE["train"][-1]) <= 0.05 and abs(validation.value - ARTICLE["val"][-1]) <= 0.03
    verdict = CONFIRMED if near and all(abs(epoch - LOWEST_LOSS) <= 2 for epoch in lowest) else REFUTED
    sentence = (
        f"Here: {train.value:.3f} training and {validation.value:.3f} {validation_label(runs[0].metrics)} accuracy after epoch "
        f"{runs[0].metrics['epochs']}, lowest loss at epoch {', '.join(map(str, lowest))}."
    )
    return measured(verdict, sentence, validation, "validation accuracy", keys(evidence, "relu"))
