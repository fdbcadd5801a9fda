"""64-bit arithmetic in pairs of words equals that of Python's whole numbers."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dagrax.pure._orders import _wide
from dagrax.pure._orders._wide import Wide

MODULUS = 2**64
EDGES = [0, 1, 2, 3, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1]
words = st.sampled_from(EDGES) | st.integers(0, 2**32 - 1) | st.integers(0, 2**17)
lists = st.lists(st.tuples(*[words] * 5), min_size=32, max_size=32)  # one shape for all


@jax.jit
def everything(x: Wide, y: Wide, by: jax.Array) -> list[Wide | jax.Array]:
    a, b = x.low, y.low
    return [
        _wide.product(a, b),
        _wide.high_product(a, b),
        _wide.plus(x, y),
        _wide.minus(x, y),
        _wide.less(x, y),
        _wide.running(x),
        *_wide.divided(x, by),
        _wide.wide(a),
    ]


def expected(x: list[int], y: list[int], by: list[int]) -> list[list[int]]:
    low, both = (
        [(a % 2**32, b % 2**32) for a, b in zip(x, y, strict=True)],
        list(zip(x, y, strict=True)),
    )
    return [
        [a * b for a, b in low],
        [a * b >> 32 for a, b in low],
        [(a + b) % MODULUS for a, b in both],
        [(a - b) % MODULUS for a, b in both],
        [a < b for a, b in both],
        [sum(x[: i + 1]) % MODULUS for i in range(len(x))],
        [a // d for a, d in zip(x, by, strict=True)],
        [a % d for a, d in zip(x, by, strict=True)],
        [a for a, _ in low],
    ]


def numbers(result: Wide | jax.Array) -> list[int]:
    if isinstance(result, Wide):
        return [int(h) << 32 | int(w) for h, w in zip(*map(np.asarray, result), strict=True)]
    found: list[int] = np.asarray(result).tolist()
    return found


@settings(deadline=None, derandomize=True, max_examples=25)
@given(lists)
def test_wide_numbers_equal_whole_ones(columns: list[tuple[int, ...]]) -> None:
    x1, x0, y1, y0, by = (jnp.array(column, jnp.uint32) for column in zip(*columns, strict=True))
    by = jnp.maximum(by, 1)
    x, y = Wide(x1, x0), Wide(y1, y0)
    results = [numbers(result) for result in everything(x, y, by)]
    assert results == expected(numbers(x), numbers(y), numbers(by))


def test_every_pair_of_edges_is_divided() -> None:
    grid = np.array(np.meshgrid(EDGES, EDGES, EDGES[1:])).reshape(3, -1).astype(np.uint32)
    high, low, by = map(jnp.asarray, grid)
    divided = [numbers(x) for x in _wide.divided(Wide(high, low), by)]
    for x, d, *found in zip(numbers(Wide(high, low)), numbers(by), *divided, strict=True):
        assert tuple(found) == divmod(x, d)


def test_they_are_mapped_as_they_are_called() -> None:
    x = Wide(jnp.arange(5, dtype=jnp.uint32), jnp.full(5, 7, jnp.uint32))
    mapped = jax.jit(jax.vmap(_wide.divided, in_axes=(0, None)))(x, jnp.uint32(3))
    alone = _wide.divided(x, jnp.uint32(3))
    assert [numbers(x) for x in mapped] == [numbers(x) for x in alone]
