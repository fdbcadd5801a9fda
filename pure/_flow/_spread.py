"""How batches lie over the devices of a mesh, and where the arrays lie that they are read from.

A device reads its own rows of a batch, by ids that each has all of. Meshes of one process and of
several are alike here, for each process is asked for what its own devices hold. What the rows are,
and in which order they come, is not known.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import TypeAlias, TypeVar, cast

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree, Shaped

from .._mesh import explicit_mesh, laid, respread
from .._text import listed, near, of_type, path_text, valued

_Batch = TypeVar("_Batch")
_Tree = TypeVar("_Tree")
BatchAxis: TypeAlias = str | tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Spread:
    """The mesh that batches lie on, and the axes over which their rows are spread."""

    mesh: Mesh
    axes: tuple[str, ...]

    @property
    def parts(self) -> int:
        """The number of parts that a batch is spread in."""
        return math.prod(self.mesh.shape[axis] for axis in self.axes)

    def rows(self, read: Callable[..., _Batch], source: PyTree, *ids: Array) -> _Batch:
        """`read(source, *ids)`, each device its part of the rows.

        Rows that the devices do not divide, such as those of a short last batch, each has all of.
        """
        names = self._names(ids[0])
        if self._type is AxisType.Auto:
            over = NamedSharding(self.mesh, PartitionSpec(names))
            return _constrained(read(source, *ids), over)
        own = explicit_mesh(source)
        if own is None:  # the axes have been made Auto by an enclosing `jax.sharding.auto_axes`
            return read(source, *ids)
        if any(laid(leaf) for leaf in jax.tree.leaves(source) if isinstance(leaf, jax.Array)):
            rows = read(source, *ids)
            laid_out: _Batch = jax.tree.map(lambda x: respread(x, own, names), rows)
            return laid_out
        # As on Auto axes, or each device would read all the rows before it dropped those of others.
        laid_over = NamedSharding(own, PartitionSpec(names))
        run = cast(Callable[..., _Batch], jax.sharding.auto_axes(read, out_sharding=laid_over))
        return run(source, *ids)

    def whole(self, ids: _Tree) -> _Tree:
        """Ids that each device computes for itself, or the compiler would have them exchanged."""
        if self._type is not AxisType.Auto:
            return ids  # as their types say
        on_all = NamedSharding(self.mesh, PartitionSpec())
        return _constrained(ids, on_all)

    def each(self, numbers: _Tree) -> _Tree:
        """Numbers of the records, spread as their rows are, for what is drawn for each."""

        def one(array: Array) -> Array:
            over = NamedSharding(self.mesh, PartitionSpec(self._names(array)))
            if self._type is AxisType.Auto:
                return _constrained(array, over)
            own = explicit_mesh(array) or self.mesh.abstract_mesh
            return respread(array, own, self._names(array))

        spread: _Tree = jax.tree.map(one, numbers)
        return spread

    def _names(self, rows: Array) -> tuple[str, ...] | None:
        return self.axes if rows.shape[0] % self.parts == 0 else None

    @property
    def _type(self) -> AxisType:
        types: tuple[AxisType, ...] = self.mesh.axis_types
        return types[self.mesh.axis_names.index(self.axes[0])]

    def everywhere(self, tree: _Tree) -> _Tree:
        """A pytree with its arrays on every device of the mesh, but for what lies there already.

        What is traced, and what is no array, stays as it is. No process waits for another.
        """
        whole = NamedSharding(self.mesh, PartitionSpec())
        moved: _Tree = jax.tree.map(lambda x: x if self._holds(x) else _put(x, whole), tree)
        return moved

    def _holds(self, leaf: object) -> bool:
        if isinstance(leaf, Tracer) or not isinstance(leaf, jax.Array | np.ndarray):
            return True
        if not isinstance(leaf, jax.Array):
            return False
        if isinstance(leaf.sharding, NamedSharding):
            return bool(leaf.sharding.mesh == self.mesh)
        if AxisType.Explicit in self.mesh.axis_types:  # of which only the others tell
            return False
        return bool(leaf.sharding.device_set == set(self.mesh.devices.flat))

    def check_data(self, data: PyTree) -> None:
        """Refuse arrays that were put on other devices on purpose. **Errors:** ValueError."""
        for path, leaf in jax.tree_util.tree_leaves_with_path(data):
            if isinstance(leaf, Tracer) or not isinstance(leaf, jax.Array):
                continue
            sharding = leaf.sharding
            if not isinstance(sharding, NamedSharding) or sharding.mesh.size == 1:
                continue
            if sharding.mesh != self.mesh:
                field = path_text(path).rpartition("data/")[2]
                raise ValueError(
                    f"Field `{field}` lies on a mesh of {dict(sharding.mesh.shape)}, and "
                    f"mesh is one of {dict(self.mesh.shape)}; put the data there, "
                    "jax.device_put(data, NamedSharding(mesh, PartitionSpec())), or pass the mesh "
                    "that they lie on."
                )


def on_mesh(tree: _Tree, mesh: Mesh) -> _Tree:
    """A pytree with its arrays whole on every device of a mesh, but for what lies there already.

    For stages and keys beside a `Stream` with a mesh, which JAX would send there at every step.
    **Errors:** TypeError for what is no mesh; ValueError for one of other processes' devices.
    """
    everywhere: _Tree = _checked_mesh(mesh).everywhere(tree)
    return everywhere


def spread_of(mesh: object, batch_axis: object) -> Spread | None:
    """How batches are spread, None without a mesh.

    **Errors:** TypeError for what is no mesh of devices and no name of an axis; ValueError for an
    axis that the mesh has not, axes of different types, a mesh of other processes' devices, and an
    axis without a mesh.
    """
    if mesh is None:
        if batch_axis != "data":
            raise ValueError(
                f"batch_axis is {batch_axis!r}, but there is no mesh; pass one: "
                'mesh=jax.make_mesh((4,), ("data",)).'
            )
        return None
    spread = _checked_mesh(mesh)
    return dataclasses.replace(spread, axes=_axes(spread.mesh, batch_axis))


def _checked_mesh(mesh: object) -> Spread:
    if not isinstance(mesh, Mesh):
        expected = 'a mesh of devices: write mesh=jax.make_mesh((4,), ("data",)).'
        raise TypeError(of_type("mesh", mesh, expected))
    if not mesh.local_devices:
        raise ValueError(
            f"mesh has no device of this process, {jax.process_index()} of {jax.process_count()}; "
            "make one of the devices of all processes, jax.make_mesh((jax.device_count(),), "
            '("data",)), or of jax.local_devices().'
        )
    return Spread(mesh, ())


def _axes(mesh: Mesh, batch_axis: object) -> tuple[str, ...]:
    axes = (batch_axis,) if isinstance(batch_axis, str) else batch_axis
    names = isinstance(axes, tuple) and all(isinstance(axis, str) for axis in axes)
    if not isinstance(axes, tuple) or not names or not axes:
        expected = 'the name of an axis of the mesh: write batch_axis="data".'
        raise TypeError(valued("batch_axis", batch_axis, expected))
    known = [str(name) for name in mesh.axis_names]
    for axis in axes:
        if axis not in known:
            raise ValueError(
                f"batch_axis is {batch_axis!r}, but the axes of the mesh are {listed(known)}."
                + (near(axis, known) or f" Write batch_axis={known[0]!r}.")
            )
    types = dict(zip(known, mesh.axis_types, strict=True))
    if len({types[axis] for axis in axes}) > 1 or AxisType.Manual in types.values():
        told = ", ".join(f"`{axis}` is {kind.name}" for axis, kind in types.items())
        raise ValueError(
            f"batch_axis is {batch_axis!r}, and of the axes of the mesh {told}; rows are spread "
            "over axes that are all Explicit or all Auto: pass axis_types to jax.make_mesh."
        )
    return axes


def check_divides(spread: Spread, batch_size: int, shards: int) -> None:
    """Refuse a batch size that the mesh does not divide. **Errors:** ValueError."""
    if batch_size % (spread.parts * shards):
        over = f"the {spread.parts} devices along {listed(spread.axes)}"
        each = f" of each of {shards} shards" if shards > 1 else ""
        most = spread.parts * shards
        below, above = batch_size // most * most, -(-batch_size // most) * most
        choose = f"{below} or {above}" if below else f"{above}"
        raise ValueError(
            f"batch_size is {batch_size}, which {over}{each} do not divide; choose {choose}, or a "
            "mesh of fewer devices."
        )


def _constrained(tree: _Tree, sharding: NamedSharding) -> _Tree:
    def one(leaf: Array) -> Array:
        kept: Array = jax.lax.with_sharding_constraint(leaf, sharding)
        return kept

    constrained: _Tree = jax.tree.map(one, tree)
    return constrained


def _put(leaf: Array | np.ndarray, whole: NamedSharding) -> Array:
    placed: Array
    if whole.is_fully_addressable:
        placed = jax.device_put(leaf, whole)
        return placed
    # Not `device_put`, which has the processes compare what they hold.
    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = _put(jax.random.key_data(leaf), whole)
        placed = jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
        return placed
    held: Shaped[np.ndarray, "..."] = np.asarray(leaf)
    placed = jax.make_array_from_callback(held.shape, whole, lambda index: held[index])
    return placed
