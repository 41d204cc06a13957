"""A Keras callback that records norms of each layer at every training step."""

import itertools
import json
import math
import sys
import weakref
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
from actgrad.monitor.hooks import around, say
from actgrad.monitor.layers import CallOrder, table_of, weighted_layers
from actgrad.monitor.probe import PROBED_STEPS, ActivationProbe
from actgrad.monitor.recording import At, Recording
from actgrad.monitor.steps import Rows

CAPACITY = 256
"""Number of updates that are kept on the device before they are read."""


class GradientMonitor(keras.callbacks.Callback):
    """Records the gradient, the update and the weights of each layer at every step of `model.fit`, without changing the training.

    Pass it as a callback. It can be used for several calls of `fit` of one model, also if it is already compiled and fitted.
    After each epoch, it adds to the logs `grad_norm/<layer>` and `update_ratio/<layer>` (update norm / weight norm), both means over
    the epoch's steps, and with a probe `dead/<layer>`. Callbacks after it in the list, History and similar tools record these.

    Args:
        probe: (x, y) or (x, y, sample_weight): a batch on which the forward and backward signal is measured before training, at
            steps 1, 2, 4, …, 128 and after each epoch. About 500 examples are enough.
        census: x of the whole training split, on which dead units are counted once more at the end.
        at: `gradient` measures the mini-batch gradient of back-propagation, without loss scaling. `update` measures the gradient
            that the optimizer's rule uses, after accumulation and clipping.

    Attributes:
        steps: one row per step and layer.
        probes: one row per measurement of the probe and layer.
        layers: one row per layer with trained weights, in the order of computation.
        census: layer, units, dead: dead units on the whole training split after the last `fit`; None without `census`.
    """

    def __init__(self, probe: Sequence[Any] | None = None, census: Any = None, at: At = "gradient"):
        super().__init__()
        if at not in ("gradient", "update"):
            raise ValueError(f"at={at!r} is not known; choose 'gradient' or 'update'")
        if probe is not None and (not isinstance(probe, (tuple, list)) or len(probe) not in (2, 3)):
            raise ValueError("probe must be (x, y) or (x, y, sample_weight), for example probe=(x_val[:512], y_val[:512])")
        if census is not None and probe is None:
            raise ValueError("census counts the dead units of the sites that the probe finds; give probe=(x, y) too")
        self._at, self._probe_data, self._census_data = at, probe, census
        self._recording: Any = None
        self._undo: list[Callable[[], None]] = []
        self._fit: weakref.ref | None = None
        self._probe: Any = None
        self._measured: Any = None
        self._compiled_as: Any = None
        self._order = CallOrder()
        self._end_of_order: Callable[[], None] | None = None
        self._rows: list[Rows] = []
        self._now: Rows | None = None
        self._of_epoch: list[np.ndarray] = []
        self._probes: list[pd.DataFrame] = []
        self._step, self._since_read, self._epoch_steps, self._updates_a_step = 0, 0, 0, 0
        self._capacity, self._said_updates = CAPACITY, False
        self.census: pd.DataFrame | None = None

    # --- what was measured

    @property
    def steps(self) -> pd.DataFrame:
        """step (from 1), layer; grad_norm, update_norm, weight_norm: L2 norms over the layer's trained weights, weight_norm before the
        update; grad_rms: gradient norm per element; update_ratio: update_norm / weight_norm. The ratio is missing if the optimizer
        only accumulates, or skips an update whose scaled gradient is not finite.
        """
        self._read()
        counts = [0, *itertools.accumulate(map(len, self._rows))]
        tables = [rows.table(before + 1, self._order) for rows, before in zip(self._rows, counts, strict=False)]
        return pd.concat(tables, ignore_index=True) if tables else Rows([], False).table(1, self._order)

    @property
    def probes(self) -> pd.DataFrame:
        """step, layer, and the columns of `ActivationProbe`; step 0 is before any update."""
        return pd.concat(self._probes, ignore_index=True) if self._probes else pd.DataFrame({"step": [], "layer": []})

    @property
    def layers(self) -> pd.DataFrame:
        """layer, kind (its class), parameters (trained weights), in the order of computation. Layers that were
        frozen after some training are included.
        """
        known = {one.name: one for rows in self._rows for one in rows.layers}
        return table_of(self._order.sort(list(known.values())))

    @property
    def attenuation(self) -> pd.Series:
        """For each step at which the probe was measured: decades by which `preact_grad_rms` shrinks from the last to the first site."""
        return pd.Series(
            {int(step): of_measurement(of_step) for step, of_step in self.probes.groupby("step")},  # type: ignore[arg-type]  # stub: any key
            name="attenuation",
            dtype=float,
        )

    @property
    def units(self) -> pd.DataFrame:
        """One row per unit that was dead at some measurement or in the census: layer, unit; died: step when it was first seen dead;
        revived: step when it was then seen alive again; dead: at the last measurement; dead_in_census: missing without a census.
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
                died = np.flatnonzero(seen)[:1]
                revived = np.flatnonzero(~seen & (np.cumsum(seen) > 0))[:1]
                of_unit = {"layer": layer, "unit": int(unit), "died": steps[died[0]] if len(died) else None}
                of_unit |= {"revived": steps[revived[0]] if len(revived) else None, "dead": bool(seen[-1])}
                rows.append(of_unit | {"dead_in_census": None if counted is None else bool(counted[unit])})
        types = {"died": "Int64", "revived": "Int64", "dead_in_census": "boolean"}
        return pd.DataFrame(rows, columns=["layer", "unit", "died", "revived", "dead", "dead_in_census"]).astype(types)

    def diagnose(self, path: str | Path | None = None) -> pd.DataFrame:
        """Findings of published rules; see diagnosis.rules. With a path, they are also written there as JSON, where a
        value that is not finite is null.
        """
        findings = diagnose(Measurements(self.steps, self.probes, self.layers))
        if path is not None:
            rows = [row | {"value": row["value"] if math.isfinite(row["value"]) else None} for row in findings.to_dict("records")]
            records = {"findings": rows, "steps": self._step, "rules": len(RULES)}
            _with_folder(path).write_text(json.dumps(records, indent=1, allow_nan=False) + "\n")
        return findings

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page: signal layer by layer, norms and ratios over the steps, dead units, findings.

        Raises:
            ValueError: if nothing was measured.
            ImportError: if Altair or vl-convert-python, which draw the charts, are not installed.
        """
        if not any(map(len, self._rows)) and not self._probes:
            raise ValueError("nothing was measured, so there is nothing to report; give the monitor to model.fit(…, callbacks=[monitor]) first")
        from actgrad.diagnosis.page import page

        text = page(self.steps, self.probes, self.layers, self.diagnose())
        _with_folder(path).write_text(text, encoding="utf-8")
        return Path(path)

    # --- fit

    def on_train_begin(self, logs: dict | None = None) -> None:
        model, fit = self.model, _fit_of(self)
        if self._records() and self._fit is not None and not _is_running(self._fit()):
            self.stop()  # an exception ended the last fit
        self._refuse_if_it_records()
        try:
            self._start(model, model.optimizer)
            if fit is not None:
                self._end_with(fit)
            model.make_train_function(force=True)  # an earlier trace would not record
        except BaseException:
            self.stop()
            raise

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        done = batch + 1 - self._epoch_steps
        self._epoch_steps = batch + 1
        self._steps_done(done)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch_steps = 0
        self._read()
        self._of_epoch = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._read()
        updates = sum(map(len, self._of_epoch))
        if 0 < self._epoch_steps - updates < (getattr(self._measured, "steps_per_execution", 1) or 1):
            self._step -= self._epoch_steps - updates  # Keras counts an epoch's last execution as complete
            self._epoch_steps = updates
        if updates != self._epoch_steps and self._records() and not self._said_updates:
            self._said_updates = True
            known = "a step of `steps` is an update" if updates else "perhaps train_step uses another optimizer"
            say(f"the model's optimizer was given {updates} updates in {self._epoch_steps} steps; {known}")
        if self._probe is not None and not (self._probes and self._probes[-1]["step"].iloc[0] == self._step):
            self._measure()
        if logs is not None:
            logs.update(self._summary())

    def on_train_end(self, logs: dict | None = None) -> None:
        self.stop()
        if self._census_data is not None:
            self.census = self._probe.census(self._census_data)

    # --- custom training loops

    @contextmanager
    def watching(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator["GradientMonitor"]:
        """Record a custom training loop. The loop must call `step_done()` after each step, and may call `measure()`.

        Enter this context before a step is traced or compiled. On TensorFlow and PyTorch the loop must apply gradients with
        `optimizer.apply`, on JAX with `optimizer.stateless_apply`.
        """
        self._refuse_if_it_records()
        try:
            self._start(model, optimizer)
            yield self
        finally:
            self.stop()

    def step_done(self) -> None:
        """Call this after each step of a custom loop."""
        self._steps_done(1)

    def measure(self) -> None:
        """Measure the probe now."""
        if self._probe is None:
            raise ValueError("this GradientMonitor has no probe to measure; make it with probe=(x, y)")
        self._measure()

    # --- start, read, stop

    def _start(self, model: keras.Model, optimizer: keras.optimizers.Optimizer | None) -> None:
        if self._measured is not None and model is not self._measured:
            raise ValueError("this GradientMonitor has measured another model; make a new one for this model")
        if optimizer is None or not isinstance(optimizer, keras.optimizers.Optimizer):
            raise ValueError("the model has no Keras optimizer; call model.compile(optimizer=…, loss=…) before fit")
        self._measured, self._now = model, None
        self._make_probe(model)
        if model.built:
            weighted_layers(model)  # raises for what cannot be recorded
        several = _several_devices(model)
        if several:
            say(f"the model is trained {several}, whose steps cannot be recorded; only the probe is measured")
        self._read()
        self._capacity = max(CAPACITY, 2 * (getattr(model, "steps_per_execution", 1) or 1))
        self._since_read = self._updates_a_step = 0
        self._recording = Recording(optimizer, self._at, self._capacity)
        if self._probe is not None and not self._probes:
            self._measure()
        if not several:
            self._recording.start()
            self._end_of_order = None if self._order else self._order.watch(model)

    def _make_probe(self, model: keras.Model) -> None:
        """Make the probe. It is made again if the model was compiled again, perhaps with another loss."""
        compiled_as = getattr(model, "_compile_loss", None)
        if self._probe_data is None or (self._probe is not None and compiled_as is self._compiled_as):
            return
        probe = ActivationProbe(model, *self._probe_data)
        if self._census_data is not None:
            probe.check(self._census_data)
        if self._probe is not None:
            probe.dead_units = self._probe.dead_units
        self._probe, self._compiled_as = probe, compiled_as

    def _end_with(self, fit: keras.callbacks.CallbackList) -> None:
        """Stop recording when this fit ends, even by an exception: as soon as its list of callbacks is deleted, or at the latest when the
        model is trained again.
        """

        def make_train_function(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            if self._fit is not None and not _is_running(self._fit()):
                self._unhook()
            return original(*args, **kwargs)

        self._fit = weakref.ref(fit, lambda _: self._unhook())
        self._undo.append(around(self._measured, "make_train_function", make_train_function))
        if (bar := getattr(fit, "_progbar", None)) is not None:
            self._undo.append(around(bar, "on_epoch_end", _without_layers))

    def _steps_done(self, steps: int) -> None:
        self._step += steps
        self._since_read += steps
        self._end_order()
        if not self._updates_a_step or (self._since_read + steps) * self._updates_a_step > self._capacity:
            self._read()
        if self._probe is not None and any(self._step - steps < at <= self._step for at in PROBED_STEPS):
            self._measure()

    def _end_order(self) -> None:
        if self._end_of_order is not None:
            self._end_of_order()
            self._end_of_order = None

    def _records(self) -> bool:
        return self._recording is not None and self._recording.runs

    def _refuse_if_it_records(self) -> None:
        if self._records():
            raise ValueError("this GradientMonitor is used by a fit or loop that still runs; give each a monitor of its own, or call its stop()")

    def _read(self) -> None:
        rows: Any = self._recording.read() if self._recording is not None else ()
        if len(rows):
            self._of_epoch.append(self._layers_now().add(rows, self._recording.variables))
            self._updates_a_step = self._updates_a_step or math.ceil(len(rows) / max(1, self._since_read))
        self._since_read = 0

    def _layers_now(self) -> Rows:
        """The Rows of the running fit; those of the previous fit, if it trained the same weights."""
        if self._now is None:
            layers, may_skip = weighted_layers(self._measured), self._recording.may_skip
            if not self._rows or not self._rows[-1].are_of(layers, may_skip):
                self._rows.append(Rows(layers, may_skip))
            self._now = self._rows[-1]
        return self._now

    def _measure(self) -> None:
        self._layers_now()
        if keras.backend.backend() == "jax" and hasattr(self._measured, "jax_state_sync"):
            self._measured.jax_state_sync()
        if self._probes and self._probes[-1]["step"].iloc[0] == self._step:  # measured again: the new result counts
            self._probes.pop()
            self._probe.dead_units.pop()
        table = self._probe.measure()
        table.insert(0, "step", self._step)
        self._probes.append(table)

    def stop(self) -> None:
        """Stop recording, as the end of `fit` or `watching` does. Recorded data stays."""
        self._read()
        self._unhook()

    def _unhook(self) -> None:
        """Restore model and optimizer."""
        self._end_order()
        while self._undo:
            self._undo.pop()()
        if self._records():
            self._recording.stop()
            if hasattr(self._measured, "train_function"):
                self._measured.train_function = None  # it contains the recording
        self._fit = None

    def _summary(self) -> dict[str, float]:
        """Values that are added to the logs of an epoch."""
        values = self._layers_now().means(np.concatenate(self._of_epoch)) if self._of_epoch else {}
        if self._probes:
            last = self._probes[-1].dropna(subset="dead")
            values |= {f"dead/{layer}": float(dead) for layer, dead in zip(last["layer"], last["dead"], strict=True)}
        return values


def _with_folder(path: str | Path) -> Path:
    """The path, after its folder was made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(path)


# --- the fit that runs


def _fit_of(monitor: GradientMonitor) -> keras.callbacks.CallbackList | None:
    """The list of callbacks that calls this monitor."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, keras.callbacks.CallbackList) and any(one is monitor for one in found.callbacks):
            return found
        frame = frame.f_back
    return None


def _is_running(fit: keras.callbacks.CallbackList | None) -> bool:
    """Whether the call of `fit` that made this list of callbacks is still running, in any thread."""
    for innermost in sys._current_frames().values():
        frame: FrameType | None = innermost
        while frame is not None and fit is not None:
            if any(value is fit for name, value in frame.f_locals.items() if name not in ("self", "fit")):
                return True
            frame = frame.f_back
    return False


def _without_layers(original: Callable[..., Any], epoch: int, logs: dict | None = None) -> None:
    """Hide the values that `on_epoch_end` adds from Keras' progress bar, which would print them all in one line."""
    added = ("grad_norm/", "update_ratio/", "dead/")
    original(epoch, {name: value for name, value in (logs or {}).items() if not name.startswith(added)})


def _several_devices(model: keras.Model) -> str | None:
    """How several devices train the model together; None for one device."""
    replicas = getattr(getattr(model, "distribute_strategy", None), "num_replicas_in_sync", 1)
    if replicas > 1:
        return f"by tf.distribute on {replicas} replicas"
    return "by keras.distribution" if keras.distribution.distribution() is not None else None
