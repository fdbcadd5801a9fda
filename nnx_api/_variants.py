from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dagrax.pure import internal

from ._compiled import FLAX_OWN, is_same, raw, same_structure
from ._records import Position, Records

_Module = TypeVar("_Module", bound=nnx.Pytree)
_Path = tuple[Any, ...]


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
    from ._pipeline import Pipeline  # which is built on this

    if isinstance(module, Pipeline) and module._variants:
        alone: Any = module.unstack()
        return list(alone)
    return unstacked(module, own_order=True)


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
    leaves = []
    for same in zip(*(nnx.to_flat_state(nnx.state(x)) for x in modules), strict=True):
        path, leaf = same[0]
        values = [raw(other) for _, other in same]
        varies = variant_axis(path, leaf, own_order) == 0
        leaves.append((path, _with(leaf, _joined(values) if varies else values[0])))
    together: _Module = nnx.merge(nnx.graphdef(first), nnx.from_flat_state(leaves))
    return together


def unstacked(module: _Module, *, own_order: bool) -> list[_Module]:
    """The modules that `stacked` has made one."""
    lengths = {
        jnp.shape(x)[:1]
        for path, leaf in nnx.to_flat_state(nnx.state(module))
        if variant_axis(path, leaf, own_order) == 0
        for x in jax.tree.leaves(raw(leaf))
    }
    if len(lengths) != 1 or () in lengths:
        raise ValueError(
            f"{type(module).__name__} is no stack of modules, whose Variables all have a leading "
            "axis of one length; make one by stack([...])."
        )
    return [one_of(module, index, own_order=own_order) for index in range(lengths.pop()[0])]


def one_of(module: _Module, index: int, *, own_order: bool) -> _Module:
    """One of the modules that `stacked` has made one."""
    leaves = [
        (path, _with(leaf, _at(raw(leaf), index)))
        if variant_axis(path, leaf, own_order) == 0
        else (path, _with(leaf, raw(leaf)))
        for path, leaf in nnx.to_flat_state(nnx.state(module))
    ]
    alone: _Module = nnx.merge(nnx.graphdef(module), nnx.from_flat_state(leaves))
    return alone


def variant_axis(path: _Path, leaf: Any, own_order: bool) -> int | None:
    """The axis of the variants in a Variable, None where they share it."""
    shared = isinstance(leaf, Records | Position) or (path[:1] == ("source",) and not own_order)
    return None if shared else 0


def have_own_orders(pipelines: Sequence[Any]) -> bool:
    """Whether the sources of pipelines differ in more than being other objects."""
    sources = [jax.tree.leaves(nnx.state(x.source, nnx.Not(Records))) for x in pipelines]
    return any(not _equal(x, y) for x in sources[1:] for x, y in zip(sources[0], x, strict=False))


def each_variant(
    fn: Callable[[Any, tuple[Any, ...], Any], tuple[Any, Any]],
    pipeline: Any,
    modules: tuple[Any, ...] = (),
    carry: Any = None,
) -> tuple[Any, Any]:
    """`fn(pipeline, modules, carry) -> (shared, output)`, over the variants if there are any.

    What `fn` sets in the modules is written back. Outputs get a leading axis of variants; what is
    shared gets none.
    """
    if not (levels := pipeline._variants):
        return fn(pipeline, modules, carry)
    everything = (pipeline, modules)
    graphdef, state = nnx.split(everything)
    flat = nnx.to_flat_state(state)
    axes = [variant_axis(path[1:], leaf, path[0] == 1 or levels[0]) for path, leaf in flat]
    _check_stacked(pipeline, modules, carry)

    def one(values: list[Any], carry: Any) -> tuple[Any, Any, dict[int, Any], dict[int, Any]]:
        leaves = [(p, _with(leaf, x)) for (p, leaf), x in zip(flat, values, strict=True)]
        own, own_modules = nnx.merge(graphdef, nnx.from_flat_state(leaves))
        own._variants = levels[1:]
        shared, output = each_variant(fn, own, own_modules, carry)
        own._variants = levels
        after, state = nnx.split((own, own_modules))
        same_structure(graphdef, after, "A variant")
        new = [raw(leaf) for _, leaf in nnx.to_flat_state(state)]
        changed = {i: x for i, x in enumerate(new) if not is_same(values[i], x)}
        return (
            shared,
            output,
            {i: x for i, x in changed.items() if axes[i] == 0},
            {i: x for i, x in changed.items() if axes[i] is None},
        )

    shared, output, *changed = jax.vmap(one, in_axes=(axes, 0), out_axes=(None, 0, 0, None))(
        [raw(leaf) for _, leaf in flat], carry
    )
    for index, value in (changed[0] | changed[1]).items():
        path, leaf = flat[index]
        if isinstance(leaf, nnx.Variable):
            leaf.set_raw_value(value)
        else:  # an array held without a Variable is replaced, not written to
            nnx.update(everything, nnx.from_flat_state([(path, value)]))
    return shared, output


