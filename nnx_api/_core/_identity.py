"""What a pipeline is told by when a position or a checkpoint comes back: digests, and refusals.

A saved state names its source, order, seed and graph by short digests. Those of a pipeline are
made once for as long as it holds the same arrays. How a state is saved is not known here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import PyTree, UInt32

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._parts import is_same, raw
from .._variants import unstacked
from ._kept import Kept
from ._module import PipelineCore

NAMES = ("source", "order", "seed", "graph")
NODES = "nodes"  # by which it is told what differs; what was saved without is judged all the same


def digests(pipeline: PipelineCore[Any, Any]) -> dict[str, str]:
    """Digests of source, order, seed and graph, and the nodes of the graph as a text."""
    kept, (arrays, graph) = Kept.beside(pipeline), _marks(pipeline)
    if kept.digests is None or kept.digests[1] != graph or not is_same(kept.digests[0], arrays):
        kept.digests = arrays, graph, _digests(pipeline)
    return dict(kept.digests[2])


def _marks(pipeline: PipelineCore[Any, Any]) -> tuple[list[PyTree], tuple[object, ...]]:
    # What digests are of: arrays by identity, and the graph.
    values = [raw(x) for _, x in nnx.to_flat_state(nnx.state(pipeline.source))]
    names = [(name, internal.type_name(x)) for name, x in pipeline.nodes.items()]
    return [*values, pipeline._seed.get_raw_value()], (pipeline._schedule, *names)


def _digests(pipeline: PipelineCore[Any, Any]) -> dict[str, str]:
    if pipeline._variants:
        alone = unstacked(pipeline, own_order=pipeline._variants[0])
        for one in alone:
            one._variants = pipeline._variants[1:]
        return internal.combined([_digests(one) for one in alone])
    graph = pipeline._graph()
    found = dp.fingerprint(graph, pipeline._stream(), pipeline._seed.get_value())
    return {**found, NODES: internal.graph_told(graph)}


def refuse_another(own: Mapping[str, str], saved: Mapping[str, Any], what: str, mend: str) -> None:
    """Refuse what was saved from a pipeline with other digests, naming those that differ."""
    other = [name for name in NAMES if saved[name] != own[name]]
    if not other:
        return
    if other[-1] == "graph" and (told := internal.graph_changes(saved.get(NODES), own[NODES])):
        other[-1] = f"graph ({told})"
    raise ValueError(
        f"{what} belongs to a pipeline with another {' and another '.join(other)}; make "
        f"this pipeline as that one was made, or {mend}"
    )


def as_words(digests: Mapping[str, str]) -> UInt32[np.ndarray, "names words"]:
    """Digests as numbers, which any checkpoint can hold."""
    return np.stack([np.frombuffer(bytes.fromhex(digests[name]), np.uint32) for name in NAMES])


def as_digests(words: UInt32[np.ndarray, "names words"]) -> dict[str, str]:
    """The digests that were made numbers."""
    rows: Sequence[np.ndarray] = list(words)
    return {name: row.tobytes().hex() for name, row in zip(NAMES, rows, strict=True)}
