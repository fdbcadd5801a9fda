"""Wrong kinds: what an annotation forbids too, and a user without a type checker must be told."""

import pytest

from tests.plainly import told

SETUP = """
import jax, jax.numpy as jnp, numpy as np
import dagrax.pure as dp
source = dp.ArraySource({"x": np.zeros(6, np.float32)})
stream = dp.Stream(source, batch_size=2)
pipeline = dp.Pipeline.linear([lambda batch: batch])
body = lambda carry, batch: (carry, None)
scan = lambda length: dp.scan(body, 0, pipeline, stream, stream.start(), length=length)
graph = lambda stage: dp.Pipeline.from_dag(nodes={"crop": stage}, edges={"crop": []}, sink="crop")
"""

WRONG = {
    'dp.Pipeline({"a": body}, dp.Schedule({"b": []}, "b"))': (
        "ValueError",
        "The stages are `a`, but the schedule is one of `b`; build both by Pipeline.from_dag.",
    ),
    "dp.Pad(3)": (
        "TypeError",
        'Pad was given 3 of type int; expected the name of the field to add: Pad("valid").',
    ),
    'dp.Stream({"x": np.zeros(6)}, batch_size=2)': (
        "TypeError",
        "source is of type dict; expected a source: write ArraySource(data).",
    ),
    "dp.Stream(source, jax.random.PRNGKey(0), batch_size=2)": (
        "TypeError",
        "order is of type ArrayImpl; expected an order: write Shuffled(key), or Sequential().",
    ),
    "dp.step(pipeline, stream, (0, 0))": (
        "TypeError",
        "cursor is of type tuple; expected a Cursor: write stream.start(), or "
        "Cursor(epoch, offset).",
    ),
    "dp.Pipeline.linear(body)": (
        "TypeError",
        "stages is of type function; expected a list of stages: write [normalize, augment].",
    ),
    'dp.outputs(pipeline, {}, "lambda")': (
        "TypeError",
        "nodes is the string 'lambda'; expected a list of names: ['lambda'].",
    ),
    'dp.apply(dp.Pipeline.linear([lambda batch: "x"]), {})': (
        "TypeError",
        "Node `lambda` returned a str in its output; expected a batch, a pytree of arrays. Return "
        "arrays alone.",
    ),
    "dp.scan(lambda c, b: c, 0, pipeline, stream, stream.start(), length=1)": (
        "TypeError",
        "The step function returned i32[]; with a carry it must return a pair (carry, y): return "
        "carry, None if there is nothing to stack.",
    ),
    'dp.Pipeline.from_dag(nodes={1: lambda batch: batch}, edges={1: []}, sink="a")': (
        "ValueError",
        "The graph cannot be built:\n  - a node is named 1; expected a string of at least one "
        "letter.",
    ),
    'dp.ArraySource({"x": np.array([1e300])})': (
        "ValueError",
        "Field `x` holds numbers from 0.0 to 1e+300, which float32 cannot hold; re-scale them, or "
        "set `jax_enable_x64`.",
    ),
    'dp.Stream(source, batch_size="4")': (
        "TypeError",
        "batch_size is '4' of type str; expected an int.",
    ),
    "dp.Stream(source, batch_size=True)": (
        "TypeError",
        "batch_size is True of type bool; expected an int.",
    ),
    "dp.Stream(source, batch_size=2.0)": (
        "TypeError",
        "batch_size is 2.0 of type float; expected an int.",
    ),
    "dp.Stream(source, batch_size=None)": (
        "TypeError",
        "batch_size is None of type NoneType; expected an int.",
    ),
    'dp.Stream(source, batch_size=2, remainder="wrap")': (
        "ValueError",
        'remainder is \'wrap\'; expected "partial", "drop", "pad" or "carry", or Pad("name").',
    ),
    "dp.Stream(source, batch_size=2, remainder=None)": (
        "ValueError",
        'remainder is None; expected "partial", "drop", "pad" or "carry", or Pad("name").',
    ),
    'scan("2")': ("TypeError", "length is '2' of type str; expected an int."),
    'dp.Pipeline.linear([lambda b: b], dims={"h": 2.0})': (
        "TypeError",
        "dims gives the axis `h` the size 2.0 of type float; expected an int.",
    ),
    "scan(True)": ("TypeError", "length is True of type bool; expected an int."),
    "scan(2.0)": ("TypeError", "length is 2.0 of type float; expected an int."),
    "dp.scan(3, 0, pipeline, stream, stream.start(), length=1)": (
        "TypeError",
        "The step function is 3 of type int, which cannot be called; pass a function of "
        "(carry, batch).",
    ),
    "graph(3)": (
        "TypeError",
        "Node `crop` is 3 of type int, which cannot be called; pass a function, or give its class "
        "a `__call__`.",
    ),
    'graph("resize")': (
        "TypeError",
        "Node `crop` is 'resize' of type str, which cannot be called; pass a function, or give its "
        "class a `__call__`.",
    ),
    'dp.Schedule({"a": [], "b": "a"}, sink="b")': (
        "ValueError",
        "The graph cannot be built:\n"
        "  - the entry of node `b` is the string 'a'; expected a list of names: write ['a'].",
    ),
}

RIGHT = [
    'dp.ArraySource({"x": np.array([1.0, np.inf, np.nan])})',
    "dp.Stream(source, batch_size=np.int64(2))",
    'dp.Stream(source, batch_size=2, remainder=dp.Pad("mask"))',
    "scan(np.int64(2))",
]


@pytest.fixture(scope="session")
def answers() -> dict[str, tuple[str, str]]:
    return told(SETUP, [*WRONG, *RIGHT])


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_kind_is_named_with_what_was_expected(
    answers: dict[str, tuple[str, str]], call: str
) -> None:
    assert answers[call] == WRONG[call]


@pytest.mark.parametrize("call", RIGHT)
def test_numpy_integers_and_named_pads_are_welcome(
    answers: dict[str, tuple[str, str]], call: str
) -> None:
    assert answers[call] == ("nothing", "")
