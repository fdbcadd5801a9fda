"""Whether the derivatives of a graph are those of what it computes: node by node, by differences.

Each node is moved along a random direction of each of its arrays and inputs. Loops are not known.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, PyTree, Shaped

from .._flow._stream import Stream
from .._graph._pipeline import Pipeline, call, outputs
from .._graph._stage import type_name
from .._loop import check_given
from .._random._origin import Origin
from .._text import listed, path_text, suggestion
from ._compared import last_place
from ._read import on_one_device, read, records, some
from ._report import Report, Seen, fail, graph_name

_STEPS = (3e-2, 3e-3, 3e-4)  # of the size of what is moved
_ROOM = 3e-2  # by which a difference may miss a derivative
_COARSE = 1e-4  # a dtype whose last place is larger shows nothing
_MOST = 64  # places that are looked through for the first that fails
_Numbers = Float[np.ndarray, "..."]


class _Place(NamedTuple):
    """An array of a node: its own, or that of an input."""

    number: int
    name: str
    is_own: bool


def check_gradients(
    pipeline: Pipeline[Any, Any],
    stream: Stream[Any],
    key: PRNGKeyArray | None = None,
    *,
    records: int = 4,
    aside: Sequence[str] = (),
) -> Report:
    """Whether `jax.grad` through each node is what differences of its outputs show.

    Each floating array that a stage holds, and each floating field that it reads, is moved along a
    random direction, by steps of three sizes, one of which must agree within 3 %.

    - `key`: the seed of the draws, which stay as they are.
    - `records`: how many of the first batch are looked at.
    - `aside`: nodes whose derivative is meant to be another, as that of a straight-through round.

    **Errors:** AssertionError with the first node, array or field, and number that fail.
    """
    check_given(pipeline, stream, stream.start(), key)
    unknown = [name for name in aside if name not in pipeline.stages]
    if unknown:
        told = suggestion(unknown[0], pipeline.stages)
        raise ValueError(f"aside names {listed(unknown)}, which is no node. {told}")
    seen, order = [], pipeline.schedule.order
    pipeline, batch, origin, key = on_one_device(
        stream, (pipeline, *read(stream, stream.start()), key)
    )
    rows = np.arange(min(records, len(_ids(origin))))
    batch, origin = some(rows, batch, origin)
    values = outputs(pipeline, batch, order, key=key, origin=origin)
    for name in order:
        if name in aside:
            seen.append(Seen(f"`{name}`", "left aside"))
            continue
        before = pipeline.schedule.predecessors(name)
        inputs = [values[x] for x in before] or [batch]
        node = _Node(name, pipeline.stages[name], before, inputs, key, origin)
        seen.append(Seen(f"`{name}`", node.checked()))
    return Report("check_gradients", graph_name(pipeline, stream), tuple(seen))


def _ids(origin: Origin) -> list[int]:
    return records(origin.ids)


class _Node:
    """A stage with its inputs as a function of floating arrays, and its derivative."""

    def __init__(
        self,
        name: str,
        stage: Callable[..., Any],
        before: Sequence[str],
        inputs: list[PyTree],
        key: PRNGKeyArray | None,
        origin: Origin,
    ):
        self.name, self.kind, self.ids = name, type_name(stage), _ids(origin)
        moved, fixed = eqx.partition((stage, inputs), _is_floating)
        found, self.structure = jax.tree_util.tree_flatten_with_path(moved)
        self.places = [_place(i, path, before) for i, (path, _) in enumerate(found)]
        self.at = [jnp.asarray(x) for _, x in found]

        def run(arrays: list[Any]) -> list[Any]:
            own, given = eqx.combine(jax.tree.unflatten(self.structure, arrays), fixed)
            output = call(name, own, given, key, origin)
            return [x for x in jax.tree.leaves(output) if _is_floating(x)]

        self._run = jax.jit(run)
        self._pulled = jax.jit(lambda arrays, cotangents: jax.vjp(run, arrays)[1](cotangents)[0])

    def checked(self) -> str:
        """What was compared. **Errors:** AssertionError for the first number that is wrong."""
        if not self.places:
            return "no floating numbers to move"
        self.here = [_double(x) for x in self._run(self.at)]
        if not self.here:
            return "puts out no floating numbers"
        rng = np.random.default_rng(0)
        self.weights = [rng.choice([-1.0, 1.0], x.shape) for x in self.here]
        cotangents = [
            jnp.asarray(w, x.dtype) for w, x in zip(self.weights, self._run(self.at), strict=True)
        ]
        slopes = [_double(x) for x in self._pulled(self.at, cotangents)]
        for place, slope in zip(self.places, slopes, strict=True):
            if not np.isfinite(slope).all():
                at = tuple(int(x) for x in np.argwhere(~np.isfinite(slope))[0])
                fail(self._where(place, at), f"grad is {slope[at]}.")
            direction = rng.choice([-1.0, 1.0], slope.shape)
            if (found := self._misses(place, direction, slope)) is not None:
                self._fail(place, slope, direction, found)
        own = [x.name for x in self.places if x.is_own]
        given = [x.name for x in self.places if not x.is_own]
        shown = [
            f"{what} {listed(names)}" for what, names in (("array", own), ("input", given)) if names
        ]
        return f"grad is the difference, by {' and '.join(shown)}"

    def _misses(
        self, place: _Place, direction: _Numbers, slope: _Numbers
    ) -> tuple[float, float] | None:
        """The derivative along a direction and the difference, if no step agrees."""
        derivative = float((slope * direction).sum())
        seen: list[float] = []
        for size in _STEPS:
            difference, noise = self._difference(place, direction, size)
            largest = max(abs(derivative), abs(difference))
            if abs(derivative - difference) <= _ROOM * largest + noise:
                if noise <= _ROOM * largest or not seen:
                    return None
            elif noise <= _ROOM * largest:
                seen.append(difference)
        return (derivative, seen[-1]) if seen else None

    def _difference(self, place: _Place, direction: _Numbers, size: float) -> tuple[float, float]:
        array = self.at[place.number]
        here = _double(array)
        scale = float(np.sqrt(np.mean(here**2))) or 1.0
        ends, moves = [], []
        for sign in (1, -1):
            moved = jnp.asarray(here + sign * size * scale * direction, array.dtype)
            arrays = [moved if i == place.number else x for i, x in enumerate(self.at)]
            ends.append([_double(x) for x in self._run(arrays)])
            moves.append(_double(moved))
        # What was moved indeed, behind the rounding of the array.
        moved_by = float(np.abs(moves[0] - moves[1]).sum() / np.abs(direction).sum())
        changes = [(x - y) * w for x, y, w in zip(*ends, self.weights, strict=True)]
        eps = last_place(array.dtype)
        rounding = 4 * eps * float(np.sqrt(sum(float((x**2).sum()) for x in self.here)))
        return sum(float(x.sum()) for x in changes) / moved_by, rounding / moved_by

    def _fail(
        self, place: _Place, slope: _Numbers, direction: _Numbers, found: tuple[float, float]
    ) -> None:
        # The first number by which it shows, among the first.
        at: tuple[int, ...] | None = None
        for index in list(np.ndindex(slope.shape))[:_MOST]:
            alone = np.zeros(slope.shape)
            alone[index] = 1.0
            if (smaller := self._misses(place, alone, slope)) is not None:
                at, found = index, smaller
                break
        fail(
            self._where(place, at),
            f"grad is {found[0]:.6g}, but differences show {found[1]:.6g}; mend its derivative "
            f"(custom_jvp, custom_vjp, stop_gradient), or, if it is meant, pass "
            f"aside=({self.name!r},).",
        )

    def _where(self, place: _Place, at: tuple[int, ...] | None) -> str:
        node = f"node `{self.name}` ({self.kind})"
        what = f"array `{place.name}`" if place.is_own else f"input `{place.name}`"
        if not at:
            return f"{node}, {what}"
        if place.is_own or at[0] >= len(self.ids):
            return f"{node}, {what}{list(at)}"
        rest = list(at[1:])
        return f"{node}, {what}{rest or ''} of record {self.ids[at[0]]}"


def _place(index: int, path: tuple[Any, ...], before: Sequence[str]) -> _Place:
    if path[0].idx == 0:
        return _Place(index, path_text(path[1:]), True)
    field = path_text(path[2:])
    if len(before) < 2:
        return _Place(index, field or "batch", False)
    node = str(before[path[1].idx])
    return _Place(index, f"{node}/{field}" if field else node, False)


def _is_floating(leaf: object) -> bool:
    return (
        isinstance(leaf, jax.Array | np.ndarray)
        and jnp.issubdtype(leaf.dtype, jnp.floating)
        and leaf.size > 0
        and last_place(leaf.dtype) < _COARSE
    )


def _double(array: Shaped[Any, "..."]) -> _Numbers:
    return np.asarray(array).astype(np.float64)
