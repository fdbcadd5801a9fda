"""How shapes, places, names and kinds are written, wherever they are."""

import collections
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from dagrax.pure._text import (
    fields_text,
    listed,
    near,
    of_type,
    path_text,
    spec_text,
    specs,
    suggestion,
    valued,
)


class Pair(NamedTuple):
    left: Any
    right: Any


X, LABEL = np.zeros((4, 3), np.float32), np.zeros(4, np.int32)
SHAPES: dict[str, tuple[Any, str]] = {
    "floats": (X, "f32[4,3]"),
    "half floats": (np.zeros(2, np.float16), "f16[2]"),
    "bfloat16": (np.zeros(2, ml_dtypes.bfloat16), "bf16[2]"),
    "8-bit floats": (np.zeros(2, ml_dtypes.float8_e4m3fn), "f8_e4m3fn[2]"),
    "integers": (LABEL, "i32[4]"),
    "bytes": (np.zeros((4, 2, 2, 3), np.uint8), "u8[4,2,2,3]"),
    "4-bit integers": (jnp.zeros(2, jnp.int4), "i4[2]"),
    "booleans": (LABEL > 0, "bool[4]"),
    "complex numbers": (np.zeros(2, np.complex64), "c64[2]"),
    "no records": (np.zeros((0, 3), np.float32), "f32[0,3]"),
    "a key": (jax.random.key(0), "key<fry>[]"),
    "keys": (jax.random.split(jax.random.key(0), 3), "key<fry>[3]"),
    "a number": (1.5, "f32[]"),
    "an integer": (3, "i32[]"),
    "a truth value": (True, "bool[]"),
    "a number of NumPy": (np.uint8(3), "u8[]"),
    "a shape without numbers": (jax.ShapeDtypeStruct((4,), jnp.float32), "f32[4]"),
    "numbers that JAX would narrow": (np.zeros(2), "f32[2]"),
    "a dict": ({"x": X, "label": LABEL}, "{label: i32[4], x: f32[4,3]}"),
    "an OrderedDict": (
        collections.OrderedDict(x=X, label=LABEL),
        "{x: f32[4,3], label: i32[4]}",
    ),
    "a nested dict": ({"meta": {"camera": LABEL}}, "{meta/camera: i32[4]}"),
    "a tuple": ((X, LABEL), "{0: f32[4,3], 1: i32[4]}"),
    "a NamedTuple": (Pair(X, [LABEL]), "{left: f32[4,3], right/0: i32[4]}"),
    "nothing": (None, "None"),
    "an empty dict": ({}, "{}"),
}


@pytest.mark.parametrize(("value", "text"), SHAPES.values(), ids=SHAPES)
def test_item_47_a_shape_has_one_spelling(value: Any, text: str) -> None:
    assert spec_text(value) == text
    assert spec_text(specs(value)) == text
    if text.startswith("{"):
        assert fields_text(value) == text[1:-1]


def test_what_has_no_shape_is_written_as_its_type() -> None:
    assert spec_text((X, jnp.tanh)) == "{0: f32[4,3], 1: PjitFunction}"
    assert spec_text("relu") == "str"


def test_item_47_what_is_traced_is_spelt_like_what_is_there() -> None:
    told = []

    @jax.jit
    def traced(x: Any) -> Any:
        told.append(spec_text({"x": x}))
        return x

    traced(X)
    assert told == ["{x: f32[4,3]}"]


def test_a_place_is_written_as_a_user_would_type_it() -> None:
    leaves = jax.tree_util.tree_leaves_with_path({"meta": [X, Pair(X, X)], "camera": {3: X}})
    places = [path_text(path) for path, _ in leaves]
    assert places == ["camera/3", "meta/0", "meta/1/left", "meta/1/right"]


def test_names_are_listed_and_the_nearest_is_offered() -> None:
    assert listed(["crop", "flip"]) == "`crop`, `flip`"
    assert listed([]) == "none"
    assert near("corp", ["crop", "flip"]) == " Did you mean `crop`?"
    assert near("zzz", ["crop", "flip"]) == ""
    assert suggestion("corp", ["crop", "flip"]) == "Did you mean `crop`?"
    assert suggestion("zzz", ["crop", "flip"]) == "The nodes are `crop`, `flip`."


def test_a_wrong_kind_is_told_by_its_type_and_where_it_helps_by_its_value() -> None:
    assert of_type("source", {}, "a source.") == "source is of type dict; expected a source."
    assert valued("length", "3", "an int.") == "length is '3' of type str; expected an int."
