"""Wrong kinds: what an annotation forbids too, and a user without a type checker must be told."""

import pytest

from tests.plainly import told

SETUP = """
import jax, jax.numpy as jnp, numpy as np
import dagrax.pure as dp
source = dp.ArraySource({"x": np.zeros(6, np.float32)})
"""

WRONG = {
    'dp.ArraySource({"x": np.array([1e300])})': (
        "ValueError",
        "Field `x` holds numbers from 0.0 to 1e+300, which float32 cannot hold; re-scale them, or "
        "set `jax_enable_x64`.",
    ),
}

RIGHT = [
    'dp.ArraySource({"x": np.array([1.0, np.inf, np.nan])})',
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
