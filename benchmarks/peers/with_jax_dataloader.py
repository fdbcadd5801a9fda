"""jax-dataloader: its own backend over arrays, and the work jitted."""

import itertools
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import jax_dataloader
from workloads import Arrays, Workload

from peers import Contestants, Epoch


def contestants(workload: Workload, data: Arrays, shuffle: bool) -> Contestants:
    """Arrays in, batches of NumPy arrays out."""
    return {"jax-dataloader": {"backend jax": partial(_epochs, workload, data, shuffle)}}


def _epochs(workload: Workload, data: Arrays, shuffle: bool) -> Epoch:
    loader = jax_dataloader.DataLoader(
        jax_dataloader.ArrayDataset(*data.values()), "jax", workload.batch, shuffle
    )
    work, keys = jax.jit(workload.jax), itertools.count()

    def epoch() -> Iterator[Arrays]:
        key = jax.random.key(next(keys))
        for step, fields in enumerate(loader):
            batch = dict(zip(data, map(jnp.asarray, fields), strict=True))
            yield work(batch, jax.random.fold_in(key, step) if workload.drawn else key)

    return epoch
