"""datarax: its Pipeline over its MemorySource, read by `for` and by `step()`."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import workloads
from datarax import Pipeline
from datarax.operators import ElementOperator, ElementOperatorConfig
from datarax.sources import MemorySource, MemorySourceConfig
from datarax.typing import Element
from flax import nnx
from workloads import Arrays, Workload

from peers import Contestants, Epoch


def contestants(workload: Workload, data: Arrays, shuffle: bool) -> Contestants:
    """Modules for a batch, or the operators of its README for a record."""
    stages = {"module": partial(_Module, workload), "ElementOperator": partial(_operator, workload)}
    if workload.drawn or workload.kind == "graph":  # plain modules get no keys
        del stages["ElementOperator" if workload.kind == "graph" else "module"]
    few = {name: x[: workload.slow_records] for name, x in data.items()}
    # `step()` is not compiled.
    loops = {"datarax `for`": (_by_for, data), "datarax `step()`": (_by_step, few)}
    return {
        name: {
            setting: partial(_epochs, workload, own, shuffle, stage, loop)
            for setting, stage in stages.items()
        }
        for name, (loop, own) in loops.items()
    }


def _epochs(
    workload: Workload,
    data: Arrays,
    shuffle: bool,
    stage: Callable[[], nnx.Module],
    loop: Callable[[Pipeline], Epoch],
) -> Epoch:
    on_device = jax.tree.map(jnp.asarray, data)
    source = MemorySource(MemorySourceConfig(shuffle=shuffle), data=on_device, rngs=nnx.Rngs(0))
    settings: Any = {"source": source, "batch_size": workload.batch, "rngs": nnx.Rngs(0)}
    settings["num_epochs"] = None  # one session, which goes on into the next epoch
    if workload.kind == "graph":
        nodes, edges, sink = workloads.graph(workload.layers)
        modules = {name: _Node(fn) for name, fn in nodes.items()}
        return loop(Pipeline.from_dag(nodes=modules, edges=edges, sink=sink, **settings))
    return loop(Pipeline(stages=[stage()], **settings))


def _by_for(pipeline: Pipeline) -> Epoch:
    batches = iter(pipeline)

    def epoch() -> Iterator[Arrays]:
        yield from itertools.islice(batches, len(pipeline.source) // pipeline.batch_size)

    return epoch


def _by_step(pipeline: Pipeline) -> Epoch:
    def epoch() -> Iterator[Arrays]:
        for _ in range(len(pipeline.source) // pipeline.batch_size):
            yield pipeline.step()

    return epoch


class _Module(nnx.Module):
    def __init__(self, workload: Workload):
        self.workload = workload

    def __call__(self, batch: Arrays) -> Arrays:
        return self.workload.jax(batch, None)  # type: ignore[arg-type]


class _Node(nnx.Module):
    def __init__(self, fn: Callable[..., Arrays]):
        self.fn = fn

    def __call__(self, *batches: Arrays) -> Arrays:
        return self.fn(*batches)


def _operator(workload: Workload) -> ElementOperator:
    def fn(element: Element, key: Any = None) -> Element:
        if workload.drawn:
            return element.replace(data=workloads.augment_jax_record(element.data, key))
        return element.replace(data=workload.jax(element.data, None))  # type: ignore[arg-type]

    stream = {"stream_name": "augment"} if workload.drawn else {}
    config = ElementOperatorConfig(stochastic=workload.drawn, **stream)
    return ElementOperator(config, fn=fn, rngs=nnx.Rngs(0))
