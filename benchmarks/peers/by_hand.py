"""JAX by hand: a jitted batch function over a table of record ids."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import workloads
from workloads import Arrays, Workload

from peers import Contestants, Epoch


def contestants(workload: Workload, data: Arrays, shuffle: bool) -> Contestants:
    """Several ways to read the rows, in the program of the work or in one before it.

    The table is permuted by NumPy, which is faster than JAX. In one program, XLA may fuse the
    reading into the work and so read rows several times.
    """
    rows = {"gather": _gather, "loop of slices": _loop} if shuffle else {"slice": _slice}
    works = {"": workload.jax}
    if workload.drawn:
        works = {"": workload.jax, ", vmap": _mapped}
    settings = {}
    for (name, read), (how, work) in itertools.product(rows.items(), works.items()):
        settings[name + how] = partial(_epochs, workload, data, read, work, True)
        settings[f"{name}{how}, two programs"] = partial(_epochs, workload, data, read, work, False)
    return {"hand-written JAX": settings}


def _mapped(batch: Arrays, key: Any) -> Arrays:
    return jax.vmap(workloads.augment_jax_record)(batch, jax.random.split(key, len(batch["id"])))


def _epochs(workload: Workload, data: Arrays, read: Any, work: Any, fused: bool) -> Epoch:
    records, size = len(data["id"]), workload.batch
    held = jax.device_put(data)
    rng = np.random.default_rng(0)

    def rows_of(held: Arrays, order: Any, step: Any) -> Arrays:
        return jax.tree.map(lambda x: read(x, order, step * size, size), held)

    def worked(batch: Arrays, step: Any, key: Any) -> Arrays:
        return work(batch, jax.random.fold_in(key, step))

    def both(held: Arrays, order: Any, step: Any, key: Any) -> Arrays:
        return worked(rows_of(held, order, step), step, key)

    jitted, jitted_rows, jitted_work = jax.jit(both), jax.jit(rows_of), jax.jit(worked)

    def epoch() -> Iterator[Arrays]:
        order = None if read is _slice else jnp.asarray(rng.permutation(records).astype(np.int32))
        key = jax.random.key(rng.integers(2**31))
        for step in map(np.int32, range(records // size)):
            if fused:
                yield jitted(held, order, step, key)
            else:
                yield jitted_work(jitted_rows(held, order, step), step, key)

    return epoch


def _slice(x: Any, order: Any, start: Any, size: int) -> Any:
    return jax.lax.dynamic_slice_in_dim(x, start, size)


def _gather(x: Any, order: Any, start: Any, size: int) -> Any:
    return x.at[jax.lax.dynamic_slice(order, (start,), (size,))].get(mode="promise_in_bounds")


def _loop(x: Any, order: Any, start: Any, size: int) -> Any:
    ids = jax.lax.dynamic_slice(order, (start,), (size,))
    return jax.lax.map(lambda i: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), ids)
