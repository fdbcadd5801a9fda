"""dagrax: a Pipeline over a MemorySource, read by `for` and by `step()`."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import workloads
from flax import nnx
from workloads import Arrays, Workload

from dagrax.nnx_api import Element, MemorySource, MemorySourceConfig, OperatorModule, Pipeline
from peers import Contestants, Epoch


def contestants(workload: Workload, data: Arrays, shuffle: bool) -> Contestants:
    """Stages for a batch, with a key for each batch or each record, and stages for a record."""
    loops = {"dagrax `for`": _by_for, "dagrax `step()`": _by_step}
    return {
        name: {
            setting: partial(_epochs, workload, data, shuffle, stage, loop)
            for setting, stage in _stages(workload).items()
        }
        for name, loop in loops.items()
    }


def _stages(workload: Workload) -> dict[str, Callable[..., Any]]:
    if workload.kind == "graph":
        return {"functions": _Deterministic(workload)}
    if workload.drawn:
        return {"key": _with_key, "record_keys": _with_record_keys, "OperatorModule": _Augment()}
    return {"function": _Deterministic(workload), "OperatorModule": _Apply(workload)}


def _epochs(
    workload: Workload,
    data: Arrays,
    shuffle: bool,
    stage: Any,
    loop: Callable[[Pipeline], Epoch],
) -> Epoch:
    source = MemorySource(MemorySourceConfig(shuffle=shuffle), data=data, rngs=nnx.Rngs(0))
    settings: Any = {"source": source, "batch_size": workload.batch, "rngs": nnx.Rngs(0)}
    if workload.kind == "graph":
        nodes, edges, sink = workloads.graph(workload.layers)
        return loop(Pipeline.from_dag(nodes=nodes, edges=edges, sink=sink, **settings))
    return loop(Pipeline(stages=[stage], **settings))


def _by_for(pipeline: Pipeline) -> Epoch:
    return lambda: iter(pipeline)


def _by_step(pipeline: Pipeline) -> Epoch:
    def epoch() -> Iterator[Arrays]:
        for _ in range(len(pipeline)):
            yield pipeline.step()

    return epoch


class _Deterministic(nnx.Module):
    def __init__(self, workload: Workload):
        self.workload = workload

    def __call__(self, batch: Arrays) -> Arrays:
        return self.workload.jax(batch, None)  # type: ignore[arg-type]


class _Apply(OperatorModule):
    def __init__(self, workload: Workload):
        self.workload = workload

    def apply(self, element: Element[Any]) -> Element[Any]:
        return element.replace(data=self.workload.jax(element.data, None))  # type: ignore[arg-type]


class _Augment(OperatorModule):
    def apply(self, element: Element[Any], *, key: Any) -> Element[Any]:
        return element.replace(data=workloads.augment_jax_record(element.data, key))


def _with_key(batch: Arrays, *, key: Any) -> Arrays:
    return workloads.augment_jax(batch, key)


def _with_record_keys(batch: Arrays, *, record_keys: Any) -> Arrays:
    return workloads.augment_jax_records(batch, record_keys)
