"""Orders that draw each record anew, with replacement: all equally often, or by weights.

How weights are made ready is told in `_alias`, where random words come from in `_chance`.
"""

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float32, PRNGKeyArray, Shaped

from .._apart import start_of
from .._namespace import Batch, Epoch, words
from .._random._keys import check_key
from .._text import valued
from ._alias import Alias, alias
from ._chance import below, words_at
from ._order import AbstractOrder, check_size


class WithReplacement(AbstractOrder):
    """At every position any of the records, all equally likely: `replacement=True` of torch.

    An epoch is `size` positions, which draw some records twice and leave others out. Each time a
    record has draws of its own. `key` is one JAX key, typed or raw.
    """

    reads_numpy: ClassVar[bool] = True
    key: PRNGKeyArray

    def __check_init__(self) -> None:
        check_key("key", self.key)

    def ids(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """Ids at `positions`, same shape; `ValueError` for a `size` outside 1 to 2**31 - 1."""
        check_size(self, size)
        return below(words_at(self.key, epoch, positions), words(size, positions)).high

    def turns(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """The positions, by which alone two visits of a record can be told apart."""
        return positions


class Weighted(AbstractOrder):
    """At every position any of the records, each as likely as its weight says, with replacement.

    It is torch's `WeightedRandomSampler`. An epoch is `size` positions; each time a record has
    draws of its own. A record of weight 0 is never drawn.

    - `key`: one JAX key, typed or raw.
    - `weights`: one number for each record, of any sum; they are held in float32.

    The weights are made ready in one pass, here, and a draw then costs the same whatever their
    number: make the order once, outside the loop. Other weights are another order,
    `Weighted(order.key, weights)`, or `eqx.tree_at(lambda order: order.weights, order, weights)`,
    which makes the pass wherever ids are asked for. Weights may be traced and mapped over. Traced
    ones cannot be judged: what is not positive and finite counts as 0, and where all do, all are
    alike.

    Which record is drawn has no derivative, so that of a loss by `weights` through the order is 0.
    To learn weights, take the logarithm of a record's probability times its loss: the records of a
    batch are told by `record_ids` of `Stream`.

    **Errors:** ValueError for weights that are not of one axis, are negative, NaN or infinite, or
    all 0, and, where a stream is made, for another number of weights than records; TypeError for
    what is no array of numbers.
    """

    key: PRNGKeyArray
    weights: Alias | Shaped[Array, "..."]

    @property
    def reads_numpy(self) -> bool:  # type: ignore[override]
        """Where its weights have been made ready."""
        return isinstance(self.weights, Alias)

    def __init__(self, key: PRNGKeyArray, weights: ArrayLike | Sequence[int | float] | Alias):
        check_key("key", key)
        self.key = key
        self.weights = weights if isinstance(weights, Alias) else alias(_judged(weights))

    def check(self, size: int) -> None:
        table = self.weights
        count = table.slots.shape[-2] if isinstance(table, Alias) else table.shape[-1]
        if count != size:
            raise ValueError(
                f"weights has {count} entries, but the source has {size} records; expected one "
                "weight for each record. Those of a view are weights[view.ids]."
            )

    def ids(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """Ids at `positions`, same shape; `ValueError` for a `size` other than that of weights."""
        check_size(self, size)
        self.check(size)
        weights = self.weights
        table = weights if isinstance(weights, Alias) else alias(_single(weights))
        return table.drawn(words_at(self.key, epoch, positions), start_of(positions))

    def turns(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """The positions, by which alone two visits of a record can be told apart."""
        return positions


def _judged(weights: ArrayLike | Sequence[int | float]) -> Float32[Array, " records"]:
    given = weights if isinstance(weights, jax.Array) else np.asarray(weights)
    kinds = (np.bool_, np.integer, np.floating)
    if not any(jnp.issubdtype(given.dtype, kind) for kind in kinds):
        raise TypeError(
            f"weights are of dtype {given.dtype}; expected one number for each record: write "
            "np.asarray(weights, np.float32)."
        )
    if given.ndim != 1 or given.shape[0] == 0:
        raise ValueError(
            f"weights has shape {given.shape}; expected one axis, with a weight for each record."
        )
    held = _single(given)
    if not isinstance(held, Tracer):
        _check_values(np.asarray(held))
    return held


def _single(weights: Array | np.ndarray) -> Float32[Array, " records"]:
    if isinstance(weights, np.ndarray):
        with np.errstate(over="ignore"):  # told by its index
            return jnp.asarray(weights.astype(np.float32))
    return jax.lax.stop_gradient(weights.astype(jnp.float32))


def _check_values(weights: np.ndarray) -> None:
    wrong = np.flatnonzero(~((weights >= 0) & np.isfinite(weights)))
    if wrong.size:
        index = int(wrong[0])
        raise ValueError(
            f"{valued(f'weights[{index}]', float(weights[index]), 'a finite number, at least 0.')}"
        )
    if not (weights >= np.finfo(np.float32).tiny).any():
        raise ValueError(
            f"All {weights.size} weights are 0; expected at least one above 0 (in float32)."
        )