def _check_stacked(pipeline: Any, modules: tuple[Any, ...], carry: Any) -> None:
    seeds = jnp.shape(pipeline._seed.get_raw_value())
    if not seeds:
        raise ValueError(
            "The pipeline has variants, which it maps over by itself, but their axis is gone; call "
            "it outside nnx.vmap, or give nnx.vmap pipelines that were stacked by stack([...])."
        )
    nodes = {f"nodes[{name!r}] ({_type(x)})": _state(x) for name, x in pipeline.nodes.items()}
    given = {f"modules[{index}] ({_type(x)})": _state(x) for index, x in enumerate(modules)}
    for name, value in {**nodes, **given, "init_carry": carry}.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(value):
            if (*jnp.shape(leaf), None)[0] != seeds[0]:
                mend = "stack([...])" if name != "init_carry" else f"jnp.zeros({seeds[0]}), say"
                raise ValueError(
                    f"The pipeline has {seeds[0]} variants, but {name} has no leading axis of "
                    f"{seeds[0]}: `{jax.tree_util.keystr(path) or name}` is "
                    f"{internal.spec_text(leaf)}. "
                    f"Give each variant its own, by {mend}"
                    + (", or pass it in shared=(…)." if name in given else ".")
                )


def _state(module: Any) -> Any:
    own = nnx.Not(nnx.Any(Records, Position))  # the others are held once
    return nnx.state(module, own) if isinstance(module, nnx.Pytree) else None


def _type(module: Any) -> str:
    return type(module).__name__


def _joined(values: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *xs: jnp.stack([jnp.asarray(x) for x in xs]), *values)


def _at(value: Any, index: int) -> Any:
    return jax.tree.map(lambda x: x[index], value)


def _with(leaf: Any, value: Any) -> Any:
    if not isinstance(leaf, nnx.Variable):
        return value
    return type(leaf).from_metadata(value, leaf.get_metadata())


def _equal(x: Any, y: Any) -> bool:
    if jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key):
        x, y = jax.random.key_data(x), jax.random.key_data(y)
    return bool(np.array_equal(np.asarray(x), np.asarray(y)))


def _unlike(a: Any, b: Any) -> Iterator[tuple[str, str, str]]:
    found = list(_differences(a, b, ""))
    paths = [[path for path, _ in nnx.to_flat_state(nnx.state(x))] for x in (a, b)]
    if not found and paths[0] != paths[1]:  # a Variable in two places, and two Variables
        found = [("variants", "of one graph", "of another")]
    yield from found


def _differences(a: Any, b: Any, place: str) -> Iterator[tuple[str, str, str]]:
    if type(a) is not type(b):
        yield place or "variants", f"of type {type(a).__name__}", f"of type {type(b).__name__}"
    elif isinstance(a, Records):
        alike = str(jax.tree.structure(raw(a))) == str(jax.tree.structure(raw(b)))
        if not alike or not is_same(raw(a), raw(b)):
            mend = "make all sources from the same JAX arrays"
            yield place, "one set of arrays", f"another ({mend})"
    elif isinstance(a, Position):
        if int(raw(a)) != int(raw(b)):
            yield place, str(int(raw(a))), f"{int(raw(b))} (seek one place with all)"
    elif isinstance(a, nnx.Variable):
        yield from internal.differences(raw(a), raw(b), place)
    elif isinstance(a, nnx.Pytree | dict | list | tuple):
        yield from _within(a, b, place)
    else:
        bare, other = (jax.tree.map(_no_module, x, is_leaf=_is_module) for x in (a, b))
        yield from internal.differences(bare, other, place, kinds=(np.ndarray, jax.Array))
        for (path, x), (_, y) in zip(_modules_in(a), _modules_in(b), strict=False):
            yield from _differences(x, y, f"{place}{path}")


def _within(a: Any, b: Any, place: str) -> Iterator[tuple[str, str, str]]:
    here, there = _attributes(a), _attributes(b)
    if set(here) != set(there):
        yield place or "variants", f"made of {', '.join(here)}", f"made of {', '.join(there)}"
        return
    for name, value in here.items():
        yield from _differences(value, there[name], f"{place}{name}".lstrip("."))


def _is_module(x: Any) -> bool:
    return isinstance(x, nnx.Pytree | nnx.Variable)


def _no_module(x: Any) -> Any:
    return None if _is_module(x) else x


def _modules_in(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_module)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves if _is_module(leaf)]


def _attributes(module: Any) -> dict[str, Any]:
    if isinstance(module, nnx.Pytree):
        return {f".{n.lstrip('_')}": x for n, x in vars(module).items() if n not in FLAX_OWN}
    items = module.items() if isinstance(module, dict) else enumerate(module)
    return {f"[{name!r}]": x for name, x in items}
