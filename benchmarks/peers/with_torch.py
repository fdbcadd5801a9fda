"""torch's DataLoader: records with the default collate, or whole batches by their ids."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler
from workloads import Arrays, Workload

from peers import Contestants, Epoch


def contestants(workload: Workload, data: Arrays, shuffle: bool) -> Contestants:
    """In this process, another or two; by record or by batch; NumPy or dlpack on the way to JAX."""
    if workload.kind == "graph":
        return {}
    few = {name: x[: workload.slow_records] for name, x in data.items()}
    by_record, by_batch = partial(_by_record, workload, few), partial(_by_batch, workload, data)
    ways = {
        "records": (by_record, 0, _by_numpy),
        "batches": (by_batch, 0, _by_numpy),
        "batches; dlpack": (by_batch, 0, jax.dlpack.from_dlpack),
        "batches, 1 worker": (by_batch, 1, _by_numpy),
        "batches, 2 workers": (by_batch, 2, _by_numpy),
    }
    settings = {
        name: partial(_epochs, make, shuffle, workers, to_jax)
        for name, (make, workers, to_jax) in ways.items()
    }
    tensors = {
        "randperm, index_select, dlpack": partial(_of_tensors, workload, data, shuffle, False),
        "randperm, index_select, NumPy": partial(_of_tensors, workload, data, shuffle, True),
    }
    return {"torch DataLoader": settings, "torch tensors on the device": tensors}


def _of_tensors(workload: Workload, data: Arrays, shuffle: bool, by_numpy: bool) -> Epoch:
    """All records as tensors on the device, indexed by torch; the work itself is jitted."""
    held = {name: torch.from_numpy(x) for name, x in data.items()}
    records, size = len(data["id"]), workload.batch
    work, keys = jax.jit(workload.jax), itertools.count()
    to_jax = _by_numpy if by_numpy else jax.dlpack.from_dlpack

    def epoch() -> Iterator[Arrays]:
        key = jax.random.key(next(keys))
        order = torch.randperm(records) if shuffle else torch.arange(records)
        for step, ids in enumerate(order.split(size)):
            batch = {name: to_jax(x.index_select(0, ids)) for name, x in held.items()}
            yield work(batch, jax.random.fold_in(key, step) if workload.drawn else key)

    return epoch


def _epochs(
    make: Callable[..., DataLoader], shuffle: bool, workers: int, to_jax: Callable[[Any], Any]
) -> Epoch:
    # A fork would copy the locks of JAX's threads.
    own = {"multiprocessing_context": "forkserver", "persistent_workers": True} if workers else {}
    loader = make(shuffle, num_workers=workers, **own)

    def epoch() -> Iterator[Arrays]:
        for batch in loader:
            yield {name: to_jax(x) for name, x in batch.items()}

    return epoch


def _by_numpy(tensor: torch.Tensor) -> jax.Array:
    return jnp.asarray(tensor.numpy())


def _by_record(workload: Workload, data: Arrays, shuffle: bool, **own: Any) -> DataLoader:
    dataset = _Data(data, workload.numpy_record)
    return DataLoader(dataset, batch_size=workload.batch, shuffle=shuffle, **own)


def _by_batch(workload: Workload, data: Arrays, shuffle: bool, **own: Any) -> DataLoader:
    dataset = _Data(data, workload.numpy)
    order = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
    batches = BatchSampler(order, workload.batch, drop_last=False)
    return DataLoader(dataset, sampler=batches, batch_size=None, **own)


class _Data(Dataset):
    def __init__(self, data: Arrays, fn: Callable[..., Arrays]):
        # Tensors reach other processes through shared memory.
        self.data = {name: torch.from_numpy(x) for name, x in data.items()}
        self.fn = fn
        self.rng: np.random.Generator | None = None

    def __len__(self) -> int:
        return len(self.data["id"])

    def __getitem__(self, index: Any) -> Arrays:
        if self.rng is None:
            self.rng = np.random.default_rng(torch.initial_seed() % 2**63)
        return self.fn({name: x.numpy()[index] for name, x in self.data.items()}, self.rng)
