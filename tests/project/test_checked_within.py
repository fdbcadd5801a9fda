"""What checks a function within a function is made once, and notices each time what it should."""

import gc
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import beartype
import jax.numpy as jnp
import pytest
from jaxtyping import Array, Float

from tests.checked import checked


class Held:
    """What a function may close over."""


def within(by: Any) -> tuple[Any, Any]:
    """Two functions within a function, as the import hook leaves them."""

    def scaled(x: int) -> float:
        return by * x  # type: ignore[no-any-return]

    def joined(a: Float[Array, " n"], b: Float[Array, " n"]) -> Float[Array, " n"]:
        return a + b * by  # type: ignore[no-any-return]

    check = checked(typechecker=beartype.beartype)
    return check(scaled), check(joined)


@pytest.mark.parametrize("by", [0.5, 1.5, 2.5])
def test_a_function_within_a_function_is_checked_each_time_and_is_its_own(by: float) -> None:
    scaled, joined = within(by)
    assert scaled(2) == 2 * by
    assert joined(jnp.ones(2), jnp.ones(2)).tolist() == [1 + by] * 2
    assert list(inspect.signature(joined).parameters) == ["a", "b"]
    wrong: list[Callable[[], object]] = [
        lambda: scaled("2"),
        lambda: within(2)[0](2),  # an integer comes back
        lambda: joined(jnp.ones(2), jnp.ones(3)),
        lambda: joined(jnp.ones(2), b=1),
    ]
    for call in wrong:
        with pytest.raises(Exception, match=r"violates|Type-check"):
            call()


def test_a_check_keeps_nothing_alive() -> None:
    held = Held()
    seen = weakref.ref(held)
    within(held)
    del held
    gc.collect()
    assert seen() is None
