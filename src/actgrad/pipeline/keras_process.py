"""Import Keras quietly and quickly, and the core as it was when the process started."""

import functools
import gc
import importlib
import logging
import os
import pkgutil
import pydoc
import sys
from contextlib import suppress
from typing import Any

from actgrad.console import muted_stderr
from actgrad.errors import UserError
from actgrad.files import PROJECT
from actgrad.results.fingerprint import CORE, CORE_SHA256, OTHER_BACKENDS, core_sha256, own_code_sha256


@functools.cache
def load_keras() -> None:
    """Import Keras on TensorFlow, without what its libraries write to the screen.

    It is imported as if scikit-learn, for which it has wrappers, were not installed, and with few garbage collections: that saves two seconds.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # asks for Keras 2, which is not there, in place of the one that is imported here
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    gc.set_threshold(50_000)  # Python's own 700 new objects are soon there where libraries make millions
    modules: dict[str, Any] = sys.modules  # None among them is Python's way to say that a module is not installed
    absent = modules.setdefault("sklearn", None) is None
    with muted_stderr():  # TensorFlow's libraries write lines there before its log level counts
        import keras
    if absent:
        del sys.modules["sklearn"]
    gc.freeze()  # all that is imported stays
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every further network that one process builds
    keras.config.disable_interactive_logging()  # so that model.predict writes no bar


@functools.cache
def load_core() -> None:
    """Import Keras and the whole core, so that no file of it that is edited later is loaded by a later run of this process.

    Raises:
        UserError: if it is not the core whose sha256 this process took when it started.
    """
    load_keras()
    package = PROJECT / "src" / "actgrad"
    for room in CORE:
        for module in pkgutil.walk_packages([str(package / room)], f"actgrad.{room}."):
            if f"{module.name.partition('.')[2].replace('.', '/')}.py" not in OTHER_BACKENDS:
                importlib.import_module(module.name)
    if core_sha256(package) != CORE_SHA256:
        raise UserError("changed-meanwhile", "the code of src/actgrad was edited while this process started; start the same command again")


@functools.cache
def load_own_code(path: str) -> None:
    """Import the module that a dotted path leads to, if it is one of the user's own. One that cannot be imported is refused later, with
    the reason.

    Raises:
        UserError: if it is not the module whose sha256 this process took before.
    """
    with suppress(pydoc.ErrorDuringImport):
        pydoc.locate(path)
    if own_code_sha256.__wrapped__(path) != own_code_sha256(path):
        raise UserError("changed-meanwhile", f"the module of {path} was edited while this process started; start the same command again")
