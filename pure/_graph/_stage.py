"""What a stage is: any callable pytree, read by its own signature, named after its type.

The graph that it stands in is not known here, nor batches: only how one stage wants to be called.
"""

import difflib
import functools
import inspect
import itertools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from .._mesh import alike
from .._random._keys import RecordKeys
from .._text import listed

Stage: TypeAlias = Callable[..., Any]

RANDOM = ("key", "record_keys")


def _same(batch: PyTree) -> PyTree:
    return batch


# How a function looks that one of the two has mapped.
_VMAP = getattr(jax.vmap(_same), "__code__", ...)
_FILTER_VMAP: type = type(eqx.filter_vmap(_same))


def as_stage(stage: Stage) -> Stage:
    """A callable as a pytree: its leaves are its own arrays, those that a functools.partial binds
    to it, or those of the object whose method it is; a function has none."""
    if not jax.tree_util.all_leaves([stage]):
        return stage
    if inspect.ismethod(stage) and _arrays_only(stage.__self__):
        return jax.tree_util.Partial(stage.__func__, stage.__self__)
    if not isinstance(stage, functools.partial):
        return jax.tree_util.Partial(stage)
    if _arrays_only((stage.args, stage.keywords)):
        return jax.tree_util.Partial(stage.func, *stage.args, **stage.keywords)
    return _Bound(stage)  # `Partial` would hide the signature


def random_arguments(stage: Stage, inputs: int = 1, *, required: bool = False) -> tuple[str, ...]:
    """Which keys a stage with so many inputs declares: `key`, one a batch, and `record_keys`, one a
    record; with `required`, only those without a default.

    A keyword is a key; a positional parameter is an input, whatever its name, unless it has a
    default and comes after them. What `jax.vmap` has mapped takes no keywords of its own.
    """
    if isinstance(stage, _PerRecord):
        asked = random_arguments(stage.fn, inputs, required=required)
        return ("record_keys",) if "key" in asked else ()
    signature = signature_of(stage)
    if signature is None or (not required and _is_mapped(stage)):
        return ()
    parameters = list(signature.parameters.values())
    return tuple(
        parameter.name
        for place, parameter in enumerate(parameters)
        if parameter.name in RANDOM and _is_key(parameter, place >= inputs, required)
    )


def _is_key(parameter: inspect.Parameter, is_behind: bool, required: bool) -> bool:
    if parameter.kind is parameter.KEYWORD_ONLY:
        # A `key` with a default of its own, such as "image", is no random key.
        return parameter.default is parameter.empty or (not required and parameter.default is None)
    positional = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    return positional and is_behind and parameter.default is None and not required


def _is_mapped(stage: Stage) -> bool:
    """Whether `jax.vmap` or `eqx.filter_vmap` has made it: they hand on no key for the batch."""
    stage = _mapped(stage)
    while not (isinstance(stage, _FILTER_VMAP) or getattr(stage, "__code__", None) is _VMAP):
        inner = stage.func if isinstance(stage, functools.partial) else _wrapped(stage)
        if inner is None:
            return False
        stage = inner
    return True


def _wrapped(stage: Stage) -> Stage | None:
    wrapped: Stage | None = getattr(stage, "__wrapped__", None)
    return wrapped


def arity_failure(name: str, stage: Stage, predecessors: Sequence[str]) -> str | None:
    """Why `stage` cannot be called with one argument for each predecessor, if it cannot."""
    signature = signature_of(stage)
    count = max(1, len(predecessors))
    if signature is None:
        return None
    keys = random_arguments(_mapped(stage), count)
    try:
        signature.bind(*(None,) * count, **dict.fromkeys(keys))
    except TypeError:
        inputs = "1 input" if count == 1 else f"{count} inputs"
        given = f"{inputs} ({listed(predecessors) if predecessors else 'the source'})"
        return (
            f"node `{name}` is called with {given}, but its signature is "
            f"{signature_text(signature)}; {_mend(signature, count)}change its parameters or its "
            "entry in `edges`."
        )
    return None


def signature_text(signature: inspect.Signature) -> str:
    """A signature without its annotations: `(first, second, *, key)`."""
    bare_parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare_parameters))


