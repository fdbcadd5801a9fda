import functools
import inspect
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax

from ._names import listed
from ._random import RecordKeys

RANDOM = ("key", "record_keys")


def as_stage(stage: Callable[..., Any]) -> Callable[..., Any]:
    """A callable pytree as it is; any other callable as a pytree without leaves."""
    if not jax.tree_util.all_leaves([stage]):
        return stage
    # `Partial` would hide the signature of a functools.partial.
    hidden = isinstance(stage, functools.partial)
    return _Bound(stage) if hidden else jax.tree_util.Partial(stage)


def random_arguments(stage: Callable[..., Any]) -> tuple[str, ...]:
    """Which keys a stage declares: `key`, one a batch, and `record_keys`, one a record."""
    if isinstance(stage, _PerRecord):
        return ("record_keys",) if "key" in random_arguments(stage.fn) else ()
    signature = _signature(stage)
    keyword = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = signature.parameters if signature else {}
    return tuple(n for n in RANDOM if n in parameters and parameters[n].kind in keyword)


def arity_failure(name: str, stage: Callable[..., Any], predecessors: Sequence[str]) -> str | None:
    """Why `stage` cannot be called with one argument for each predecessor, if it cannot."""
    if isinstance(stage, _PerRecord):
        return arity_failure(name, stage.fn, predecessors)
    signature = _signature(stage)
    count = max(1, len(predecessors))
    if signature is None:
        return None
    try:
        signature.bind(*(None,) * count, **dict.fromkeys(random_arguments(stage)))
    except TypeError:
        inputs = "1 input" if count == 1 else f"{count} inputs"
        given = f"{inputs} ({listed(predecessors) if predecessors else 'the source'})"
        return (
            f"node `{name}` is called with {given}, but its signature is {signature}; "
            "change its parameters or its entry in `edges`."
        )
    return None


def per_record(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A stage that maps `fn`, a function of one record, over the records of its batches.

    If `fn` declares a keyword `key`, it is given its record's own key. Gradients flow through
    `fn`'s leaves if it is a pytree.
    """
    return _PerRecord(as_stage(fn))


class _PerRecord(eqx.Module):
    fn: Callable[..., Any]

    def __call__(self, *batches: Any, record_keys: RecordKeys | None = None) -> Any:
        if record_keys is None:
            return jax.vmap(self.fn)(*batches)
        return jax.vmap(lambda key, *records: self.fn(*records, key=key))(record_keys, *batches)


class _Bound(eqx.Module):
    fn: Callable[..., Any] = eqx.field(static=True)

    def __call__(self, *batches: Any, **keys: Any) -> Any:
        return self.fn(*batches, **keys)


def _signature(stage: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(stage.fn if isinstance(stage, _Bound) else stage)
    except (TypeError, ValueError):  # builtins have none to read
        return None


def stage_names(stages: Sequence[Callable[..., Any]]) -> tuple[str, ...]:
    """Name stages after their type, `noise`, `noise_1`, …: each type is counted on its own, so a
    stage put in between renames no stage of another type."""
    names: dict[str, None] = {}
    for stage in stages:
        base = _snake(type_name(stage))
        numbered = (f"{base}_{count}" if count else base for count in itertools.count())
        names[next(name for name in numbered if name not in names)] = None
    return tuple(names)


def type_name(stage: Callable[..., Any]) -> str:
    """The name of a function, or of the type of any other stage, as its author wrote it."""
    if isinstance(stage, _PerRecord | _Bound):
        return type_name(stage.fn)
    if isinstance(stage, functools.partial):  # jax.tree_util.Partial is one
        return type_name(stage.func)
    stage = inspect.unwrap(stage)
    return stage.__name__ if inspect.isroutine(stage) else type(stage).__name__


def _snake(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    snake = re.sub(r"\W", "", words).lower().strip("_")
    return snake.removesuffix("_operator") or "stage"
