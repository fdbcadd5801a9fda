import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ._flow._apart import apart
from ._flow._batching import Cursor
from ._flow._stream import Stream
from ._graph._pipeline import Pipeline, apply, output_failure
from ._graph._stage import signature_text
from ._random._origin import Origin
from ._text import spec_text

_PLAIN = (jax.Array, dict, tuple, list)
_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Carry = TypeVar("_Carry")
_Y = TypeVar("_Y")


def step(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    cursor: Cursor,
    *,
    key: PRNGKeyArray | None = None,
) -> tuple[Cursor, _Out]:
    """The next batch, through the pipeline: `(cursor behind it, output of the sink)`.

    Outside a trace, the `"partial"` policy gives a short last batch. `key` is needed where a stage
    draws. **Errors:** those of `Stream.take` and `apply`.
    """
    cursor, batch, origin = stream.take(cursor)
    return cursor, _output(pipeline, stream, batch, origin, key)


def epoch(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    cursor: Cursor,
    *,
    key: PRNGKeyArray | None = None,
) -> Iterator[tuple[Cursor, _Out]]:
    """Every `step` from the cursor to the end of its epoch, compiled, for a Python loop.

    Yields `(cursor behind the batch, output of the sink)`. A short last batch under `"partial"`
    costs a compilation of its own.
    """
    batching = stream.batching
    epoch, offset = batching.settle(*cursor.as_ints()).as_ints()
    now = epoch
    while epoch == now:
        length = batching.length(offset)
        at = Cursor(np.uint32(epoch), np.uint32(offset))
        output = _compiled_read(pipeline, stream, at, key, length)
        epoch, offset = batching.settle(epoch, offset + length).as_ints()
        yield Cursor(np.uint32(epoch), np.uint32(offset)), output


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
    an operand of the loop, never part of its carry. Call it inside a function under `jax.jit`,
    which keeps the program. **Errors:** those of `Stream.scan`; TypeError
    for a body that cannot be called with `(carry, batch)`.
    """
    check_arguments(body, ("carry", "batch"))

    def through(carry: _Carry, batch: _In, origin: Origin) -> tuple[_Carry, _Y]:
        output = _output(pipeline, stream, batch, origin, key)
        return pair(stepped(body, carry, output))

    return stream.scan(through, carry, cursor, length)


def check_arguments(body: Callable[..., Any], names: tuple[str, ...], hint: str = "") -> None:
    """Refuse a step function that cannot be called with these positional arguments.

    `hint` says how it may be given more of them.
    """
    if not callable(body):
        raise TypeError(
            f"The step function is {body!r} of type {type(body).__name__}, which cannot be called; "
            f"pass a function of ({', '.join(names)})."
        )
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


def stepped(body: Callable[..., Any], *arguments: Any) -> Any:
    """What a step function returns for a batch, its last argument, and those before it.

    **Errors:** those of the step function, with a note of what it was called with; TypeError if it
    returns anything but arrays.
    """
    try:
        result = body(*arguments)
    except Exception as error:
        *before, batch = arguments
        kinds = "".join(
            f"{spec_text(x) if isinstance(x, _PLAIN) else type(x).__name__}, " for x in before
        )
        error.add_note(
            f"This happened in the step function, called with ({kinds}batch {spec_text(batch)})."
        )
        raise
    if result is not None and (failure := output_failure(result)):
        raise TypeError(f"The step function {failure}".replace("a batch, a pytree", "a pytree"))
    return result


def _output(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    batch: _In,
    origin: Origin,
    key: PRNGKeyArray | None,
) -> Any:
    output = stream.marked(batch, apply(pipeline, batch, key=key, origin=origin))
    return apart(output, origin.offset)


def pair(result: Any) -> tuple[Any, Any]:
    """What a step function with a carry returned, `(carry, y)`; refuse anything else."""
    if not isinstance(result, tuple) or len(result) != 2:
        kind = type(result).__name__
        if isinstance(result, jax.Array):
            kind = spec_text(result)
        raise TypeError(
            f"The step function returned {kind}; with a carry it must "
            "return a pair (carry, y): return carry, None if there is nothing to stack."
        )
    return result


@eqx.filter_jit
def _compiled_read(
    pipeline: Pipeline, stream: Stream, cursor: Cursor, key: PRNGKeyArray | None, length: int
) -> Any:
    batch, origin = stream.read(cursor, length)
    return _output(pipeline, stream, batch, origin, key)
