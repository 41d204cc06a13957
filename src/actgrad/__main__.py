"""python -m actgrad inspect MODEL.keras DATA.npz"""

import argparse
import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path
from typing import NoReturn

import numpy as np

from actgrad.console import muted_stderr, wrong_usage
from actgrad.errors import UserError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PAIRS = (("x", "y"), ("x_val", "y_val"), ("x_train", "y_train"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise wrong_usage(message, self.prog)


def main(arguments: list[str] | None = None) -> int:
    try:
        return _inspect(_given(arguments))
    except UserError as error:
        refused = error
    except OSError as error:
        refused = UserError("unusable-file", str(error))
    except ValueError as error:  # raised by the monitor
        refused = UserError("unmeasurable-model", _of_examples(str(error)))
    print(refused.line, file=sys.stderr)
    return 1


def _of_examples(message: str) -> str:
    """A message of the monitor in words of this command, whose probe is the examples of a file."""
    for theirs, ours in (
        ("the probe's x", "these examples"),
        (" of the probe", ""),
        ("on the probe", "on these examples"),
        ("the probe", "the file"),
    ):
        message = message.replace(theirs, ours)
    return message


def _given(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m actgrad", description="Look at a Keras model: does its gradient vanish, where, and why?")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("inspect", help="measure a saved model on some examples, without training it")
    one.add_argument("model", help="a .keras file")
    one.add_argument("data", help="an .npz file with arrays x and y (or x_val and y_val, or x_train and y_train)")
    one.add_argument("--examples", type=int, default=256, metavar="N", help="number of examples to use; default: %(default)s")
    one.add_argument("--loss", help="for a model that was saved without one, for example sparse_categorical_crossentropy")
    one.add_argument("--run-its-code", action="store_true", help="allow the code that a saved model may contain; only for a file that you trust")
    one.add_argument("--csv", metavar="FILE", help="write the table there too")
    return parser.parse_args(arguments)


def _inspect(given: argparse.Namespace) -> int:
    if "KERAS_BACKEND" not in os.environ:
        if not (backend := _backend()):
            raise UserError("missing-packages", "Keras needs TensorFlow, JAX or PyTorch, and none is installed; pip install tensorflow")
        os.environ["KERAS_BACKEND"] = backend
    with muted_stderr():  # libraries write there before their log level takes effect
        import keras

    import actgrad

    if given.examples < 2:
        raise UserError("wrong-value", f"--examples={given.examples} is too few; give 2 or more")
    for path in (given.model, given.data):
        if not Path(path).is_file():
            raise UserError("missing-file", f"{path} is not there; give the path of a file")
    x, y = _examples(given.data, given.examples)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")  # the model has not been trained yet
            model = keras.saving.load_model(given.model, safe_mode=not given.run_its_code)
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError("model-not-loaded", f"{given.model} cannot be loaded: {reason[:300]}") from None
    x = x.astype("float32") if x.dtype == np.uint8 else x
    found = actgrad.inspect(model, x, y, loss=given.loss)
    print(found)
    if given.csv:
        found.table.to_csv(given.csv, index=False)
    return 0


def _backend() -> str | None:
    """The backend that keras.json names if it is installed, else the first that is. Keras writes that file itself, whatever is installed."""
    try:
        named = json.loads((Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError):
        named = "tensorflow"
    return next((name for name in (named, "tensorflow", "jax", "torch") if importlib.util.find_spec(name)), None)


def _examples(path: str, examples: int) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays.files
            found = [arrays[name] for name in next((pair for pair in PAIRS if set(pair) <= set(names)), ())]
    except Exception:  # NumPy's own message suggests allowing pickle
        raise UserError("damaged-file", f"{path} cannot be read as an .npz file of numbers; write it with numpy.savez(FILE, x=…, y=…)") from None
    if not found:
        raise UserError("missing-part", f"{path} has the arrays {', '.join(names)}; it needs x and y, x_val and y_val, or x_train and y_train")
    lengths = [len(array) if array.ndim else 0 for array in found]
    if lengths[0] != lengths[1]:
        raise UserError("wrong-arrays", f"{path} has {lengths[0]} examples and {lengths[1]} labels; give one label for each")
    used = [array[:examples] for array in found]
    if used[0].dtype.kind == "f" and not np.isfinite(used[0]).all():
        raise UserError("wrong-arrays", f"{path} has examples with NaN or infinity; remove or mend them")
    return used


if __name__ == "__main__":
    sys.exit(main())
