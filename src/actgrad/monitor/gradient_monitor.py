"""A Keras callback that records what every training step does to every layer."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np
import pandas as pd

from actgrad.diagnosis.rules import RULES, Measurements, diagnose
from actgrad.diagnosis.signal import of_measurement
from actgrad.monitor.layers import WeightedLayer, call_order, weighted_layers
from actgrad.monitor.probe import ActivationProbe
from actgrad.monitor.recording import At, Recording
from actgrad.monitor.sites import say_once

CAPACITY = 256
"""Steps that are kept on the device before they are read."""
PROBED_STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
"""After these steps the probe is measured too, because most of what happens to units happens early."""
STEP_COLUMNS = ("grad_norm", "update_norm", "weight_norm")


class GradientMonitor(keras.callbacks.Callback):
    """Records the gradient, the update and the weights of each layer at every step of `model.fit`, without changing a bit of it.

    Pass it as a callback. It can be used for several calls of `fit` of one model, also on a compiled and fitted one.
    After each epoch, it adds `grad_norm/<layer>` (mean over the steps of the epoch), `update_ratio/<layer>` (likewise, of
    update norm by weight norm) and, with a probe, `dead/<layer>` to the logs, so that callbacks behind it in the list record
    them, as do History and the like.

    Args:
        probe: (x, y) or (x, y, sample_weight): a batch on which forward and backward signal are measured before training, at
            steps 1, 2, 4, …, 128 and after each epoch. About 500 examples are enough.
        census: x of the whole training split, on which dead units are counted once more at the end.
        at: `gradient`, what back-propagation gave, of the mini-batch and without the scale of a scaled loss; or `update`, what
            the optimizer's rule is given, after accumulation and clipping.

    Attributes:
        steps: one row a step and layer.
        probes: one row a measurement of the probe and layer.
        layers: one row a layer with trained weights, in the order in which the network computes.
        census: layer, units, dead: dead units on the whole training split after the last `fit`; None without `census`.
    """

    def __init__(self, probe: Sequence[Any] | None = None, census: Any = None, at: At = "gradient"):
        super().__init__()
        if at not in ("gradient", "update"):
            raise ValueError(f"at={at!r} is not known; choose 'gradient' or 'update'")
        if probe is not None and (not isinstance(probe, (tuple, list)) or len(probe) not in (2, 3)):
            raise ValueError("probe must be (x, y) or (x, y, sample_weight), for example probe=(x_val[:512], y_val[:512])")
        self._at, self._probe_data, self._census_data = at, probe, census
        self._recording: Recording | None = None
        self._probe: ActivationProbe | None = None
        self._measured: keras.Model | None = None
        self._layers: list[WeightedLayer] = []
        self._order: list[int] = []
        self._norms: list[np.ndarray] = []
        self._probes: list[pd.DataFrame] = []
        self._of_step: int | None = None
        self._step, self._since_read, self._epoch_steps, self._first_of_epoch = 0, 0, 0, 0
        self._frame: FrameType | None = None
        self._order_watch: Callable[[], None] | None = None
        self._said_updates = False
        self.census: pd.DataFrame | None = None

    # --- what was measured

    @property
    def steps(self) -> pd.DataFrame:
        """step (from 1), layer, grad_norm, update_norm, weight_norm: L2 norms over the trained weights of a layer; the last
        before the update. And per element: grad_rms; and update_ratio, update_norm by weight_norm.
        """
        if self._recording is not None:
            self._read()
        norms = np.concatenate(self._norms) if self._norms else np.zeros((0, len(self._layers), len(STEP_COLUMNS)))
        order = self._in_order()
        table = pd.DataFrame(norms[:, order].reshape(-1, len(STEP_COLUMNS)), columns=list(STEP_COLUMNS))
        table.insert(0, "step", np.repeat(np.arange(1, len(norms) + 1), len(order)))
        table.insert(1, "layer", [self._layers[i].name for i in order] * len(norms))
        size = np.tile(np.sqrt([self._layers[i].parameters for i in order]), len(norms))
        table["grad_rms"] = table["grad_norm"] / size
        with np.errstate(divide="ignore", invalid="ignore"):
            table["update_ratio"] = table["update_norm"] / table["weight_norm"]
        return table

    @property
    def probes(self) -> pd.DataFrame:
        """step, layer, and what `ActivationProbe` measures; step 0 is before any update."""
        return pd.concat(self._probes, ignore_index=True) if self._probes else pd.DataFrame({"step": [], "layer": []})

    @property
    def layers(self) -> pd.DataFrame:
        """layer, kind (its class), parameters (trained weights), in the order in which the network computes."""
        layers = [self._layers[i] for i in self._in_order()]
        return pd.DataFrame(
            {
                "layer": [one.name for one in layers],
                "kind": [type(one.layer).__name__ for one in layers],
                "parameters": [one.parameters for one in layers],
            }
        )

    @property
    def attenuation(self) -> pd.Series:
        """For each step at which the probe was measured: decades by which `preact_grad_rms` shrinks from the last to the first site."""
        return pd.Series({int(step): of_measurement(of_step) for step, of_step in self.probes.groupby("step")}, name="attenuation", dtype=float)

    @property
    def units(self) -> pd.DataFrame:
        """Each unit that was dead at some measurement, or in the census: layer, unit; died, revived: the step at which it was first seen
        dead, and then alive again; dead: at the last measurement; dead_in_census: on the whole training split, missing without one.
        """
        history = self._probe.dead_units if self._probe is not None else []
        census = self._probe.dead_in_census if self._probe is not None else {}
        steps = [int(table["step"].iloc[0]) for table in self._probes]
        rows = []
        for layer in history[0] if history else ():
            dead = np.array([at[layer] for at in history])
            counted = census.get(layer)
            for unit in np.flatnonzero(dead.any(axis=0) | (False if counted is None else counted)):
                seen = dead[:, unit]
                died = int(seen.argmax()) if seen.any() else None
                again = [] if died is None else np.flatnonzero(~seen[died:])
                of_unit = {"layer": layer, "unit": int(unit), "died": None if died is None else steps[died]}
                of_unit |= {"revived": steps[died + again[0]] if len(again) else None, "dead": bool(seen[-1])}
                rows.append(of_unit | {"dead_in_census": None if counted is None else bool(counted[unit])})
        types = {"died": "Int64", "revived": "Int64", "dead_in_census": "boolean"}
        return pd.DataFrame(rows, columns=["layer", "unit", "died", "revived", "dead", "dead_in_census"]).astype(types)

    def diagnose(self, path: str | Path | None = None) -> pd.DataFrame:
        """What published rules say of the training; see diagnosis.rules. With a path, it is also written there as JSON,
        where a value that is not finite is null.
        """
        findings = diagnose(Measurements(self.steps, self.probes, self.layers, self._classes()))
        if path is not None:
            rows = [row | {"value": row["value"] if math.isfinite(row["value"]) else None} for row in findings.to_dict("records")]
            records = {"findings": rows, "steps": self._step, "rules": len(RULES)}
            Path(path).write_text(json.dumps(records, indent=1, allow_nan=False) + "\n")
        return findings

    def report(self, path: str | Path) -> Path:
        """Write one self-contained page: signals layer by layer, norms and ratios over the steps, units, findings.

        Raises:
            ValueError: if nothing was measured.
            ImportError: if Altair or vl-convert-python, which draw it, are not installed.
        """
        if not self._norms and not self._probes:
            raise ValueError("nothing was measured, so there is nothing to report; give the monitor to model.fit(…, callbacks=[monitor]) first")
        from actgrad.diagnosis.page import page

        path = Path(path)
        path.write_text(page(self.steps, self.probes, self.layers, self.diagnose()), encoding="utf-8")
        return path

    def _classes(self) -> int | None:
        """Number of classes of a classifier, else None."""
        shape = getattr(self._measured, "output_shape", None) if self._measured is not None else None
        loss = getattr(self._measured, "loss", None)
        name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
        return shape[-1] if isinstance(shape, tuple) and shape and "categorical_crossentropy" in str(name) else None

    def _in_order(self) -> list[int]:
        """Positions in `_layers`: first those that were called, in that order."""
        called = {layer: place for place, layer in enumerate(self._order)}
        return sorted(range(len(self._layers)), key=lambda i: called.get(id(self._layers[i].layer), math.inf))

    # --- fit

    def on_train_begin(self, logs: dict | None = None) -> None:
        model, frame = self.model, _fit_of(self.model)
        if self._recording is not None:
            if self._frame is not None and _is_running(self._frame):
                raise ValueError("this GradientMonitor is used by a fit that still runs; give each fit a monitor of its own")
            self._stop()  # an exception ended the last fit
        self._frame = frame
        self._start(model, model.optimizer)
        model.make_train_function(force=True)  # one that was traced before would go on without recording
        _quiet_bar(frame)
        if self._probe is not None and not self._probes:
            self._measure(0)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        done = batch + 1 - self._epoch_steps
        self._epoch_steps = batch + 1
        self._steps_done(done)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch_steps, self._first_of_epoch = 0, self._step

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._read()
        updates = sum(map(len, self._norms))
        if updates != self._step and self._recording is not None and not self._said_updates:
            self._said_updates = True
            say_once(f"the optimizer was given {updates} updates in {self._step} steps; a step of `steps` is an update")
        if self._probe is not None and self._of_step != self._step:
            self._measure(self._step)
        if logs is not None:
            logs.update(self._summary())

    def on_train_end(self, logs: dict | None = None) -> None:
        self._stop()
        if self._census_data is not None and self._probe is not None:
            self.census = self._probe.census(self._census_data)

    # --- a loop of one's own

    @contextmanager
    def watching(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator["GradientMonitor"]:
        """Record a training loop that does not call `fit`. The loop calls `step_done()` after each step, and may call `measure()`.

        Enter it before a step is traced or compiled. On TensorFlow and PyTorch the loop applies gradients by `optimizer.apply`, on
        JAX by `optimizer.stateless_apply`.
        """
        self._start(model, optimizer)
        try:
            yield self
        finally:
            self._stop()

    def step_done(self) -> None:
        """Say that a step of a loop of one's own has ended."""
        self._steps_done(1)

    def measure(self) -> None:
        """Measure the probe now."""
        self._measure(self._step)

    # --- start, read, stop

    def _start(self, model: keras.Model, optimizer: keras.optimizers.Optimizer | None) -> None:
        if self._measured is not None and model is not self._measured:
            raise ValueError("this GradientMonitor has measured another model; make a new one for this model")
        if optimizer is None or not isinstance(optimizer, keras.optimizers.Optimizer):
            raise ValueError("the model has no Keras optimizer; call model.compile(optimizer=…, loss=…) before fit")
        self._measured = model
        if self._probe_data is not None and self._probe is None:
            self._probe = ActivationProbe(model, *self._probe_data)
        if model.built and not model.trainable_variables:
            raise ValueError("the model has no trainable weight, so no gradient reaches any; set layer.trainable = True where you want to train")
        capacity = max(CAPACITY, 2 * (getattr(model, "steps_per_execution", 1) or 1))
        self._capacity = capacity
        self._order_watch = None
        replicas = getattr(getattr(model, "distribute_strategy", None), "num_replicas_in_sync", 1)
        if replicas > 1:
            say_once(f"the model is trained by tf.distribute on {replicas} replicas, whose steps cannot be recorded; only the probe is measured")
            return
        self._recording = Recording(optimizer, self._at, capacity)
        self._recording.start()
        self._order_watch = call_order(model, self._order) if not self._order else None

    def _steps_done(self, steps: int) -> None:
        self._step += steps
        self._since_read += steps
        if self._order_watch is not None:
            self._order_watch()
            self._order_watch = None
        if self._recording is not None and self._since_read + steps > self._capacity - steps:
            self._read()
        if self._probe is not None and any(self._step - steps < at <= self._step for at in PROBED_STEPS):
            self._measure(self._step)

    def _read(self) -> None:
        recording = self._recording
        if recording is None:
            return
        rows = recording.read()
        self._since_read = 0
        if not len(rows):
            return
        self._find_layers()
        place = {id(variable): i for i, variable in enumerate(recording.variables)}
        columns = [[place[id(variable)] for variable in one.variables if id(variable) in place] for one in self._layers]
        # together in float64, where no square of a float32 is lost
        self._norms.append(np.stack([np.sqrt(np.square(rows[:, of_layer]).sum(axis=1)) for of_layer in columns], axis=1))

    def _find_layers(self) -> None:
        if not self._layers:
            self._layers = weighted_layers(self._measured)

    def _measure(self, step: int) -> None:
        self._find_layers()
        if keras.backend.backend() == "jax" and hasattr(self._measured, "jax_state_sync"):
            self._measured.jax_state_sync()
        table = self._probe.measure()
        table.insert(0, "step", step)
        self._probes.append(table)
        self._of_step = step

    def _stop(self) -> None:
        if self._recording is None:
            return
        self._read()
        self._recording.stop()
        if self._order_watch is not None:
            self._order_watch()
        self._recording = self._order_watch = self._frame = None
        if hasattr(self._measured, "train_function"):
            self._measured.train_function = None  # it has the recording in it

    def _summary(self) -> dict[str, float]:
        """What is added to the logs of an epoch."""
        table = self.steps
        table = table[table["step"] > self._first_of_epoch]
        means = table.groupby("layer", sort=False)[["grad_norm", "update_ratio"]].mean()
        values = {f"{name}/{layer}": float(value) for name in means for layer, value in means[name].items()}
        if self._probes:
            last = self._probes[-1].dropna(subset="dead")
            values |= {f"dead/{layer}": float(dead) for layer, dead in zip(last["layer"], last["dead"], strict=True)}
        return values


# --- the fit that runs


def _fit_of(model: keras.Model) -> FrameType | None:
    """The call of `fit` that this callback is called by."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not (frame.f_code.co_name == "fit" and frame.f_locals.get("self") is model and "callbacks" in frame.f_locals):
        frame = frame.f_back
    return frame


def _is_running(frame: FrameType) -> bool:
    """Whether a call has not ended, in whatever thread."""
    for top in sys._current_frames().values():
        while top is not None:
            if top is frame:
                return True
            top = top.f_back
    return False


def _quiet_bar(frame: FrameType | None) -> None:
    """Keep what `on_epoch_end` adds to the logs out of Keras' progress bar, which would print it all in one line."""
    bar = getattr(frame and frame.f_locals["callbacks"], "_progbar", None)
    if bar is None or "on_epoch_end" in vars(bar):
        return
    original = bar.on_epoch_end
    added = ("grad_norm/", "update_ratio/", "dead/")
    bar.on_epoch_end = lambda epoch, logs=None: original(epoch, {k: v for k, v in (logs or {}).items() if not k.startswith(added)})
