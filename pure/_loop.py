"""WHERE THEY MEET: a graph, a stream and a cursor give the next batch; one step, an epoch, a scan.

Each is one compiled call outside a trace, and plain code inside one. How calls are compiled,
batches counted and nodes run stands elsewhere.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray, PyTree, UInt32

from ._apart import apart
from ._contract._mistyped import mistyped_field
from ._flow._batching import Batching, Cursor, check_cursor, check_length
from ._flow._carry import check_carry
from ._flow._spread import Spread
from ._flow._stream import Stream
from ._graph._evaluate import evaluate, output_failure
from ._graph._pipeline import Output, Pipeline
from ._graph._stage import signature_text
from ._graph._stepped import Stepped, counted
from ._random._keys import check_key
from ._random._origin import Origin
from ._static._call import called
from ._static._parts import Arrays, Memo, parts_of
from ._text import kind_text, of_type, spec_text

_PLAIN = (jax.Array, dict, tuple, list)
_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Carry = TypeVar("_Carry")
_Y = TypeVar("_Y")
_State: TypeAlias = tuple[Any, ...]  # arrays, and where values are looked at the step
_Start: TypeAlias = tuple[int, int]  # epoch and offset
_Place: TypeAlias = Cursor | UInt32[Array, "2"]  # epoch and offset on the device, or traced


def through(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    batch: _In,
    origin: Origin,
    key: PRNGKeyArray | None,
) -> _Out:
    """The output of the sink for a batch of the stream; under `"pad"` it keeps the mask."""
    sink = pipeline.schedule.sink
    output = stream.marked(batch, evaluate(pipeline, batch, key, origin, (sink,))[sink])
    finished: _Out = apart(output, origin.mark)
    return finished


def step(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    cursor: Cursor,
    *,
    key: PRNGKeyArray | None = None,
) -> tuple[Cursor, _Out]:
    """The next batch, through the pipeline: `(cursor behind it, output of the sink)`.

    Outside a trace it is compiled, once for all pipelines that are made from the same, and the
    `"partial"` policy gives a short last batch. `key` is needed where a stage draws.
    **Errors:** those of `Stream.take` and `apply`; ValueError where epochs end.
    """
    check_given(pipeline, stream, cursor, key)
    if cursor.is_traced:
        cursor, batch, origin = stream.take(cursor)
        return cursor, through(pipeline, stream, batch, origin, key)
    epoch, offset = stream.batching.settle(*cursor.as_ints()).as_ints()
    return _advanced(pipeline, stream, epoch, offset, key)


def epoch(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    cursor: Cursor,
    *,
    key: PRNGKeyArray | None = None,
) -> Iterator[tuple[Cursor, _Out]]:
    """Every `step` from the cursor to the end of its epoch, for a Python loop.

    An iterator over `(cursor behind the batch, output of the sink)`, whose `len` is the number that
    is left. The position goes to the device once, and moves on there. A short last batch under
    `"partial"` costs a compilation of its own. **Errors:** those of `step`; TypeError for a cursor
    inside a trace.
    """
    check_given(pipeline, stream, cursor, key)
    if cursor.is_traced:
        raise TypeError(
            "cursor is traced (jit, scan, vmap), where it is no number that a Python loop could "
            "end by; call dp.step there, or dp.scan(…, length=…)."
        )
    return _Epoch(pipeline, stream, cursor, key)


class _Epoch(Generic[_Out]):
    """The steps from a cursor to the end of its epoch."""

    def __init__(
        self,
        pipeline: Pipeline[Any, _Out],
        stream: Stream[Any],
        cursor: Cursor,
        key: PRNGKeyArray | None,
    ):
        self._given = pipeline, stream, key
        self._at = stream.batching.settle(*cursor.as_ints())
        self._left = stream.batching.steps_left(self._at.as_ints()[1])

    def __iter__(self) -> "_Epoch[_Out]":
        return self

    def __next__(self) -> tuple[Cursor, _Out]:
        if not self._left:
            raise StopIteration
        pipeline, stream, key = self._given
        self._at, output = _advanced(pipeline, stream, *self._at.as_ints(), key)
        self._left -= 1
        return self._at, output

    def __len__(self) -> int:
        return self._left


def scan(
    body: Callable[[_Carry, _Out], tuple[_Carry, _Y]],
    carry: _Carry,
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    cursor: Cursor,
    *,
    key: PRNGKeyArray | None = None,
    length: int,
) -> tuple[Cursor, _Carry, _Y]:
    """`length` steps as one XLA loop of `body(carry, batch) -> (carry, y)`.

    Returns the cursor behind the last batch, the last carry, and the stacked `y`. The data set is
    an operand of the loop, never part of its carry. Outside a trace it is compiled, once for all
    bodies and pipelines that are made from the same. **Errors:** those of `Stream.scan`; TypeError
    for a body that cannot be called with `(carry, batch)`; ValueError where epochs end.
    """
    check_length(length)
    check_given(pipeline, stream, cursor, key)
    check_callable(body, ("carry", "batch"))
    memo, batching, after = pipeline.memo, stream.batching, None
    at: _Place = cursor
    epoch, offset = 0, 0
    if not cursor.is_traced:
        epoch, offset = batching.settle(*cursor.as_ints()).as_ints()
        after = batching.after(epoch, offset, int(length))
        batching = batching.in_scan(Cursor(epoch, offset))
        at = _on_device(memo, stream.spread, (epoch, offset))
    carried = parts_of(carry, numbers=True)
    trees = [memo.apart(pipeline), memo.apart(stream), (body, parts_of(body)), (carry, carried)]
    end, arrays, ys = called(_scanned, trees, at, key, static=(int(length), batching), memo=memo)
    if after is not None:
        _remember(memo, stream.spread, ((epoch, offset), at), (after.as_ints(), end))
    return after or Cursor(end[0], end[1]), carried.together(arrays), ys


def check_given(pipeline: object, stream: object, cursor: object, key: object) -> None:
    """Refuse what is no pipeline, stream, cursor or key. **Errors:** TypeError."""
    if not isinstance(pipeline, Pipeline):
        expected = "a pipeline of the core: write Pipeline.linear([stage, …]), or from_dag."
        raise TypeError(of_type("pipeline", pipeline, expected))
    if not isinstance(stream, Stream):
        expected = "a stream: write Stream(ArraySource(data), batch_size=32)."
        raise TypeError(of_type("stream", stream, expected))
    check_cursor(cursor, wide=lambda: stream.is_wide)
    if key is not None:
        check_key("key", key)


def _scanned(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    body: Callable[[_Carry, _Out], tuple[_Carry, _Y]],
    carry: _Carry,
    at: _Place,
    key: PRNGKeyArray | None,
    static: tuple[int, Batching],
) -> tuple[_Place, Arrays, _Y]:
    (length, batching), carried = static, parts_of(carry, numbers=True)
    call = step_function(body, ("carry", "batch"), carries=True)

    def tick(state: _State, batch: _In, origin: Origin) -> tuple[_State, _Y]:
        arrays, *number = state
        before = carried.together(arrays)
        output = through(pipeline, stream, batch, origin, key)
        looked_at = [_stepped(call, before, output) for _ in number]
        new, y = call(before, output)
        check_carry(before, new)
        for stepped in looked_at:
            stepped.check({"carry": eqx.filter(new, eqx.is_array_like)}, y, origin, number[0])
        return (parts_of(new, numbers=True).arrays, *[one + np.uint32(1) for one in number]), y

    start: _State = (carried.arrays, *counted())
    end, last, ys = stream.with_batching(batching).scan(tick, start, Cursor(at[0], at[1]), length)
    return jnp.stack(end), last[0], ys


def _stepped(call: Callable[..., Output], carry: PyTree, batch: PyTree) -> Stepped:
    arrays, rest = eqx.partition(carry, eqx.is_array_like)

    def again(held: dict[str, PyTree], batch: PyTree) -> tuple[dict[str, PyTree], PyTree]:
        new, y = call(eqx.combine(held["carry"], rest), batch)
        return {"carry": eqx.filter(new, eqx.is_array_like)}, y

    return Stepped(again, {"carry": arrays}, batch)


def _advanced(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    epoch: int,
    offset: int,
    key: PRNGKeyArray | None,
) -> tuple[Cursor, _Out]:
    memo, batching, spread = pipeline.memo, stream.batching, stream.spread
    start, after = (epoch, offset), batching.after(epoch, offset, 1)
    at = _on_device(memo, spread, start)
    trees = [memo.apart(pipeline), memo.apart(stream)]
    output, there = called(_next, trees, at, key, static=batching.length(offset), memo=memo)
    # The next place is on the device already: nothing need be sent there for it.
    _remember(memo, spread, (start, at), (after.as_ints(), there))
    return after, output


def _next(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    at: _Place,
    key: PRNGKeyArray | None,
    length: int,
) -> tuple[_Out, _Place]:
    """A batch of a known length, and the place behind it."""
    cursor = Cursor(*(jnp.asarray(x, jnp.uint32) for x in (at[0], at[1])))
    batch, origin = stream.read(cursor, length)
    after = stream.batching.settle(cursor.epoch, cursor.offset + length)
    return through(pipeline, stream, batch, origin, key), jnp.stack(after)


def _on_device(memo: Memo, spread: Spread | None, start: _Start) -> UInt32[Array, "2"]:
    # Where the last call left off, the place is there already; a call from its start repeats it.
    at: UInt32[Array, "2"] | None = memo.places.get((start, spread))
    if at is not None:
        return at
    place: Array = jax.device_put(np.array(start, np.uint32))
    return place if spread is None else spread.everywhere(place)


def _remember(memo: Memo, spread: Spread | None, *places: tuple[_Start, _Place]) -> None:
    # What belongs to a trace ends with it.
    memo.places = {(start, spread): at for start, at in places if not isinstance(at, Tracer)}


# What a user's step function is called with, and what it must return


def step_function(
    body: Callable[..., Output], names: tuple[str, ...], hint: str = "", *, carries: bool
) -> Callable[..., Output]:
    """A step function that is called with these positional arguments, the last being the batch.

    With `carries` it returns `(carry, y)`, and its first argument is the carry. `hint` says how it
    may be given more arguments. **Errors:** TypeError if it cannot be called with them; when it is
    called, its own with a note, and TypeError if it returns something else.
    """
    _check_arguments(body, names, hint)

    def call(*arguments: Output) -> Output:
        result = _noted(body, *arguments)
        if carries:
            result = _pair(result, arguments[0])
        # A carry may hold what is no array, as long as it stays: see `check_carry`.
        returned = (None, result[1]) if carries else result
        if returned is not None and (failure := output_failure(returned)):
            raise TypeError(f"The step function {failure}".replace("a batch, a pytree", "a pytree"))
        return result

    return call


def check_callable(body: Callable[..., Output], names: tuple[str, ...]) -> None:
    """Refuse a step function that cannot be called at all."""
    if not callable(body):
        raise TypeError(
            f"The step function is {body!r} of type {type(body).__name__}, which cannot be called; "
            f"pass a function of ({', '.join(names)})."
        )


def _check_arguments(body: Callable[..., Output], names: tuple[str, ...], hint: str = "") -> None:
    """Refuse a step function that cannot be called with these positional arguments.

    `hint` says how it may be given more of them.
    """
    check_callable(body, names)
    try:
        signature = inspect.signature(body)
    except (TypeError, ValueError):  # builtins have none to read
        return
    try:
        signature.bind(*names)
    except TypeError:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        own = [p for p in signature.parameters.values() if p.kind in kinds and p.default is p.empty]
        raise TypeError(
            f"The step function is called with ({', '.join(names)}), but its signature is "
            f"{signature_text(signature)}; give it {len(names)} positional "
            f"parameter{'s' * (len(names) > 1)}{hint if len(own) > len(names) else ''}."
        ) from None


def _noted(body: Callable[..., Output], *arguments: Output) -> Output:
    try:
        return body(*arguments)
    except Exception as error:
        *before, batch = arguments
        kinds = "".join(
            f"{spec_text(x) if isinstance(x, _PLAIN) else type(x).__name__}, " for x in before
        )
        if mistyped := mistyped_field(error, arguments):
            error.add_note(mistyped[0].upper() + mistyped[1:])
        error.add_note(
            f"This happened in the step function, called with ({kinds}batch {spec_text(batch)})."
        )
        raise


def _pair(result: Output, carry: Output) -> tuple[Output, Output]:
    given: object = jax.tree.structure(carry)
    if isinstance(result, tuple) and given == jax.tree.structure(result):
        raise TypeError(
            "The step function returned its carry alone; with a carry it must return a pair "
            "(carry, y): return carry, None if there is nothing to stack."
        )
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"The step function returned {kind_text(result)}; with a carry it must "
            "return a pair (carry, y): return carry, None if there is nothing to stack."
        )
    return result
