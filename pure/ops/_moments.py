"""Means and variances of records: of a batch, of several merged, of those that were last seen.

Pure functions: moments in, moments out. In a loop they are carried; `no_moments` starts it, and
`x, moments = ops.running_normalize(batch["x"], moments, 0.99)` goes on.
"""

import math
from collections.abc import Collection

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from ._arguments import like, numbers
from ._features import standardize


class Moments(eqx.Module):
    """How many numbers were seen, their mean and their variance (of a population).

    Mean and variance have the last axes of a record, as they stand against it.
    """

    count: Float[Array, ""]
    mean: Float[Array, "*features"]
    variance: Float[Array, "*features"]

    @property
    def std(self) -> Float[Array, "*features"]:
        """The deviation."""
        return jnp.sqrt(self.variance)


def no_moments(
    record: Shaped[Array | np.ndarray | jax.ShapeDtypeStruct, "..."], axes: Collection[int] = (-1,)
) -> Moments:
    """The moments before anything was seen: `record` is one record, or its ShapeDtypeStruct."""
    shape = _kept(record.shape, axes)
    return Moments(jnp.zeros(()), jnp.zeros(shape), jnp.ones(shape))


def moments(
    batch: Shaped[ArrayLike, "batch ..."],
    axes: Collection[int] = (-1,),
    *,
    valid: Bool[ArrayLike, " batch"] | None = None,
) -> Moments:
    """The moments of a batch in float32, found in two passes over it.

    - `axes`: those of a record that keep moments of their own: by default the last, a channel or a
      feature; `()` for one of all.
    - `valid`: which rows count; fill does not.
    """
    value = numbers("batch", batch).astype(jnp.float32)
    own = _own(value.ndim - 1, axes)
    over = [axis for axis in range(value.ndim)[:0:-1] if axis - 1 not in own]
    rows = jnp.ones(value.shape[0], bool) if valid is None else jnp.asarray(valid)
    counts = rows.reshape(-1, *(1,) * (value.ndim - 1))
    records = jnp.sum(rows, dtype=jnp.float32)

    def mean_of(numbers: Float[Array, "..."]) -> Float[Array, "..."]:
        # One axis after the other, or rounding would add up over millions of numbers.
        for axis in over:
            numbers = jnp.mean(numbers, axis, keepdims=True)
        return jnp.sum(jnp.where(counts, numbers, 0), 0, keepdims=True) / jnp.maximum(records, 1)

    mean = mean_of(value)
    variance = mean_of((value - mean) ** 2)
    shape = _kept(value.shape[1:], axes)
    count = records * math.prod(value.shape[axis] for axis in over)
    return Moments(count, mean.reshape(shape), variance.reshape(shape))


def merged(first: Moments, second: Moments) -> Moments:
    """The moments of both together.

    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979.
    """
    total = first.count + second.count
    return _blended(first, second, second.count / jnp.maximum(total, 1))


def running(old: Moments, new: Moments, momentum: Shaped[ArrayLike, ""]) -> Moments:
    """The moments of what was last seen: the new ones have the part `1 - momentum`.

    Until `1 / (1 - momentum)` batches were seen, they are the moments of all that was, so that
    nothing of the start is left; with momentum 1 they always are.
    """
    part = new.count / jnp.maximum(old.count + new.count, 1)
    least = jnp.where(new.count > 0, 1 - jnp.asarray(momentum, jnp.float32), 0)
    return _blended(old, new, jnp.maximum(part, least))


def running_normalize(
    batch: Float[ArrayLike, "batch ..."],
    moments_before: Moments,
    momentum: Shaped[ArrayLike, ""],
    axes: Collection[int] = (-1,),
    *,
    valid: Bool[ArrayLike, " batch"] | None = None,
) -> tuple[Float[Array, "batch ..."], Moments]:
    """A batch less its running mean, by its running deviation, and the moments with it.

    No gradient flows through the moments. The other arguments are those of `moments` and `running`.
    """
    fixed = jax.lax.stop_gradient(jnp.asarray(batch))
    after = running(moments_before, moments(fixed, axes, valid=valid), momentum)
    return normalized(batch, after), after


def normalized(batch: Float[ArrayLike, "batch ..."], by: Moments) -> Float[Array, "batch ..."]:
    """A batch less the mean, by the deviation."""
    return standardize(batch, by.mean, by.std)


def _blended(first: Moments, second: Moments, part: Float[Array, ""]) -> Moments:
    apart = second.mean - first.mean
    return Moments(
        count=first.count + second.count,
        mean=first.mean + like(part, apart) * apart,
        variance=(1 - part) * first.variance
        + part * second.variance
        + part * (1 - part) * apart**2,
    )


def _own(ndim: int, axes: Collection[int]) -> Collection[int]:
    """The axes of a record that keep moments of their own, from the front."""
    if tuple(axes) == (-1,) and not ndim:
        return ()  # a number has none
    for axis in axes:
        if not -ndim <= axis < ndim:
            raise ValueError(f"axes is {axes}, but a record has {ndim} of them.")
    return tuple(axis % ndim for axis in axes)


def _kept(shape: Collection[int], axes: Collection[int]) -> Collection[int]:
    """The shape of moments: 1 for what they do not tell apart, but for the first axes of a record,
    which they have not."""
    own = _own(len(shape), axes)
    first = min(own, default=len(shape))
    return tuple(size if axis in own else 1 for axis, size in enumerate(shape) if axis >= first)
