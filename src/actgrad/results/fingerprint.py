"""The fingerprint of a run: one sha256 over all that decides its bytes."""

import ast
import functools
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actgrad.networks.own_code import is_own

CORE = ("monitor", "networks", "training")
"""The only folders of this package whose code decides numbers."""
OTHER_BACKENDS = ("monitor/backends/jax.py", "monitor/backends/torch.py")
"""Files of these folders that the study does not import, because it uses TensorFlow."""
NO_MEANING = ("annotation", "ctx", "kind", "returns", "type_comment")
"""Fields of syntax trees that decide no number."""


def fingerprint(deciding: Mapping[str, Any], data_sha256: str, core_sha256: str, environment: Mapping[str, str]) -> str:
    """One sha256 over the configuration, the dataset, the core, the user's own activation and model code, and the environment."""
    own_code = [own_code_sha256(path) for path in own_code_paths(deciding)]
    parts = {"configuration": deciding, "data": data_sha256, "core": core_sha256, "own code": own_code, "environment": environment}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def core_sha256(package: Path) -> str:
    """sha256 over the meaning of the core in a folder of this package: its syntax, without docstrings, comments, formatting, annotations
    and sentences.

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
    """A syntax tree as text. Unlike ast.dump's, it does not depend on the version of Python."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12.1 adds an empty text after a format
        words = _is_words(node.values)
        node.values = [value for value in node.values if not (isinstance(value, ast.Constant) and (words or value.value == ""))]
    if isinstance(node, ast.Constant) and _is_words([node]):
        yield "words"
    elif isinstance(node, list):
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
            if value is not None and value != [] and name not in NO_MEANING:
                yield f"{name}="
                yield from _tokens(value)
        yield ")"
    else:
        yield f"{node!r},"


def _is_words(parts: list[ast.expr]) -> bool:
    """Whether texts with two spaces or more stand here: a sentence for people. Names and other values have none."""
    return "".join(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)).count(" ") > 1


CORE_SHA256 = core_sha256(Path(__file__).parents[1])
"""sha256 of the core that this process runs. It is computed at the start, because files may be edited during training."""


def own_code_paths(deciding: Mapping[str, Any]) -> tuple[str, str]:
    """The dotted paths that may lead to the user's own code: the activation layer and the model's builder."""
    return deciding["activation"]["layer"], deciding["model"]["build"]


@functools.cache  # for the same reason; a process imports a module only once
def own_code_sha256(path: str) -> str:
    """sha256 over `own_files`. Empty for code of Keras or this project, and for modules without a file."""
    digest = hashlib.sha256()
    files = own_files(path)
    for file in files:
        digest.update(file.read_bytes().replace(b"\r\n", b"\n"))  # as on a system where Git writes lines so
    return digest.hexdigest() if files else ""


def own_files(path: str) -> list[Path]:
    """The Python files of the user's package or module at the start of a dotted path, and of all modules of the user that it imports. A module
    that is installed is not looked into for imports: others of its kind are not edited.
    """
    return sorted(_files_from(path.partition(".")[0], {})) if is_own(path) else []


def _files_from(top: str, found: dict[Path, None], may_be_installed: bool = True) -> dict[Path, None]:
    if top in ("actgrad", *sys.stdlib_module_names):
        return found
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module without a specification: __main__
        spec = None
    if spec is None or not (spec.has_location or spec.submodule_search_locations):
        return found
    folders = [Path(one) for one in spec.submodule_search_locations or ()]
    files = [file for one in folders for file in one.rglob("*.py")] or ([Path(spec.origin)] if spec.origin else [])
    installed = (folders or files)[0].parent.name in ("site-packages", "dist-packages")
    for file in files if may_be_installed or not installed else ():
        if file not in found:
            found[file] = None
            for other in () if installed else _imported(file):
                _files_from(other, found, may_be_installed=False)
    return found


def _imported(file: Path) -> set[str]:
    """The names of the top-level modules that a file imports."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # refused when it is imported
        return set()
    nodes = list(ast.walk(tree))
    whole = {alias.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return whole | {node.module.partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module}