def _mend(signature: inspect.Signature, count: int) -> str:
    for place, (name, parameter) in enumerate(signature.parameters.items()):
        near = difflib.get_close_matches(name, [*RANDOM, "rng", "rngs"], n=1)
        if parameter.default is not parameter.empty or not near:
            continue
        if name not in RANDOM:
            return f"a random key is asked for as `key` or `record_keys`, not `{name}`; "
        if place >= count and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            return f"a random key is asked for by keyword: write `*, {name}`; "
    return ""


def per_record(fn: Stage) -> Stage:
    """A stage that maps `fn`, a function of one record, over the records of its batches.

    If `fn` declares a keyword `key`, it is given its record's own key. Gradients flow through
    `fn`'s leaves if it is a pytree.
    """
    return _PerRecord(as_stage(fn))


class _PerRecord(eqx.Module):
    fn: Stage

    def __call__(self, *batches: PyTree, record_keys: RecordKeys | None = None) -> PyTree:
        batches, keys = alike((batches, record_keys), (batches, record_keys))
        if keys is None:
            return jax.vmap(self.fn)(*batches)
        return jax.vmap(lambda key, *records: self.fn(*records, key=key))(keys, *batches)


class _Bound(eqx.Module):
    fn: Stage = eqx.field(static=True)

    def __call__(self, *batches: PyTree, **keys: object) -> PyTree:
        return self.fn(*batches, **keys)


def _arrays_only(tree: PyTree) -> bool:
    leaves = jax.tree.leaves(tree)
    return bool(leaves) and all(isinstance(x, jax.Array | np.ndarray) for x in leaves)


def is_per_record(stage: Stage) -> bool:
    """Whether a stage maps a function of one record."""
    return isinstance(stage, _PerRecord)


def bare(stage: Stage) -> Stage:
    """The function or the module inside `per_record` and functools.partial."""
    while isinstance(stage, _PerRecord | _Bound | functools.partial):  # jax's Partial is one
        stage = stage.func if isinstance(stage, functools.partial) else stage.fn
    return stage


def signature_of(stage: Stage) -> inspect.Signature | None:
    """How a stage is called, or for `per_record` its function; None where that cannot be read."""
    stage = _mapped(stage)
    while isinstance(stage, functools.partial) and not (stage.args or stage.keywords):
        stage = stage.func
    held: object = inspect.getattr_static(type(stage), "__call__", None)
    # Python takes the first argument for `self`, of what is bound to no object too.
    is_unbound = isinstance(held, staticmethod | classmethod) or not hasattr(held, "__get__")
    if is_unbound:
        stage = operator.attrgetter("__call__")(stage)
    try:
        return inspect.signature(stage)
    except (TypeError, ValueError):  # builtins have none
        return None


def _mapped(stage: Stage) -> Stage:
    while isinstance(stage, _PerRecord | _Bound):
        stage = stage.fn
    return stage


def stage_names(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Name stages after their type, `noise`, `noise_1`, …: each type is counted on its own, so a
    stage put in between renames no stage of another type."""
    names: dict[str, None] = {}
    for stage in stages:
        base = _snake(type_name(stage))
        numbered = (f"{base}_{count}" if count else base for count in itertools.count())
        names[next(name for name in numbered if name not in names)] = None
    return tuple(names)


def type_name(stage: Stage) -> str:
    """The name of a function, or of the type of any other stage, as its author wrote it."""
    if isinstance(stage := bare(stage), type):
        return stage.__name__
    stage = inspect.unwrap(stage)
    return stage.__name__ if inspect.isroutine(stage) else type(stage).__name__


def _snake(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    snake = re.sub(r"\W", "", words).lower().strip("_")
    return snake.removesuffix("_operator") or "stage"


def not_a_stage(name: str, stage: object) -> str:
    """Why a node is no stage: short, whatever it holds."""
    kind, text = type(stage).__name__, repr(stage)
    what = f"{text} of type {kind}" if len(text) < 40 else f"of type {kind}"
    mend = "pass a function, or give its class a `__call__`."
    if isinstance(stage, list | tuple | Mapping):
        mend = "a node is one stage, or a list of stages: give these a node of their own."
    return f"Node `{name}` is {what}, which cannot be called; {mend}"
