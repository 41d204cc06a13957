"""The fingerprint of a run: one sha256 over all that decides its bytes."""

import ast
import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CORE = ("monitor", "networks", "training")
"""The rooms of this package that alone decide numbers."""
OTHER_BACKENDS = ("monitor/backends/jax.py", "monitor/backends/torch.py")
"""Files of these rooms that the study, which computes in TensorFlow, does not import."""


def fingerprint(deciding: Mapping[str, Any], data_sha256: str, core_sha256: str, environment: Mapping[str, str]) -> str:
    """One sha256 over the configuration, the dataset, the core, the module of an own activation layer, and the environment."""
    layer = own_layer_sha256(deciding["activation"]["layer"])
    parts = {"configuration": deciding, "data": data_sha256, "core": core_sha256, "layer": layer, "environment": environment}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def core_sha256(package: Path) -> str:
    """sha256 over the meaning of the core in a folder of this package: its syntax, without docstrings, comments, formatting and the
    text of errors.

    Raises:
        FileNotFoundError: if the folder holds no such core.
    """
    digest = hashlib.sha256()
    for room in CORE:
        files = sorted(file for file in (package / room).rglob("*.py") if file.relative_to(package).as_posix() not in OTHER_BACKENDS)
        if not files:
            raise FileNotFoundError(package / room)
        for file in files:
            meaning = "".join(_tokens(ast.parse(file.read_bytes())))
            digest.update(f"{file.relative_to(package).as_posix()}\n{meaning}\n".encode())
    return digest.hexdigest()


def _tokens(node: Any) -> Iterator[str]:
    """A syntax tree as text that does not depend on the version of Python: ast.dump's does."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12.1 puts an empty text behind a format
        node.values = [value for value in node.values if not (isinstance(value, ast.Constant) and value.value == "")]
    if isinstance(node, list):
        yield "["
        for item in node:
            if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)):  # a docstring
                yield from _tokens(item)
        yield "]"
    elif isinstance(node, ast.Raise):
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        yield "Raise("
        yield from _tokens(raised)
        yield ")"
    elif isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if value is not None and value != [] and name not in ("ctx", "kind", "type_comment"):
                yield f"{name}="
                yield from _tokens(value)
        yield ")"
    else:
        yield f"{node!r},"


CORE_SHA256 = core_sha256(Path(__file__).parents[1])
"""Of the core that this process runs: taken when the process starts, because its files may be edited while it trains."""


@functools.cache  # for the same reason: a process imports a module once
def own_layer_sha256(path: str) -> str:
    """sha256 over the Python files of the package, or of the module, that an activation layer's dotted path begins with; empty for
    a layer of Keras or of this project, and for one that is not found in a file."""
    top = path.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top) if "." in path and top not in ("keras", "actgrad") else None
    except ValueError:  # a module without a specification: __main__
        spec = None
    if spec is None or not (spec.has_location or spec.submodule_search_locations):
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.rglob("*.py")) or [Path(spec.origin)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
