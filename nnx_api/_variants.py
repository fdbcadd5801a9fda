"""Modules of one structure as one whose Variables have a leading axis of variants.

`stack` and `unstack` are for models and optimizers. `each_variant` maps what runs inside a
compiled call over the variants of a pipeline. What variants share (data, position, a source whose
order is the same in all) has no axis. How pipelines are stepped is not known here.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from dagrax.pure import internal

from ._call._inside import attributes
from ._call._parts import Changed, Parts, Path, is_same, raw
from ._records import Position, Records

_Module = TypeVar("_Module", bound=nnx.Pytree)
_Out = TypeVar("_Out")
_Unlike = Iterator[tuple[str, str, str]]


def stack(modules: Sequence[_Module]) -> _Module:
    """Modules of one structure as one, whose Variables have a leading axis of variants.

    For models and optimizers; pipelines are stacked by `Pipeline.variants`.

    **Errors:** ValueError for no modules, and for modules that differ in anything but the values
    of Variables and arrays, naming each place with both values.
    """
    if not isinstance(modules, list | tuple):
        raise TypeError(
            f"modules is of type {type(modules).__name__}; expected a list of modules: write "
            "stack([model, other])."
        )
    for module in modules:
        if not isinstance(module, nnx.Pytree):
            raise TypeError(
                f"A variant is of type {type(module).__name__}; expected nnx modules: write "
                "stack([model, other])."
            )
    together: _Module = stacked(modules, own_order=True)
    return together


def unstack(module: _Module) -> list[_Module]:
    """The modules that were stacked, one by one, with Variables of their own.

    **Errors:** ValueError for a module whose Variables have no leading axis of one length.
    """
    levels = vars(module).get("_variants", ())  # those of a pipeline
    alone = unstacked(module, own_order=levels[0] if levels else True)
    for one in alone if levels else ():
        vars(one)["_variants"] = levels[1:]
    return alone


def stacked(modules: Sequence[_Module], *, own_order: bool) -> _Module:
    """Modules as one; without an order of its own, a variant shares its source with the others."""
    if not modules:
        raise ValueError("There are no variants to stack; pass at least one.")
    first, *others = modules
    different = internal.told_apart(
        (index, difference)
        for index, other in enumerate(others, start=1)
        for difference in _unlike(first, other)
    )
    if different:
        raise ValueError(
            f"The variants cannot be stacked:{different}\nVariants are alike in all but the values "
            "of their Variables: hold what varies in an nnx.Variable, and give all of them the "
            "same of the rest (functions, such as optax's, too)."
        )
    parts = Parts.of(first)
    columns = zip(*(Parts.of(module).values() for module in modules), strict=True)
    together: _Module = parts.together(
        [
            _joined(column) if axis == 0 else column[0]
            for axis, column in zip(axes_of(parts, own_order), columns, strict=True)
        ]
    )
    return together


def unstacked(module: _Module, *, own_order: bool) -> list[_Module]:
    """The modules that `stacked` has made one."""
    parts = Parts.of(module)
    axes = axes_of(parts, own_order)
    lengths = {
        jnp.shape(x)[:1]
        for axis, value in zip(axes, parts.values(), strict=True)
        for x in jax.tree.leaves(value)
        if axis == 0
    }
    if len(lengths) != 1 or () in lengths:
        raise ValueError(
            f"{type(module).__name__} is no stack of modules, whose Variables all have a leading "
            "axis of one length; make one by stack([...])."
        )
    return [one_of(module, index, own_order=own_order) for index in range(lengths.pop()[0])]


def one_of(module: _Module, index: int, *, own_order: bool) -> _Module:
    """One of the modules that `stacked` has made one."""
    parts = Parts.of(module)
    alone: _Module = parts.together(
        [
            jax.tree.map(lambda x: internal.entry(x, index), value) if axis == 0 else value
            for axis, value in zip(axes_of(parts, own_order), parts.values(), strict=True)
        ]
    )
    return alone


def axes_of(parts: Parts, own_order: bool) -> list[int | None]:
    """For each Variable the axis of the variants, None where they share it."""
    return [variant_axis(p, x, own_order) for p, x in zip(parts.paths, parts.leaves, strict=True)]


def variant_axis(path: Path, leaf: object, own_order: bool) -> int | None:
    """The axis of the variants in a Variable, None where they share it."""
    shared = isinstance(leaf, Records | Position) or (path[:1] == ("source",) and not own_order)
    return None if shared else 0


def have_own_orders(sources: Sequence[nnx.Module]) -> bool:
    """Whether sources differ in more than being other objects."""
    values = [jax.tree.leaves(nnx.state(source, nnx.Not(Records))) for source in sources]
    return any(not _equal(x, y) for x in values[1:] for x, y in zip(values[0], x, strict=False))


def each_variant(
    fn: Callable[[Any, Any, Any], tuple[Any, _Out]],
    pipeline: nnx.Module,
    levels: tuple[bool, ...],
    modules: tuple[nnx.Pytree, ...] = (),
    carry: PyTree = None,
) -> tuple[Any, _Out]:
    """`fn(pipeline, modules, carry) -> (shared, output)`, over the variants if there are any.

    What `fn` sets in the modules is written back. Outputs get a leading axis of variants; what is
    shared gets none. `levels` says for each axis of variants whether orders vary along it.
    """
    if not levels:
        return fn(pipeline, modules, carry)
    everything = (pipeline, modules)
    parts = Parts.of(everything)
    axes = [
        variant_axis(path[1:], leaf, path[0] == 1 or levels[0])
        for path, leaf in zip(parts.paths, parts.leaves, strict=True)
    ]

    def one(values: list[PyTree], carry: PyTree) -> tuple[Any, _Out, Changed, Changed]:
        own, own_modules = parts.together(values)
        vars(own)["_variants"] = levels[1:]
        shared, output = each_variant(fn, own, levels[1:], own_modules, carry)
        vars(own)["_variants"] = levels
        changed = parts.changes((own, own_modules), values, "A variant")
        apart, common = (
            {i: x for i, x in changed.items() if axes[i] == axis} for axis in (0, None)
        )
        return shared, output, apart, common

    values = parts.values()
    varying = ({i: x for i, x in enumerate(values) if axes[i] == 0}, carry)
    spread, carry = internal.alike(varying, varying)  # over the devices, where some of them are
    mapped = internal.over_variants(one, in_axes=(axes, 0), out_axes=(None, 0, 0, None))
    shared, output, apart, common = mapped([spread.get(i, x) for i, x in enumerate(values)], carry)
    parts.write(everything, apart | common)
    return shared, output


def check_stacked(count: int, given: dict[str, PyTree], modules: Sequence[str]) -> None:
    """Refuse what has no leading axis of `count` variants; `modules` may be shared instead."""
    for name, value in given.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(_own_state(value)):
            if (*jnp.shape(leaf), None)[0] != count:
                mend = "stack([...])" if name != "init_carry" else f"jnp.zeros({count}), say"
                raise ValueError(
                    f"The pipeline has {count} variants, but {name} has no leading axis of "
                    f"{count}: `{jax.tree_util.keystr(path) or name}` is "
                    f"{internal.spec_text(leaf)}. Give each variant its own, by {mend}"
                    + (", or pass it in shared=(…)." if name in modules else ".")
                )


def _own_state(value: PyTree) -> PyTree:
    own = nnx.Not(nnx.Any(Records, Position))  # the others are held once
    if isinstance(value, nnx.Pytree):
        return nnx.state(value, own)
    return None if callable(value) else value


def _joined(values: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *xs: jnp.stack([jnp.asarray(x) for x in xs]), *values)


def _equal(x: Any, y: Any) -> bool:
    if jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key):
        x, y = jax.random.key_data(x), jax.random.key_data(y)
    return bool(np.array_equal(np.asarray(x), np.asarray(y)))


def _unlike(a: nnx.Pytree, b: nnx.Pytree) -> _Unlike:
    found = list(_differences(a, b, ""))
    # One Variable in two places, and two Variables.
    if not found and Parts.of(a).paths != Parts.of(b).paths:
        found = [("variants", "of one graph", "of another")]
    yield from found


def _differences(a: object, b: object, place: str) -> _Unlike:
    if type(a) is not type(b):
        yield place or "variants", f"of type {type(a).__name__}", f"of type {type(b).__name__}"
    elif isinstance(a, Records):
        alike = str(jax.tree.structure(raw(a))) == str(jax.tree.structure(raw(b)))
        if not alike or not is_same(raw(a), raw(b)):
            mend = "make all sources from the same JAX arrays"
            yield place, "one set of arrays", f"another ({mend})"
    elif isinstance(a, Position):
        here, there = (np.asarray(raw(x)).tolist() for x in (a, b))
        if here != there:
            yield place, str(here), f"{there} (seek one place with all)"
    elif isinstance(a, nnx.Variable):
        yield from internal.differences(raw(a), raw(b), place)
    elif isinstance(a, nnx.Pytree | dict | list | tuple):
        yield from _within(a, b, place)
    else:
        bare, other = (jax.tree.map(_no_module, x, is_leaf=_is_module) for x in (a, b))
        yield from internal.differences(bare, other, place, kinds=(np.ndarray, jax.Array))
        for (path, x), (_, y) in zip(_modules_in(a), _modules_in(b), strict=False):
            yield from _differences(x, y, f"{place}{path}")


def _within(a: object, b: object, place: str) -> _Unlike:
    here, there = _attributes(a), _attributes(b)
    if set(here) != set(there):
        yield place or "variants", f"made of {', '.join(here)}", f"made of {', '.join(there)}"
        return
    for name, value in here.items():
        yield from _differences(value, there[name], f"{place}{name}".lstrip("."))


def _is_module(x: object) -> bool:
    return isinstance(x, nnx.Pytree | nnx.Variable)


def _no_module(x: PyTree) -> PyTree:
    return None if _is_module(x) else x


def _modules_in(tree: PyTree) -> list[tuple[str, object]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_module)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves if _is_module(leaf)]


def _attributes(module: object) -> dict[str, object]:
    if isinstance(module, nnx.Pytree):
        return {f".{name.lstrip('_')}": x for name, x in attributes(module).items()}
    items = module.items() if isinstance(module, dict) else enumerate(_items(module))
    return {f"[{name!r}]": x for name, x in items}


def _items(container: object) -> Sequence[object]:
    return container if isinstance(container, list | tuple) else ()
