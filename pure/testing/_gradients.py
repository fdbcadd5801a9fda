"""Whether the derivatives of a graph are those of what it computes: node by node, by differences.

Each array and each record of each input is moved along a random direction, and each record of each
output looked at apart, so that nothing cancels. Loops are not known.
"""

import functools
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, PyTree, Shaped

from .._flow._stream import Stream
from .._graph._evaluate import call, outputs
from .._graph._pipeline import Pipeline
from .._graph._stage import type_name
from .._loop import check_given
from .._random._origin import Origin
from .._text import listed, path_text
from ._compared import last_place
from ._read import on_one_device, read, records, some
from ._report import Report, Seen, check_names, check_parts, fail, graph_name

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


class _Output(NamedTuple):
    """A field that a node puts out, weighed: at one record, or whole where it has no records."""

    number: int
    name: str
    weights: _Numbers


class _Ends(NamedTuple):
    """What a node puts out on both sides of where it stands, and how far they are from there."""

    after: list[_Numbers]
    before: list[_Numbers]
    by: float
    last_place: float


def check_gradients(
    pipeline: Pipeline[Any, Any],
    stream: Stream[Any],
    key: PRNGKeyArray | None = None,
    *,
    records: int = 4,
    aside: Sequence[str] = (),
) -> Report:
    """Whether `jax.grad` through each node is what differences of its outputs show.

    Each floating array that a stage holds, and each record of each floating field that it reads, is
    moved along a random direction, by steps of three sizes, one of which must agree within 3 % at
    each record of each field that it puts out.

    - `key`: the seed of the draws, which stay as they are.
    - `records`: how many of the first batch are looked at.
    - `aside`: nodes whose derivative is meant to be another, as that of a straight-through round.

    What samples images between their pixels has a kink at each of them: of noise, differences show
    another slope than `jax.grad`, which is right; give images that are smooth.

    **Errors:** AssertionError with the first node, array or field, and number that fail.
    """
    check_parts("check_gradients", pipeline, stream)
    check_given(pipeline, stream, stream.start(), key)
    aside = check_names("aside", aside, pipeline.stages)
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

        def run(arrays: list[Any]) -> PyTree:
            own, given = eqx.combine(jax.tree.unflatten(self.structure, arrays), fixed)
            return eqx.filter(call(name, own, given, key, origin), _is_floating)

        self._run = jax.jit(run)
        self._pulled = jax.jit(lambda arrays, cotangents: jax.vjp(run, arrays)[1](cotangents)[0])

    def checked(self) -> str:
        """What was compared. **Errors:** AssertionError for the first number that is wrong."""
        if not self.places:
            return "no floating numbers to move"
        found = self._run(self.at)
        named, self.put_out = jax.tree_util.tree_flatten_with_path(found)
        self.here, self.dtypes = [_double(x) for _, x in named], [x.dtype for _, x in named]
        if not self.here:
            return "puts out no floating numbers"
        rng = np.random.default_rng(0)
        names = [path_text(path) if path else "" for path, _ in named]
        self.outputs = [
            _Output(number, names[number], weights)
            for number, x in enumerate(self.here)
            for weights in self._apart(_random(rng, x.shape))
        ]
        directions = [
            [_random(rng, x.shape)] if place.is_own else [*self._apart(_random(rng, x.shape))]
            for place, x in zip(self.places, self.at, strict=True)
        ]
        derivatives = self._derivatives(directions)
        for place, apart, slopes in zip(self.places, directions, derivatives, strict=True):
            for direction, along in zip(apart, slopes, strict=True):
                self._judge(place, direction, along, rng)
        own = [x.name for x in self.places if x.is_own]
        given = [x.name for x in self.places if not x.is_own]
        shown = [
            f"{what} {listed(names)}" for what, names in (("array", own), ("input", given)) if names
        ]
        return f"grad is the difference, by {' and '.join(shown)}"

    def _apart(self, numbers: _Numbers) -> list[_Numbers]:
        """The numbers of one record each, and nothing elsewhere; of what has no records, all."""
        if not numbers.ndim or len(numbers) != len(self.ids):
            return [numbers]
        rows = np.arange(len(numbers)).reshape(-1, *(1,) * (numbers.ndim - 1))
        return [np.where(rows == row, numbers, 0.0) for row in range(len(numbers))]

    def _slopes(self, output: _Output) -> list[_Numbers]:
        zeros = [jnp.zeros(x.shape, dtype) for x, dtype in zip(self.here, self.dtypes, strict=True)]
        zeros[output.number] = jnp.asarray(output.weights, self.dtypes[output.number])
        cotangents = jax.tree.unflatten(self.put_out, zeros)
        return [_double(x) for x in self._pulled(self.at, cotangents)]

    def _derivatives(self, directions: list[list[_Numbers]]) -> list[list[list[float]]]:
        """Of each place, along each of its directions, that of each output."""
        found: list[list[list[float]]] = [[[] for _ in apart] for apart in directions]
        for output in self.outputs:
            slopes = self._slopes(output)
            for place, slope in zip(self.places, slopes, strict=True):
                if not np.isfinite(slope).all():
                    at = tuple(int(x) for x in np.argwhere(~np.isfinite(slope))[0])
                    fail(self._where(place, at), f"grad is {slope[at]}.")
                for row, direction in enumerate(directions[place.number]):
                    found[place.number][row].append(float((slope * direction).sum()))
        return found

    def _judge(
        self, place: _Place, direction: _Numbers, along: list[float], rng: np.random.Generator
    ) -> None:
        ends = self._ends(place, direction)
        for output, derivative in zip(self.outputs, along, strict=True):
            if (found := self._misses(output, derivative, ends)) is None:
                continue
            # Once more, for a sum may nearly cancel, and all that is left of it be inexact.
            other, weights = (
                np.where(x != 0, _random(rng, x.shape), 0.0) for x in (direction, output.weights)
            )
            again = output._replace(weights=weights)
            if self._along(place, other, again, self._slopes(again)) is not None:
                self._fail(place, output, found)

    def _along(
        self, place: _Place, direction: _Numbers, output: _Output, slopes: list[_Numbers]
    ) -> tuple[float, float] | None:
        derivative = float((slopes[place.number] * direction).sum())
        return self._misses(output, derivative, self._ends(place, direction))

    def _misses(
        self, output: _Output, derivative: float, ends: Callable[[float], _Ends]
    ) -> tuple[float, float] | None:
        """The derivative along a direction and the difference, if no step agrees."""
        seen: list[float] = []
        for size in _STEPS:
            after, before, terms, noise = self._differences(output, ends(size))
            difference = (after + before) / 2
            largest = max(abs(derivative), terms)  # of a sum that cancels its terms
            room, is_seen = _ROOM * largest + noise, noise <= _ROOM * largest
            low, high = difference, difference
            if size == _STEPS[-1]:  # so near, the sides differ at a kink alone
                low, high = min(after, before), max(after, before)
            if low - room <= derivative <= high + room:
                if is_seen or not seen:
                    return None
            elif is_seen:
                seen.append(difference)
        return (derivative, seen[-1]) if seen else None

    def _ends(self, place: _Place, direction: _Numbers) -> Callable[[float], _Ends]:
        """What is put out by steps of a size along a direction; each is taken once."""
        array = self.at[place.number]
        here = _double(array)
        scale = float(np.sqrt(np.mean(here**2))) or 1.0

        @functools.cache
        def by(size: float) -> _Ends:
            ends, moves = [], []
            for sign in (1, -1):
                moved = jnp.asarray(here + sign * size * scale * direction, array.dtype)
                arrays = [moved if i == place.number else x for i, x in enumerate(self.at)]
                ends.append([_double(x) for x in jax.tree.leaves(self._run(arrays))])
                moves.append(_double(moved))
            # What was moved indeed, behind the rounding of the array.
            by = float(np.abs(moves[0] - moves[1]).sum() / np.abs(direction).sum())
            return _Ends(ends[0], ends[1], by, last_place(array.dtype))

        return by

    def _differences(self, output: _Output, ends: _Ends) -> tuple[float, float, float, float]:
        """That to each side, how large its terms are, and how far rounding may take it."""
        here, used = self.here[output.number], output.weights != 0
        with np.errstate(invalid="ignore"):  # of what is infinite nothing is seen
            after, before = (
                ((there[output.number] - here) * output.weights)[used] * (2 / ends.by)
                for there in (ends.after, ends.before)
            )
            terms = (after - before) / 2
            sides = float(after.sum()), -float(before.sum()), float(np.sqrt((terms**2).sum()))
        size = float(np.sqrt((here[np.isfinite(here)] ** 2).sum()))
        return *sides, 4 * ends.last_place * size / ends.by

    def _fail(self, place: _Place, output: _Output, found: tuple[float, float]) -> None:
        # The first number by which it shows, among the first; of the plain sum where that shows it.
        at, summed = None, output._replace(weights=np.where(output.weights, 1.0, 0.0))
        for weighed in (summed, output):
            slopes = self._slopes(weighed)
            shape = slopes[place.number].shape
            for index in islice(np.ndindex(shape), _MOST):
                alone = np.zeros(shape)
                alone[index] = 1.0
                if at is None and (smaller := self._along(place, alone, weighed, slopes)):
                    at, found = index, smaller
        of = f" of `{output.name}`" if output.name and len(self.here) > 1 else ""
        fail(
            self._where(place, at),
            f"grad{of} is {found[0]:.6g}, but differences show {found[1]:.6g}; mend its derivative "
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


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> _Numbers:
    # Not signs alone, whose sums cancel; and none near 0.
    return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape))
