"""Progress of a training: a bar at a terminal, or one line per epoch in a log."""

import multiprocessing
import sys
from collections.abc import Sequence

import keras
from tqdm import tqdm

from actgrad.config.schema import Config
from actgrad.training.epochs import Epoch
from actgrad.training.names import HISTORY


class Progress(keras.callbacks.Callback):
    """A Keras callback for the steps and an observer for the epochs of one run."""

    def __init__(self, config: Config, steps: int):
        super().__init__()
        self._key, self._epochs = config.key, config.recipe.epochs
        self._bar: tqdm | None = tqdm(desc=config.key, total=steps, unit="step") if _has_terminal() else None

    @property
    def callbacks(self) -> list[keras.callbacks.Callback]:
        """The progress bar's callback, if there is a bar. Without one, reading the loss after every step would waste time."""
        return [self] if self._bar is not None else []

    def on_train_begin(self, logs=None):  # noqa: ARG002
        if self._bar is not None:
            self._before = self._bar.n  # an epoch may be trained in several parts

    def on_train_batch_end(self, batch, logs=None):
        if self._bar is None:
            return
        done = min(batch + 1, self.params["steps"])  # Keras counts the last execution of several steps as complete
        self._bar.update(self._before + done - self._bar.n)
        self._bar.set_postfix(loss=f"{logs['loss']:.4f}", accuracy=f"{logs['accuracy']:.4f}", refresh=False)

    def resumed(self, epochs: Sequence[Epoch]) -> None:
        if self._bar is not None:
            self._bar.update(epochs[-1].step - self._bar.n)
        print(f"{self._key}  goes on after epoch {epochs[-1].number}/{self._epochs}", flush=True)

    def epoch_finished(self, epoch: Epoch) -> None:
        if epoch.number == 0:
            return
        if epoch.history:
            text = ", ".join([*(f"{name} {epoch.history[name]:.4f}" for name in HISTORY), *gradient(epoch)])
        else:
            text = f"diverged: loss or gradient is not finite after step {epoch.step}"
        line = f"{self._key}  epoch {epoch.number}/{self._epochs}  {text}"
        if self._bar is None:
            print(line, flush=True)
            return
        self._bar.write(line)
        if epoch.number == self._epochs or not epoch.history:
            self._bar.close()


def gradient(epoch: Epoch) -> list[str]:
    """dL/dz at the first and last activated layer, in words; empty if there are fewer than two."""
    signal = epoch.probe.loc[epoch.probe["hidden"], "preact_grad_rms"]
    return [f"grad first {signal.iloc[0]:.2g}, last {signal.iloc[-1]:.2g}"] if len(signal) > 1 else []


def _has_terminal() -> bool:
    """Whether there is a terminal, and no other run trains at the same time."""
    return sys.stderr.isatty() and multiprocessing.current_process().name == "MainProcess"
