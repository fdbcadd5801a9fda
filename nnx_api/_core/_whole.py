"""A pipeline, and the modules and pytrees beside it, as `host.Checkpoints` takes and sets them.

Modules are taken apart once, so that what they share is held once, and written back at once, the
position with the rest. How a checkpoint is written, and what it is held against, is not known here.
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._parts import Held, Parts, Values
from .._records import Ordering, Records, Seed
from ._checkpoint import can_be_set
from ._identity import digests
from ._kept import Kept
from ._module import PipelineCore

_ASIDE = (Records, Ordering, Seed)  # held against digests, not saved
_POSITION = ("pipeline", "_position")


def whole(pipeline: PipelineCore[Any, Any], state: Mapping[str, PyTree]) -> internal.Whole:
    """All that a checkpoint of them holds, and how it is put back: all of it, or none."""
    modules: dict[str, PyTree] = {"pipeline": pipeline}
    for name, value in state.items():
        if not _is_module(value):
            internal.check_holder(name, value)
        modules |= _modules(name, value)
    parts = Parts.of(modules)
    with Kept.beside(pipeline).lock:
        arrays = _saved(modules, parts)
        keys = _keys(modules, parts)
        for name, value in state.items():
            arrays |= internal.named(name, value, _is_module)
            keys |= internal.key_kinds(name, value, _is_module)
        cursor = pipeline.cursor
        about = _about(modules)

    def put(cursor: dp.Cursor, arrays: Mapping[str, internal.Saved]) -> None:
        filled = {
            name: internal.refilled(name, value, arrays, _is_module)
            for name, value in state.items()
            if not _is_module(value)
        }
        with Kept.beside(pipeline).lock:
            values = _restored(modules, parts, arrays)
            values[parts.paths.index(_POSITION)] = pipeline._placed(cursor)
            parts.write(modules, values)
            for name, value in filled.items():
                internal.fill(state[name], value)

    return internal.Whole(cursor, about, arrays, keys, put)


def _is_module(value: object) -> bool:
    return isinstance(value, nnx.Pytree | nnx.Variable)


def _about(modules: Mapping[str, PyTree]) -> dict[str, str]:
    # Of a pipeline beside the first by names of its own: `valid/seed`.
    found: dict[str, str] = {}
    for name, module in modules.items():
        if isinstance(module, PipelineCore):
            policy = internal.policy(module._stream().batching)
            of = "" if name == "pipeline" else f"{name}/"
            found |= {of + x: y for x, y in {**digests(module), "policy": policy}.items()}
    return found


def _modules(name: str, value: PyTree) -> dict[str, PyTree]:
    found = internal.leaves_of(name, value, _is_module)
    return {
        f"{name}/{internal.path_text(path)}" if path else name: leaf
        for path, leaf in found
        if _is_module(leaf)
    }


def _saved(modules: PyTree, parts: Parts) -> dict[str, internal.Saved]:
    found: dict[str, internal.Saved] = {}
    for index in _own(modules, parts):
        found |= internal.named(_name(parts, index), parts.values()[index])
    return found


def _keys(modules: PyTree, parts: Parts) -> dict[str, str]:
    found: dict[str, str] = {}
    for index in _own(modules, parts):
        found |= internal.key_kinds(_name(parts, index), parts.values()[index])
    return found


def _restored(
    modules: PyTree, parts: Parts, arrays: Mapping[str, internal.Saved]
) -> dict[int, PyTree]:
    values: Values = parts.values()
    return {
        index: internal.refilled(_name(parts, index), values[index], arrays)
        for index in _own(modules, parts)
    }


def _own(modules: PyTree, parts: Parts) -> list[int]:
    leaves = enumerate(zip(parts.paths, parts.leaves, strict=True))
    return [
        index
        for index, (path, leaf) in leaves
        if not isinstance(leaf, _ASIDE)
        and path != _POSITION
        and (not isinstance(leaf, Held) or can_be_set(modules, path, leaf.get_raw_value()))
    ]


def _name(parts: Parts, index: int) -> str:
    return "/".join(map(str, parts.paths[index]))
