"""Where a pipeline on a mesh lives: what it holds lies on every device, and comes back there.

Without that, JAX would send data, keys and parameters to all devices at every step. How batches are
spread is told in `dagrax.pure`; how they are computed is not known here.
"""

from typing import Any, TypeVar

import jax
from flax import nnx
from jax.core import Tracer
from jax.sharding import SingleDeviceSharding
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._parts import Held, Parts, Path, Values, any_traced, is_same, raw_value
from .._records import Records
from ._checkpoint import can_be_set
from ._kept import Kept
from ._module import PipelineCore

_Tree = TypeVar("_Tree")


def move_in(pipeline: PipelineCore[Any, Any], mesh: object, batch_axis: object) -> None:
    """Put all that a new pipeline holds on the devices of its mesh, if it has one.

    **Errors:** those of `dagrax.pure.Stream` for a mesh, before anything is moved.
    """
    spread = internal.spread_of(mesh, batch_axis)
    if spread is None:
        return
    internal.check_divides(spread, pipeline._batch_size, (pipeline._shard or (0, 1))[1])
    spread.check_data(pipeline.source.pure()[0])
    pipeline._mesh = spread.mesh
    pipeline._batch_axis = spread.axes[0] if len(spread.axes) == 1 else spread.axes
    for name, node in pipeline.nodes.items():
        if not isinstance(node, nnx.Pytree):  # frozen, as an eqx.Module is: another one like it
            pipeline.nodes[name] = spread.everywhere(node)
    parts = Parts.of(pipeline)
    settle(pipeline, parts, parts.values(), pipeline)


def come_home(pipeline: PipelineCore[Any, Any], kept: Kept) -> None:
    """Put where the data are what was set from elsewhere, as a checkpoint is.

    It is asked for before each call, and looks only where another has set the position.
    """
    at = raw_value(pipeline._position)
    if kept.is_settled and kept.place is not None and kept.place[0] is at:
        return
    if isinstance(at, Tracer):
        return
    parts = Parts.of(pipeline)
    if any_traced(values := parts.values()):
        return
    if pipeline._mesh is not None:
        settle(pipeline, parts, values, pipeline)
    elif at.sharding.num_devices > 1:
        _back_to_one(pipeline, parts, values)
    pipeline._known(kept, pipeline._position.get_raw_value())
    kept.is_settled = True


def settle(
    pipeline: PipelineCore[Any, Any], parts: Parts, values: Values, modules: PyTree
) -> Values:
    """Put what modules hold on the devices of the pipeline's mesh; their values, as they are then.

    Where all of it lies there already, nothing is set.
    """
    spread = internal.spread_of(pipeline._mesh, pipeline._batch_axis)
    if spread is None:
        return values
    moved = {
        index: there
        for index, (path, here) in enumerate(zip(parts.paths, values, strict=True))
        if not is_same(here, there := spread.everywhere(here))
        and _can_be_set(modules, path, parts.leaves[index])
    }
    parts.write(modules, moved)
    return [moved.get(index, value) for index, value in enumerate(values)]


def _can_be_set(modules: PyTree, path: Path, leaf: nnx.Variable[PyTree]) -> bool:
    while isinstance(modules, tuple):
        modules, path = modules[path[0]], path[1:]
    return not isinstance(leaf, Held) or can_be_set(modules, path, leaf.get_raw_value())


def on_mesh_of(pipeline: PipelineCore[Any, Any], tree: _Tree) -> _Tree:
    """A pytree with its arrays on the devices of the pipeline's mesh, if it has one."""
    mesh = pipeline._mesh
    return tree if mesh is None else dp.on_mesh(tree, mesh)


def _back_to_one(pipeline: PipelineCore[Any, Any], parts: Parts, values: Values) -> None:
    # From a mesh to a pipeline that has none, and whose data lie on one device.
    records = jax.tree.leaves(nnx.state(pipeline.source, Records))
    if any(x.sharding.num_devices > 1 for x in records):
        return
    # Of a device alone, JAX would make an array that has the mesh in its type still.
    own = (device for x in records for device in x.devices())
    there = SingleDeviceSharding(next(own, jax.local_devices()[0]))
    moved = {
        index: jax.device_put(value, there)
        for index, value in enumerate(values)
        if isinstance(value, jax.Array) and value.sharding.num_devices > 1
    }
    parts.write(pipeline, moved)
