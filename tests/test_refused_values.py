"""Each error type of pydantic about an unusable value gets a sentence of this project, which says what the value must be."""

from collections.abc import Iterator
from typing import Any

import pytest

from actgrad import errors
from actgrad.config import schema
from actgrad.config.schema import Activation, Condition, Config, Data, Model, Recipe, Strict, Study, Tracking, parse
from actgrad.errors import UserError

SCHEMAS: dict[type[Strict], dict[str, Any]] = {
    Data: {"name": "a", "format": "npz", "val_size": 0},
    Activation: {"name": "a", "layer": "ReLU"},
    Model: {"build": "a.b"},
    Recipe: {
        "input_scaling": "none",
        "kernel_initializer": "he_normal",
        "optimizer": "Adam",
        "learning_rate": 0.1,
        "batch_size": 1,
        "epochs": 1,
        "precision": "float32",
        "threads": 1,
        "steps_per_execution": 1,
        "probe_size": 1,
    },
    Tracking: {"enabled": True, "uri": "", "experiment": ""},
    Condition: {"name": "a"},
    Study: {"datasets": ["a"], "conditions": ["a"], "activations": ["a"], "seeds": [0]},
}
"""Values that can be used."""


def refused(model: type[Strict], **change: Any) -> str:
    with pytest.raises(UserError) as error:
        parse(model, SCHEMAS[model] | change)
    assert error.value.code == "wrong-value"
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("model", "change", "expected"),
    [
        (Recipe, {"epochs": "x"}, "epochs='x' cannot be used: it must be a whole number"),
        (Recipe, {"epochs": 3.0}, "epochs=3.0 cannot be used: it must be a whole number"),
        (Recipe, {"epochs": 0}, "epochs=0 cannot be used: it must be at least 1"),
        (Recipe, {"learning_rate": "x"}, "learning_rate='x' cannot be used: it must be a number"),
        (Recipe, {"learning_rate": 0}, "learning_rate=0.0 cannot be used: it must be above 0"),
        (Recipe, {"learning_rate": float("nan")}, "learning_rate=nan cannot be used: it must be a finite number"),
        (Recipe, {"learning_rate": 10**400}, "learning_rate=inf cannot be used: it must be a finite number"),
        (Recipe, {"optimizer": "adam"}, "it must be 'Adam', 'AdamW', 'SGD' or 'RMSprop'; did you mean Adam?"),
        (Data, {"image_size": 4096}, "image_size=4096 cannot be used: it must be at most 1024"),
        (Data, {"split_seed": 2**32}, "split_seed=4294967296 cannot be used: it must be below 4294967296"),
        (Data, {"archive": ""}, "archive='' cannot be used: it must not be empty"),
        (Data, {"archive": 3}, "archive=3 cannot be used: it must be text; write it in quotes, '3'"),
        (Data, {"name": "a b"}, "name='a b' cannot be used: it must be of letters, digits and _ alone"),
        (Data, {"sha256": "abc"}, "sha256='abc' cannot be used: it must be a sha256: 64 characters of 0-9 and a-f"),
        (Data, {"files": 3}, "files=3 cannot be used: it must be keys and values, {KEY: VALUE}"),
        (
            Data,
            {"files": {"a b": "0" * 64}},
            "the key 'a b' of files cannot be used: it must be the name of a file, of letters, digits, _, - and dots",
        ),
        (Data, {"urls": "x"}, "urls='x' cannot be used: it must be a list; write it as a list, [x]"),
        (Activation, {"layer": "a b"}, "layer='a b' cannot be used: it must be the name of a layer, such as ReLU or my_pkg.acts.Snake"),
        (Activation, {"config": {1: 2}}, "the key 1 of config cannot be used: it must be text; write it in quotes, '1'"),
        (Model, {"build": "build"}, "build='build' cannot be used: it must be the dotted path of a function, such as my_pkg.nets.build"),
        (Tracking, {"enabled": "x"}, "enabled='x' cannot be used: it must be true or false"),
        (Tracking, {"uri": False}, "uri=False cannot be used: it must be text; YAML reads no, yes, on and off as true or false: write it in quotes"),
        (Study, {"seeds": []}, "seeds=[] cannot be used: it must have at least 1 entry"),
        (Study, {"seeds": [0, 0]}, "seeds=[0, 0] cannot be used: 0 is listed twice; remove one"),
    ],
    ids=str,
)
def test_a_refused_value_is_told_what_it_must_be(model, change, expected):
    assert expected in refused(model, **change)


def test_a_group_that_is_no_group():
    with pytest.raises(UserError, match=r"recipe=3 cannot be used: it must be keys and values, {KEY: VALUE}"):
        parse(Config, {"recipe": 3})


# --- no type of error is left out

OF_KINDS = {
    "bool": {"bool_type"},
    "dict": {"dict_type"},
    "float": {"float_type"},
    "function-after": {"value_error"},
    "int": {"int_type"},
    "list": {"list_type"},
    "literal": {"literal_error"},
    "model": {"model_type"},
    "str": {"string_type"},
    **{kind: set() for kind in ("any", "default", "function-before", "model-field", "model-fields", "nullable")},
}
"""Kind of pydantic schema -> types of errors that it raises itself."""
OF_LIMITS = {
    "ge": "greater_than_equal",
    "gt": "greater_than",
    "le": "less_than_equal",
    "lt": "less_than",
    "pattern": "string_pattern_mismatch",
    "max_length": "too_long",
    "min_length": "too_short",
}


def possible(node: Any) -> Iterator[str]:
    """The types of errors that a pydantic schema can raise."""
    of_pydantic: tuple[str, ...] = ()
    if isinstance(node, dict) and isinstance(kind := node.get("type"), str):
        yield from OF_KINDS[kind]  # a missing kind is new in schema.py: add it there
        yield from (("string_too_short" if (kind, limit) == ("str", "min_length") else name) for limit, name in OF_LIMITS.items() if limit in node)
        if node.get("allow_inf_nan") is False:
            yield "finite_number"
        of_pydantic = ("config", "function", "metadata", "serialization")  # no schemas
    for name, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if name not in of_pydantic:
            yield from possible(inner)


@pytest.mark.parametrize("model", [*SCHEMAS, Config], ids=lambda model: model.__name__)
def test_every_error_that_the_schema_can_raise_has_words(model):
    found = set(possible(model.__pydantic_core_schema__))
    assert found
    assert found <= errors.REASONS.keys()


def test_every_pattern_has_words():
    assert {value for name, value in vars(schema).items() if name.isupper() and isinstance(value, str)} == schema.PATTERNS.keys()


def test_an_error_of_a_type_that_is_not_known_is_told_in_pydantics_words():
    assert errors.must_be({"type": "new_in_pydantic", "msg": "Input should be new"}) == "input should be new"
