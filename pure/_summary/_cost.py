"""What a step costs, node by node: each is compiled by itself, and asked of XLA or run.

A step comes here taken apart into functions of arrays, whoever they are of. Only what is asked for
is compiled; a clock is read, and nothing is kept. What the numbers mean stands in `_rows`.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
from jax.core import Tracer
from jaxtyping import PyTree

from .._graph._schedule import Schedule

Run: TypeAlias = Callable[..., PyTree]
_FEWEST, _MOST, _SECONDS = 5, 200, 0.1  # runs of a program, and how long they take together


class Apart(NamedTuple):
    """A step, taken apart. Every function has `values`, arrays, as its first argument.

    `read(values, *given)` gives a batch and its origin, `node(name)` what the node's stage returns
    of `(values, inputs, origin)`, and whatever it writes; `step(values, *given)` is all of it.
    """

    values: PyTree
    given: tuple[PyTree, ...]
    read: Run
    node: Callable[[str], Run]
    step: Run


def check_untraced(values: PyTree) -> None:
    """Refuse arrays of a trace. **Errors:** TypeError."""
    if any(isinstance(x, Tracer) for x in jax.tree.leaves(values)):
        raise TypeError(
            "cost and measure compile programs and run them, which cannot be done inside a trace "
            "(jit, scan, vmap); call summary outside."
        )


class Figures(NamedTuple):
    """What was found of one program."""

    flops: float | None = None
    bytes_touched: float | None = None
    seconds: float | None = None
    workspace: int | None = None


def figures(
    schedule: Schedule, apart: Apart, *, cost: bool, measure: bool
) -> tuple[Figures, Mapping[str, Figures], Figures]:
    """The figures of reading a batch, of each node, and of the whole step."""
    read, (batch, origin) = _of(apart.read, (apart.values, *apart.given), cost, measure)
    found: dict[str, Figures] = {}
    outputs: dict[str, PyTree] = {}
    for name in schedule.order:
        inputs = [outputs[before] for before in schedule.predecessors(name)] or [batch]
        try:
            found[name], (outputs[name], _) = _of(
                apart.node(name), (apart.values, inputs, origin), cost, measure
            )
        except Exception as error:
            error.add_note(f"This happened in node `{name}`, which was run for its cost.")
            raise
    step, _ = _of(apart.step, (apart.values, *apart.given), cost, measure)
    return read, found, step


def shares(schedule: Schedule, found: Mapping[str, Figures]) -> dict[str, float | None]:
    """The part of each node in the time of all that run for the sink."""
    taken = {name: found[name].seconds or 0.0 for name in schedule.executed}
    total = sum(taken.values())
    if not any(x.seconds is not None for x in found.values()):
        return dict.fromkeys(schedule.order)
    return {name: taken.get(name, 0.0) / total for name in schedule.order}


def _of(run: Run, args: tuple[PyTree, ...], cost: bool, measure: bool) -> tuple[Figures, PyTree]:
    """The figures of a program, and what it returns: only the shapes, where it is not run."""
    lowered = jax.jit(lambda *args: run(*args)).lower(*args)
    compiled: Any = lowered.compile()
    flops, touched = _said(compiled) if cost else (None, None)
    memory = compiled.memory_analysis() if cost else None
    workspace = None if memory is None else int(memory.temp_size_in_bytes)
    if not measure:
        return Figures(flops, touched, None, workspace), _shapes(lowered, compiled)
    outcome: PyTree = jax.block_until_ready(compiled(*args))
    return Figures(flops, touched, _seconds(compiled, args), workspace), outcome


def _said(compiled: Any) -> tuple[float | None, float | None]:
    said = compiled.cost_analysis()
    if not said:
        return None, None
    own: Mapping[str, float] = said[0] if isinstance(said, list) else said
    # What has no operation of floats is said nothing of.
    return float(own.get("flops", 0.0)), float(own.get("bytes accessed", 0.0))


def _shapes(lowered: Any, compiled: Any) -> PyTree:
    def shape(info: Any, sharding: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(info.shape, info.dtype, sharding=sharding)

    shapes: PyTree = jax.tree.map(shape, lowered.out_info, compiled.output_shardings)
    return shapes


def _seconds(compiled: Run, args: tuple[PyTree, ...]) -> float:
    times: list[float] = []
    while len(times) < _FEWEST or (sum(times) < _SECONDS and len(times) < _MOST):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        times.append(time.perf_counter() - start)
    return statistics.median(times)
