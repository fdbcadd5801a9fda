"""grain: records, or batches of ids, mapped by threads."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grain
import jax.numpy as jnp
import numpy as np
from absl import flags
from workloads import Arrays, Workload

from peers import Contestants, Epoch


def contestants(workload: Workload, data: Arrays, shuffle: bool) -> Contestants:
    """Records or batches of ids; grain's own number of threads, two, none, or a process."""
    if workload.kind == "graph":
        return {}
    few = {name: x[: workload.slow_records] for name, x in data.items()}
    # The order is computed in Python, id by id, for batches of ids too.
    by_record, by_batch = partial(_by_record, workload, few), partial(_by_batch, workload, few)
    ways = {
        "records, 16 threads": (by_record, grain.ReadOptions()),
        "records, 0 threads": (by_record, grain.ReadOptions(num_threads=0)),
        "ids, batch, gather; 2 threads": (by_batch, _threads(2)),
        "ids, batch, gather; 0 threads": (by_batch, grain.ReadOptions(num_threads=0)),
    }
    settings = {name: partial(_epochs, make, shuffle, read) for name, (make, read) in ways.items()}
    settings["ids, batch, gather; mp_prefetch of 1"] = partial(
        _by_process, by_batch, shuffle, len(few["id"]) // workload.batch
    )
    return {"grain": settings}


def _threads(count: int) -> grain.ReadOptions:
    return grain.ReadOptions(num_threads=count, prefetch_buffer_size=2 * count)


def _epochs(make: Callable[..., Any], shuffle: bool, read: grain.ReadOptions) -> Epoch:
    seeds = itertools.count()

    def epoch() -> Iterator[Arrays]:
        # An iterator of its own, or it would fetch for the next epoch while others are measured.
        dataset = make(next(seeds), shuffle).to_iter_dataset(read)
        for batch in dataset:
            yield {name: jnp.asarray(x) for name, x in batch.items()}

    return epoch


def _by_process(make: Callable[..., Any], shuffle: bool, batches: int) -> Epoch:
    """Another process, for all epochs: it takes seconds to start."""
    flags.FLAGS.mark_as_parsed()  # which grain asks for
    dataset = make(0, shuffle).repeat().to_iter_dataset(_threads(1))
    workers = grain.multiprocessing.MultiprocessingOptions(num_workers=1)
    iterator = iter(dataset.mp_prefetch(workers))

    def epoch() -> Iterator[Arrays]:
        for batch in itertools.islice(iterator, batches):
            yield {name: jnp.asarray(x) for name, x in batch.items()}

    return epoch


def _by_record(workload: Workload, data: Arrays, seed: int, shuffle: bool) -> grain.MapDataset:
    dataset = grain.MapDataset.source(_Records(data)).seed(seed)
    dataset = dataset.shuffle() if shuffle else dataset
    return _mapped(workload, dataset, workload.numpy_record).batch(workload.batch)


def _by_batch(workload: Workload, data: Arrays, seed: int, shuffle: bool) -> grain.MapDataset:
    dataset = grain.MapDataset.range(len(data["id"])).seed(seed)
    dataset = dataset.shuffle() if shuffle else dataset
    dataset = dataset.batch(workload.batch, batch_fn=np.asarray)
    dataset = dataset.map(lambda ids: {name: x[ids] for name, x in data.items()})
    return _mapped(workload, dataset, workload.numpy)


def _mapped(workload: Workload, dataset: Any, fn: Callable[..., Arrays]) -> grain.MapDataset:
    return dataset.random_map(fn) if workload.drawn else dataset.map(lambda x: fn(x, None))


class _Records:
    def __init__(self, data: Arrays):
        self.data = data

    def __len__(self) -> int:
        return len(self.data["id"])

    def __getitem__(self, index: int) -> Arrays:
        return {name: x[index] for name, x in self.data.items()}
