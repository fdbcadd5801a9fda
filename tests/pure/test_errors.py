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
"""

WRONG = {
    "dp.step(pipeline, stream, (0, 0))": (
        "TypeError",
        "cursor is of type tuple; expected a Cursor: write stream.start(), or "
        "Cursor(epoch, offset).",
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
    'dp.ArraySource({"x": np.array([1e300])})': (
        "ValueError",
        "Field `x` holds numbers from 0.0 to 1e+300, which float32 cannot hold; re-scale them, or "
        "set `jax_enable_x64`.",
    ),
    'scan("2")': ("TypeError", "length is '2' of type str; expected an int."),
    "scan(True)": ("TypeError", "length is True of type bool; expected an int."),
    "scan(2.0)": ("TypeError", "length is 2.0 of type float; expected an int."),
    "dp.scan(3, 0, pipeline, stream, stream.start(), length=1)": (
        "TypeError",
        "The step function is 3 of type int, which cannot be called; pass a function of "
        "(carry, batch).",
    ),
}

RIGHT = [
    'dp.ArraySource({"x": np.array([1.0, np.inf, np.nan])})',
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
def test_what_is_unusual_but_right_is_welcome(
    answers: dict[str, tuple[str, str]], call: str
) -> None:
    assert answers[call] == ("nothing", "")
