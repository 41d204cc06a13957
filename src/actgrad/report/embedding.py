"""Compact forms of the drawing library and of tables, to embed in the page."""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import pooch
import vl_convert

from actgrad.files import write_bytes

DIGITS = 3
"""Significant digits of a number in a figure. Between 0.1 and 1 there is one more, for accuracies."""


def library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script. Making it takes seconds, so it is kept in the user's cache folder if possible."""
    path = pooch.os_cache("actgrad") / f"vega-{version('vl-convert-python')}.js"
    if path.is_file():
        return path.read_text()
    script = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub lacks the default of snippet
    with suppress(OSError):
        write_bytes(path, script.encode())
    return script


def deflated(text: str) -> str:
    """A text compressed to about a third of its size, for the page's script. base64 would be a fifteenth longer."""
    return base64.b85encode(zlib.compress(text.encode(), 9)).decode()


def packed(tables: Mapping[str, pd.DataFrame]) -> str:
    """Tables as JSON, by columns. Words are stored as indices into a list of distinct words."""
    return json.dumps({name: {column: _column(table[column]) for column in table} for name, table in tables.items()}, separators=(",", ":"))


def _column(values: pd.Series) -> Sequence[Any] | dict[str, Sequence[Any]]:
    if pd.api.types.is_bool_dtype(values):
        return values.tolist()
    if pd.api.types.is_numeric_dtype(values):
        return [
            None if number != number else int(number) if number == int(number) else number for number in _rounded(values.to_numpy(float)).tolist()
        ]
    codes, words = pd.factorize(values)
    return {"words": [*words], "codes": codes.tolist()}


def _rounded(numbers: np.ndarray) -> np.ndarray:
    """Numbers with DIGITS significant digits, or one more; NaN if not finite."""
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    size = np.abs(numbers)
    with np.errstate(divide="ignore", invalid="ignore"):
        places = DIGITS + ((size > 0.1) & (size < 1)) - 1 - np.floor(np.log10(size))
    scale = 10.0 ** np.clip(np.where(size > 0, places, 0), -300, 300)
    return np.where(size < 1e15, np.round(numbers * scale) / scale, numbers)
