"""Error codes: each has a line in docs/errors.md, and each line there has a code in the source."""

import ast
import errno
import pickle
import re

import pytest

from actgrad.console import refused
from actgrad.errors import PRINTED, UserError
from conftest import ROOT

INDEX = (ROOT / "docs" / "errors.md").read_text()
SOURCES = [path for folder in ("src", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
ROWS = re.findall(r"^\| `([^`]+)` \| (.+) \| (.+) \|$", INDEX, re.MULTILINE)


def codes(source: str) -> list[ast.expr]:
    """The first argument of each UserError in a source file, and of each `refuse` of a listing, which raises one."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call.args[0] for call in calls if ast.unparse(call.func) == "UserError" or getattr(call.func, "attr", "") == "refuse"]


FOUND = [code for path in SOURCES for code in codes(path.read_text())]


def test_the_index_has_the_codes_of_the_source():
    listed = [code for code, _, _ in ROWS]
    assert len(listed) == len(set(listed)) == INDEX.count("\n| `")
    assert set(listed) == {code.value for code in FOUND if isinstance(code, ast.Constant)}


def test_a_code_that_is_no_constant_is_that_of_another_error():
    handed_on = {ast.unparse(code) for code in FOUND if not isinstance(code, ast.Constant)}
    assert handed_on == {"code", "wrong[0].code", "failed[0]['code']"}


def test_codes_are_short_words_and_lines():
    for code, *what in ROWS:
        assert re.fullmatch("[a-z]+(-[a-z]+){0,2}", code), code
        assert all(len(one) <= 80 for one in what), code


def test_a_line_names_the_code_and_the_sentence():
    error = UserError("wrong-value", "seed=x cannot be used")
    assert (str(error), error.line) == ("seed=x cannot be used", "error[wrong-value]: seed=x cannot be used")
    assert PRINTED.sub("", error.line) == str(error)


def test_an_error_goes_from_process_to_process():
    error = pickle.loads(pickle.dumps(UserError("wrong-value", "seed=x cannot be used")))
    assert (error.code, str(error)) == ("wrong-value", "seed=x cannot be used")


def test_a_file_that_cannot_be_used_gets_a_code():
    codes = {number: refused(OSError(number, "said", "file")).code for number in (errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.EACCES)}
    assert list(codes.values()) == ["no-space", "no-space", "missing-file", "unusable-file"]
    with pytest.raises(OSError, match="said"):
        refused(OSError(errno.EIO, "said"))
