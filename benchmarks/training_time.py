"""Measure what actgrad adds to the training of one network: src/train.py compared with plain_keras.py, the script that a user would write.

Each round trains both, each in its own process, in an alternating order, with the same data, epochs, batch size and threads.
src/train.py measures every step and every epoch, keeps a checkpoint, and logs to MLflow. A third process is src/train.py without
TensorFlow's op determinism, always for the same run: it shows the cost of determinism, and how many different results there are without it.
The results are medians over the rounds, and ratios within a round. Epochs are measured in processor time of all threads, because other
work on the machine hardly affects it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
from measuring import PLAIN, environment, parsed, ratio, rounded, shown, write
from tqdm import tqdm

from actgrad.config import composing, loading
from actgrad.console import run_script
from actgrad.data import storage
from actgrad.errors import UserError
from actgrad.files import PROJECT

EXAMPLE = "python benchmarks/training_time.py data=digits --epochs 12"
WAYS = OWN, FREE, KERAS = "actgrad", "actgrad_without_determinism", "plain_keras"
WITHOUT_DETERMINISM = """
import runpy, sys, tensorflow
tensorflow.config.experimental.enable_op_determinism = lambda: None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main() -> None:
    rounds = (6, 1, "fewer than 6 give no 95 %% interval")
    name, arguments = parsed(__doc__, EXAMPLE, rounds=rounds, epochs=(3, 2, "of each training; the first, which compiles, is not timed"))
    recipe = composing.composed([f"data={name}", "run_dir=unused"]).recipe
    storage.load(loading.data_config(name, []))  # raises a UserError if it is missing
    epochs = arguments.epochs
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    weights = set()
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(range(arguments.rounds), desc=name, unit="round", disable=not sys.stderr.isatty()):
            train = [str(PROJECT / "src" / "train.py"), f"data={name}", "activation=relu", f"recipe.epochs={epochs}"]
            commands = {
                OWN: [sys.executable, *train, f"seed={number}", f"run_dir={folder}/{OWN}-{number}"],
                FREE: [sys.executable, "-c", WITHOUT_DETERMINISM, *train, "seed=0", f"run_dir={folder}/{FREE}-{number}"],
                KERAS: [*PLAIN, str(storage.path(name)), str(epochs), str(recipe.batch_size)],
            }
            for way in WAYS if number % 2 else reversed(WAYS):
                store = f"sqlite:///{folder}/{f'{FREE}-{number}' if way == FREE else OWN}.db"  # a store has only one MLflow run per run
                variables = {"MLFLOW_TRACKING_URI": store, "PYTHONPATH": str(PROJECT / "src")}
                threads = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(recipe.threads)) if way == KERAS else {}
                found[way].append(timed(commands[way], variables | threads, epochs))
            weights.add(json.loads(Path(folder, f"{FREE}-{number}", "metrics.json").read_text())["weights_sha256"])
    medians = {way: {key: rounded(np.median([one[key] for one in found[way]])) for key in found[way][0]} for way in WAYS}
    pairs = {f"{way}_to_{other}": [found[way], found[other]] for way, other in ((OWN, KERAS), (OWN, FREE))}
    ratios = {pair: {key: ratio(*([one[key] for one in times] for times in both)) for key in both[0][0]} for pair, both in pairs.items()}
    to_keras, to_free = ratios.values()
    answers = {
        f"{name}: processor time of an epoch, actgrad to plain Keras": shown(to_keras["epoch_processor_s"]),
        f"{name}: seconds beyond the epochs, actgrad": f"{medians[OWN]['beyond_epochs_s']:.1f}",
        f"{name}: seconds beyond the epochs, plain Keras": f"{medians[KERAS]['beyond_epochs_s']:.1f}",
        f"{name}: memory, actgrad to plain Keras": shown(to_keras["memory_mib"]),
        f"{name}: processor time of an epoch, with op determinism to without": shown(to_free["epoch_processor_s"]),
        f"{name}: different results of {arguments.rounds} trainings of one run, without op determinism": str(len(weights)),
    }
    head = {"dataset": name, "rounds": arguments.rounds, "epochs": epochs, "threads": recipe.threads}
    write({**head, **medians, **ratios, "different_weights": len(weights)}, answers)


def timed(command: Sequence[str], variables: dict[str, str], epochs: int) -> dict[str, float]:
    """Run a script that prints one line per epoch.

    Returns:
        Processor time of an epoch with validation, seconds of the process outside its epochs (start, compiling, end), and peak memory.
    """
    ends, lines, began = [], [], time.perf_counter()
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(**variables))
    for line in process.stdout:
        lines.append(line.strip())
        if re.search(r"\bepoch \d+/", line):
            ends.append((sum(process.cpu_times()[:2]), time.perf_counter()))
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status or len(ends) != epochs:
        raise UserError("command-failed", f"{' '.join(command)} failed: {' '.join(lines[-1:])}")
    processor, epoch = (np.array(ends[-1]) - ends[0]) / (epochs - 1)
    return {"epoch_processor_s": processor, "beyond_epochs_s": seconds - epochs * epoch, "memory_mib": usage.ru_maxrss / 1024}


if __name__ == "__main__":
    run_script(main)
