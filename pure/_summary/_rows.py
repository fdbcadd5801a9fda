"""The facts about a pipeline: of each node, of what it reads, and of all of it together.

Frozen data and nothing else; how they are found, and how they read, is not known here.
"""

import dataclasses
from typing import Literal

import jax

from .._text import Specs, path_text


@dataclasses.dataclass(frozen=True)
class SummaryRow:
    """A node of a graph.

    - `name`: its own, such as `"crop"`, or `"view/crop"` in a chain; `chain` is then `"view"`.
    - `stage`: the type of its stage, or the name of its function.
    - `predecessors`: the nodes whose outputs it is called with, in that order; none: the source.
    - `output`: the shapes and dtypes of what it puts out, `bytes_out` their bytes.
    - `parameters`: how many numbers of it are learned, in all variants, in `parameter_bytes`. What
      a node before it holds too is counted there, and `shared_with` names that node.
    - `stateful`: whether it writes what it holds beside its parameters.
    - `draws`: by what it draws: `"key"`, once a batch; `"record_keys"`, once a record; `"rngs"`,
      streams of its own.
    - `runs`: `"sink"` where it runs for the sink, in every step; `"on demand"` for `outputs` alone.
    - `varies`: what it holds that differs between variants, each with its numbers, where it is one
      number a variant: `std: 0.1, 0.2, 0.3`.
    - `flops`, `bytes_touched`: what XLA says of it, compiled by itself. None where not asked for.
      The body of a loop counts once, and `sin`, `exp` and their like are no FLOPs.
    - `seconds`: the median time of it, run by itself on a batch. `share`: its part of the time of
      all nodes that run for the sink; these shares add up to 1, any other is 0.
    """

    name: str
    stage: str
    predecessors: tuple[str, ...]
    output: Specs
    bytes_out: int
    parameters: int
    parameter_bytes: int
    shared_with: tuple[str, ...]
    stateful: bool
    draws: tuple[str, ...]
    runs: Literal["sink", "on demand"]
    is_sink: bool
    chain: str | None = None
    varies: tuple[str, ...] = ()
    flops: float | None = None
    bytes_touched: float | None = None
    seconds: float | None = None
    share: float | None = None


@dataclasses.dataclass(frozen=True)
class SummarySource:
    """What a graph reads: the source, its order, and a full batch of it.

    `flops`, `bytes_touched` and `seconds` are those of reading one; where `is_hosted`, of taking it
    out of what the host has read, ahead of the step: `pipeline.waited` tells who waits for whom.
    """

    name: str
    order: str
    output: Specs
    bytes_out: int
    is_hosted: bool
    flops: float | None = None
    bytes_touched: float | None = None
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class SummaryTotals:
    """All of a pipeline together.

    - `records`: of an epoch; None for a data set that tells at its end. `batches`: of an epoch.
    - `variants`: how many, for each level; `varies`: what differs between them beside what nodes
      hold, `"seed"` or `"order"`.
    - `dropped`, `padded`: the records that an epoch leaves out, and the rows that it fills up; None
      for such a data set too.
    - `data_bytes`: of records and order; `parameter_bytes`, of `parameters` numbers; `carry_bytes`:
      of what else passes from step to step, which is state, seeds and the position; `batch_bytes`:
      of a batch as it is read.
    - `workspace_bytes`: what XLA's program of a step needs while it runs.
    - `device`, `device_bytes`: where it runs, and what that holds, if it is known.
    - `needed_bytes`: what one device must hold, as far as it is known; `warning` if it cannot.
    - `flops`, `bytes_touched`, `seconds`: of a whole step, as one program.
    """

    records: int | None
    batch_size: int
    remainder: str
    batches: int | None
    dropped: int | None
    padded: int | None
    variants: tuple[int, ...]
    data_bytes: int
    parameters: int
    parameter_bytes: int
    carry_bytes: int
    batch_bytes: int
    workspace_bytes: int | None
    device: str
    device_bytes: int | None
    needed_bytes: int
    warning: str | None
    varies: tuple[str, ...] = ()
    flops: float | None = None
    bytes_touched: float | None = None
    seconds: float | None = None


def as_json(facts: SummaryRow | SummarySource | SummaryTotals) -> dict[str, object]:
    """Facts as what JSON has: a spec is a list of its fields, each with its dtype and shape."""
    found: dict[str, object] = {}
    for field in dataclasses.fields(facts):
        value = getattr(facts, field.name)
        if field.name == "output":
            value = _fields(value)
        found[field.name] = list(value) if isinstance(value, tuple) else value
    return found


def _fields(output: Specs) -> list[dict[str, object]]:
    leaves: list[tuple[tuple[object, ...], jax.ShapeDtypeStruct]]
    leaves = jax.tree_util.tree_leaves_with_path(output)
    return [
        {"field": path_text(path), "dtype": str(x.dtype), "shape": list(x.shape)}
        for path, x in leaves
    ]
