"""The search for learning rates: short trials, and the best rate of each activation."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from actgrad.analysis import learning_rates
from actgrad.config.composing import composed, without_local
from actgrad.config.loading import CONF, data_config
from actgrad.config.overrides import swept
from actgrad.data import storage
from actgrad.errors import UserError
from actgrad.files import PROJECT, exclusive_lock, new_folder, write_bytes
from actgrad.pipeline import launchers, status
from actgrad.pipeline.run import without_comparing
from actgrad.pipeline.study import TRAIN, launching_environment
from actgrad.results.paths import OUTPUTS, trials_path
from actgrad.results.run import csv_bytes

SET_HERE = ("data", "condition", "run_dir")
"""Keys of a trial that the search itself sets."""
SEARCHED = ("activation", "recipe.learning_rate", "seed")
"""Keys that may have several values in a search: the table of trials has them."""


def run(dataset: str, overrides: Sequence[str]) -> None:
    """Train the trials, and write their table and conf/rates/<dataset>.yaml.

    Raises:
        UserError: if another key than SEARCHED has several values, the dataset has no validation split, conf/local changes a trial's values,
            a trial fails, or all trials of an activation diverge.
    """
    if own := [one for one in overrides if one.lstrip("+~").partition("=")[0] in SET_HERE]:
        raise UserError("no-use", f"{own[0]} has no use here: src/tune.py itself sets {', '.join(SET_HERE)}; leave it out")
    if others := [key for key in swept(overrides) if key not in SEARCHED]:
        raise UserError("several-values", f"{others[0]} has several values, but a search is over {', '.join(SEARCHED)} alone; give it one value")
    launcher = _launcher(dataset, overrides)
    compared = without_comparing(_dataset_sha256(dataset))
    new_folder(str(OUTPUTS), "outputs")
    with tempfile.TemporaryDirectory(prefix="trials-", dir=OUTPUTS) as folder:
        told = [*launcher, *status.overrides(Path(folder)), *compared]
        command = [*TRAIN, "-m", f"data={dataset}", "condition=tuning", *told, *overrides]
        ended = subprocess.run(command, check=False, env=launching_environment())
        statuses = status.written(Path(folder))
        for warning in status.warnings(statuses):
            print(f"{warning}; the output of these trials has the reasons", flush=True)
        if ended.returncode:
            raise UserError("runs-failed", "the trials did not finish, see above; nothing was written")
        trials = [Path(run_dir) for run_dir in statuses]
        if not trials:
            raise UserError("no-trial", "no trial was trained; name trials with recipe.learning_rate=NUMBER,NUMBER, and leave out run_dir=")
        table = learning_rates.read(trials)
    kept, target = trials_path(dataset), CONF / "rates" / f"{dataset}.yaml"
    with exclusive_lock(OUTPUTS / f"rates-{dataset}.lock", f"writes the learning rates of {dataset}"):
        if kept.is_file():
            earlier = pd.read_csv(kept)
            for sentence in learning_rates.replaced(earlier, table):
                print(sentence)
            table = learning_rates.merged(earlier, table)
        before = yaml.safe_load(target.read_text(encoding="utf-8"))["learning_rate"] if target.is_file() else {}
        text = learning_rates.rates_text(dataset, table, before)
        write_bytes(kept, csv_bytes(table))
        write_bytes(target, text.encode())
    print(learning_rates.best(table).to_string(index=False), "\nat_edge: no smaller or no larger rate was tried, and a better one may lie outside")
    print(f"{target.relative_to(PROJECT)} and {kept}: {len(table)} trials. Train with these rates: condition={learning_rates.TUNED}")


def _launcher(dataset: str, overrides: Sequence[str]) -> list[str]:
    """Overrides for the launcher of conf/local. conf/local may choose where trials are trained, but must not change their values."""
    one = [f"data={dataset}", "condition=tuning", "run_dir=unused"]
    plain, local = composed([*one, *without_local()]), composed(one)
    if local.deciding() != plain.deciding():
        raise UserError(
            "local-values",
            "conf/local/default.yaml sets values of a run, and git does not keep them; take them out, or write them into conf/condition/tuning.yaml",
        )
    return [] if any(given.startswith("hydra/launcher") for given in overrides) else launchers.launcher_overrides(plain.recipe.threads)


def _dataset_sha256(dataset: str) -> str:
    """The sha256 of the dataset's file. Refuses a dataset without a validation split."""
    loaded = storage.load(data_config(dataset, []))
    if not len(loaded.images["val"]):
        raise UserError(
            "no-validation-split",
            f"{dataset} has no validation split, and a learning rate chosen on the test split would spoil it; set data.val_size above 0",
        )
    return loaded.sha256
