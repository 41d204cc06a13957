"""Import Keras quietly and quickly, and make sure that the imported core is the one from the start of the process."""

import functools
import gc
import importlib
import logging
import os
import pkgutil
import pydoc
import sys
from collections.abc import Sequence
from typing import Any

import archspec.cpu

from actgrad.console import muted_stderr, warn
from actgrad.errors import UserError
from actgrad.files import PROJECT
from actgrad.pipeline.environment import SET
from actgrad.results.fingerprint import CORE, CORE_SHA256, OTHER_BACKENDS, core_sha256, own_code_sha256, own_files


@functools.cache
def load_keras() -> None:
    """Import Keras on TensorFlow, without its libraries' output on the screen.

    To save two seconds, Keras finds no scikit-learn, for which it has wrappers, and there are few garbage collections.
    """
    os.environ.update(SET, KERAS_BACKEND="tensorflow")
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # would ask for Keras 2, which is not installed
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    gc.set_threshold(50_000)  # Python's default of 700 new objects is too low for libraries that make millions
    modules: dict[str, Any] = sys.modules  # with None as its module, a name cannot be imported
    absent = modules.setdefault("sklearn", None) is None
    processor = archspec.cpu.host()
    if processor.family.name == "x86_64" and "avx" not in processor.features:  # TensorFlow would abort
        raise UserError("old-processor", f"TensorFlow needs a processor with AVX, which {processor.name} has not; use another machine")
    try:
        with muted_stderr():  # TensorFlow's libraries write there before its log level takes effect
            import keras
    except ValueError as error:  # of a value in keras.json
        raise UserError("wrong-configuration", f"Keras refuses its own file, ~/.keras/keras.json: {error}; mend or remove it") from None
    if absent:
        del sys.modules["sklearn"]
    gc.freeze()  # all imported objects stay
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns about each further network in one process
    keras.config.disable_interactive_logging()  # no progress bar in model.predict


@functools.cache
def load_core() -> None:
    """Import Keras and the whole core, so that later runs of this process do not load files that were edited meanwhile.

    Raises:
        UserError: if it is not the core whose sha256 this process computed at its start.
    """
    load_keras()
    package = PROJECT / "src" / "actgrad"
    for room in CORE:
        for module in pkgutil.walk_packages([str(package / room)], f"actgrad.{room}."):
            if f"{module.name.partition('.')[2].replace('.', '/')}.py" not in OTHER_BACKENDS:
                importlib.import_module(module.name)
    if core_sha256(package) != CORE_SHA256:
        raise UserError("changed-meanwhile", "the code of src/actgrad was edited while this process started; start the same command again")


def load_own_code(paths: Sequence[str]) -> None:
    """Import the modules of dotted paths that are the user's own. They are imported anew, because they may keep something of an earlier run of
    this process. A module that cannot be imported is refused later, with the reason.

    Raises:
        UserError: if a module has changed since this process computed its sha256.
    """
    files = {str(file) for path in paths for file in own_files(path)}
    earlier = {name: module for name, module in sys.modules.items() if getattr(module, "__file__", None) in files}
    for name in earlier:
        del sys.modules[name]
    for path in paths:
        try:
            pydoc.locate(path)
        except pydoc.ErrorDuringImport:
            if path.partition(".")[0] in earlier:  # it registers something that may be registered only once, such as a gradient
                sys.modules.update(earlier)
                warn(f"{path} can be imported only once in a process, so an earlier run may have left something in it", "share modules with others")
        if own_code_sha256.__wrapped__(path) != own_code_sha256(path):
            raise UserError("changed-meanwhile", f"the module of {path} was edited while this process started; start the same command again")
