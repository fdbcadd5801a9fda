"""What a program of a pipeline depends on, in words: to say why one had to be compiled.

Looked for only when something was compiled. Names are those that a user would type.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from dagrax.pure import internal

from .._call._history import CHUNK, Facts, Said
from .._call._inside import ATOMS, BY_A_MODULE, inside, is_of_a_user
from .._call._programs import Program
from ._module import Modules, PipelineCore

_MOST = 5000  # objects that are looked at
_LONGEST = 60
_MOST_BYTES = 2**16  # of an array whose numbers are compared


def described(
    pipeline: PipelineCore[Any, Any],
    modules: Modules,
    step_fn: Callable[..., PyTree] | None,
    program: Program,
    args: tuple[PyTree, ...],
) -> Facts:
    """What a program of the pipeline, with these modules and arguments, depends on."""
    facts = dict(_of_the_pipeline(pipeline))
    for name, node in pipeline.nodes.items():
        facts |= _found(f"node `{name}`", internal.bare(node))
    for index, module in enumerate(modules):
        facts |= _found(f"modules[{index}]", module)
    if step_fn is not None:
        facts |= _found("the step function", step_fn)
    return {**facts, **dict(_of_the_call(pipeline, program, args))}


def _of_the_pipeline(pipeline: PipelineCore[Any, Any]) -> Iterator[tuple[tuple[str, str], Said]]:
    names = "batch_size", "remainder", "shard", "record_ids", "mesh"
    for name in names:
        yield (name, ""), Said(_short(getattr(pipeline, f"_{name}")))
    yield ("checked()", ""), Said("on" if pipeline._is_checked else "off")
    edges = {name: list(before) for name, before in pipeline._schedule.edges}
    yield ("edges", ""), Said(_short(edges), hash(repr(edges)))
    yield ("sink", ""), Said(repr(pipeline._schedule.sink))
    yield ("variants", ""), Said(str(pipeline._seed.get_raw_value().shape))
    source, order = pipeline._one_source().pure()
    spec = internal.spec_text(source.element_spec)
    yield ("source", ""), Said(f"{source.size} records of {spec}")
    yield ("order", ""), Said(type(order).__name__)


def _of_the_call(
    pipeline: PipelineCore[Any, Any], program: Program, args: tuple[PyTree, ...]
) -> Iterator[tuple[tuple[str, str], Said]]:
    name, static = program.fn.__name__, program.static
    if name in ("read", "outputs") and not (args and args[0] is not None):
        full = static[0] == pipeline._batch_size
        yield (
            ("records of the batch", ""),
            Said("all" if full else f"{static[0]}, the last of an epoch"),
        )
    if name.startswith("outputs"):
        yield ("nodes", ""), Said(_short(static[-1]))
    if name == "outputs":
        yield from _arrays("the batch", args[0])
    if name == "scan":
        yield ("length", ""), Said(str(static[2]))
    if name == "scan_fed":
        known = "all that are read at a time" if args[-1] is None else "any number"
        yield (CHUNK, ""), Said(known)
    if name.startswith("scan"):
        yield from _arrays("carry", args[0])


def _arrays(thing: str, tree: PyTree) -> Iterator[tuple[tuple[str, str], Said]]:
    yield (thing, "structure"), Said(_short(jax.tree.structure(tree)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        place = f"`{internal.path_text(path)}`" if path else "shape"
        yield (thing, place), Said(_spec(leaf))


def _found(thing: str, root: object) -> dict[tuple[str, str], Said]:
    found: dict[tuple[str, str], Said] = {}
    known: dict[int, object] = {}
    queue: deque[tuple[object, str, bool]] = deque([(root, "", False)])
    while queue and len(known) < _MOST:
        value, place, is_argument = queue.popleft()
        found.setdefault((thing, place), _said(value, is_argument=is_argument))
        if id(value) in known or isinstance(value, ATOMS) or not _is_open(value):
            continue
        known[id(value)] = value
        for step in inside(value):
            if not step.is_far or isinstance(step.value, bool | int | float | str):
                # What a module holds itself is given to a program, which does not keep it.
                is_argument = step.how == BY_A_MODULE
                queue.append((step.value, _place(place, step.text), is_argument))
    return found


def _place(before: str, text: str) -> str:
    own = text.strip()
    if text.startswith(" ") or not text:
        return f"`{own}`" if own else before
    path = before.removeprefix("attribute ").strip("`") + own
    return f"attribute `{path.removeprefix('.')}`"


def _is_open(value: object) -> bool:
    return (
        not callable(value)
        or is_of_a_user(str(getattr(value, "__module__", "")))
        or (isinstance(value, nnx.Pytree))
    )


def _said(value: object, *, is_argument: bool) -> Said:
    if isinstance(value, nnx.Variable):
        return Said(f"{type(value).__name__} {_spec(value.get_raw_value())}", _words(value))
    if isinstance(value, np.generic):
        return Said(_short(value))
    if isinstance(value, jax.Array | np.ndarray):
        return Said(_spec(value), 0 if is_argument else _mark(value))
    if isinstance(value, ATOMS):
        return Said(_short(value))
    code = getattr(value, "__code__", None)
    if code is not None:
        return Said(str(getattr(value, "__qualname__", code.co_name)), hash(_key(code)))
    return Said(type(value).__name__)


def _mark(value: jax.Array | np.ndarray) -> int:
    # No array of JAX is waited for, or brought from its device.
    if isinstance(value, np.ndarray) and value.nbytes <= _MOST_BYTES:
        return hash(value.tobytes())
    return id(value)


def _words(variable: nnx.Variable[PyTree]) -> int:
    return hash(repr(sorted(variable.get_metadata().items(), key=str)))


def _key(code: object) -> internal.StaticKey:
    return internal.static_key(code)


def _spec(value: PyTree) -> str:
    weak = isinstance(value, jax.Array) and bool(getattr(jax.typeof(value), "weak_type", False))
    return internal.spec_text(value) + " of a Python number" * weak


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
