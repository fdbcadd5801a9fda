"""The semantics in plain Python and NumPy, one record at a time: every path must equal them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import dagrax.pure as dp

# The ids of an epoch, in the order of their positions.
Permutation = Callable[[int], Sequence[int]]


class Expected(NamedTuple):
    """One batch: where it starts, where the next one does, and a list entry for each row."""

    start: tuple[int, int]
    after: tuple[int, int]
    ids: list[int]
    epochs: list[int]
    valid: list[bool] | None


def permutation(order: dp.AbstractOrder, size: int) -> Permutation:
    """All of an epoch at once, whereas a stream asks for the positions of a batch."""
    positions = jnp.arange(size, dtype=jnp.uint32)
    return lambda epoch: np.asarray(order.ids(positions, jnp.uint32(epoch), size)).tolist()


def batches(
    size: int,
    batch_size: int,
    remainder: str,
    ids_of: Permutation,
    cursor: tuple[int, int] = (0, 0),
) -> Iterator[Expected]:
    """The endless batches from a cursor, whose offset is at most `size`."""
    epoch, offset = _settled(size, batch_size, remainder, *cursor)
    while True:
        start = epoch, offset
        ids: list[int] = []
        epochs: list[int] = []
        valid: list[bool] = []
        while len(ids) < batch_size:
            if offset == size and remainder == "partial":
                break
            if offset == size and remainder == "carry":
                epoch, offset = epoch + 1, 0
            filling = offset == size  # under "pad": from the first record of the epoch on
            position = valid.count(False) % size if filling else offset
            ids.append(ids_of(epoch)[position])
            epochs.append(epoch)
            valid.append(not filling)
            offset += not filling
        epoch, offset = _settled(size, batch_size, remainder, epoch, offset)
        yield Expected(start, (epoch, offset), ids, epochs, valid if remainder == "pad" else None)


def _settled(
    size: int, batch_size: int, remainder: str, epoch: int, offset: int
) -> tuple[int, int]:
    needed = batch_size if remainder == "drop" else 1
    return (epoch, offset) if offset + needed <= size else (epoch + 1, 0)


def record_key(key: jax.Array, node: str, epoch: int, record: int) -> jax.Array:
    """The rule of randomness: seed, node name, epoch, record id."""
    fold = jax.random.fold_in
    return fold(fold(fold(key, stable_hash(f"record:{node}")), epoch), record)


def batch_key(key: jax.Array, node: str, epoch: int, offset: int) -> jax.Array:
    """The rule for one key a batch: seed, node name, epoch, offset."""
    fold = jax.random.fold_in
    return fold(fold(fold(key, stable_hash(f"batch:{node}")), epoch), offset)


def stable_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")


def evaluate(
    node: str,
    edges: Mapping[str, Sequence[str]],
    stages: Mapping[str, Callable[..., Any]],
    source: Any,
) -> Any:
    """The output of a node, its predecessors evaluated anew for each edge.

    A stage is called with its node's name and then with its inputs.
    """
    inputs = [evaluate(name, edges, stages, source) for name in edges[node]] or [source]
    return stages[node](node, *inputs)
