"""Where a chunk goes: the one place at which what the host has gathered is put on devices.

Nothing here knows how it was gathered, or who waits for it.
"""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from ..._flow._fed import Fed
from ..._flow._spread import Spread


def rows_of_this_process(spread: Spread | None, rows: int) -> range:
    """Which rows of a batch this process's devices hold: it need read no others."""
    if spread is None or rows % spread.parts or spread.mesh.is_multi_process is False:
        return range(rows)
    over = NamedSharding(spread.mesh, PartitionSpec(spread.axes))
    indices = over.addressable_devices_indices_map((rows,)).values()
    bounds = [index[0].indices(rows) for index in indices if index is not None]
    return range(min(x[0] for x in bounds), max(x[1] for x in bounds))


def place(fed: Fed, spread: Spread | None = None, *, rows: int, own: range) -> Fed:
    """The batches on the device; with `spread`, each on the devices of the mesh.

    A chunk has an axis more, of its batches, which is not divided. Of the `rows` of a batch those
    that are this process's `own` were read, everything else is whole.
    """
    if spread is None:
        placed: Fed = jax.device_put(fed)
        return placed
    divided = rows % spread.parts == 0
    each = NamedSharding(spread.mesh, PartitionSpec(None, spread.axes if divided else None))
    everywhere = NamedSharding(spread.mesh, PartitionSpec())

    def of_records(x: np.ndarray) -> Array:
        return _laid(x, each, 0)

    return Fed(
        rows=jax.tree.map(lambda x: _laid(x, each, own.start, rows), fed.rows),
        counts=of_records(np.asarray(fed.counts)),
        origin=jax.tree.map(
            lambda x: of_records(x) if x.shape[1:2] == (rows,) else _laid(x, everywhere, 0),
            fed.origin,
        ),
        after=_laid(np.asarray(fed.after), everywhere, 0),
    )


def _laid(array: np.ndarray, over: NamedSharding, start: int, rows: int | None = None) -> Array:
    laid: Array
    if over.is_fully_addressable:
        laid = jax.device_put(array, over)
        return laid
    shape = (array.shape[0], rows, *array.shape[2:]) if rows is not None else array.shape

    def piece(index: tuple[slice, ...] | None) -> np.ndarray:
        if rows is None or index is None:
            return array[index]
        begin, end, _ = index[1].indices(rows)
        return array[index[0], begin - start : end - start]

    laid = jax.make_array_from_callback(shape, over, piece)
    return laid
