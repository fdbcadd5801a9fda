"""Sources joined: one behind the other, or record by record. Nothing is copied.

What the joined ones are, and how each reads its records, is not known.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int64, PyTree, UInt32

from .._mesh import alike, explicit_mesh, laid_as
from .._namespace import Batch as Batched
from .._namespace import Flags, namespace, plain
from .._text import of_type, path_text, spec_text, valued
from ._host_source import AbstractHostSource
from ._hosted import given_part
from ._source import AbstractSource, Batch

_MOST = 2**32 - 1


class Concat(AbstractSource[Batch]):
    """The records of some sources, one source behind the other (elsewhere: `ConcatDataset`).

    A record's id is its place in the whole. Every source is read for every batch, so that a few
    sources cost little and hundreds much.

    **Errors:** TypeError for anything but a list of sources, and for records of other dtypes, for
    nothing is promoted; ValueError for no sources, and for records of other fields or shapes, or
    on another mesh.
    """

    sources: tuple[AbstractSource[Batch], ...]

    def __init__(self, sources: Sequence[AbstractSource[Batch] | AbstractHostSource[Batch]]):
        if not isinstance(sources, list | tuple):
            raise TypeError(of_type("sources", sources, "a list of sources: Concat([a, b])."))
        if not sources:
            raise ValueError("sources are empty; expected at least one source.")
        names = [f"sources[{index}]" for index in range(len(sources))]
        own = {name: given_part(name, x) for name, x in zip(names, sources, strict=True)}
        check_alike(own)
        _check_meshes(own)
        if (total := sum(source.size for source in own.values())) > _MOST:
            raise ValueError(
                f"sources have {total} records together; expected at most {_MOST}. Join fewer, or "
                "views of them: dp.Subset(source, slice(2**31))."
            )
        self.sources = tuple(own.values())

    @property
    def size(self) -> int:
        return sum(source.size for source in self.sources)

    @property
    def annotation(self) -> object:
        """What a batch of the first source is."""
        return self.sources[0].annotation

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one record, the same in all sources."""
        return self.sources[0].element_spec

    def rows(self, ids: UInt32[Array, " batch"]) -> Batch:
        (first, _), *others = self.located(ids)
        rows: Batch = self.sources[0].rows(first)
        for source, (own, is_here) in zip(self.sources[1:], others, strict=True):
            rows = _where(is_here, source.rows(own), rows)
        return rows

    def fetch(
        self, ids: Int64[np.ndarray, " batch"], out: PyTree[np.ndarray] | None = None
    ) -> PyTree[np.ndarray]:
        found = _room(self.element_spec, len(ids)) if out is None else out
        for source, (own, is_here) in zip(
            self.sources, self.located(plain(ids.astype(np.uint32))), strict=True
        ):
            if not np.any(is_here):
                continue
            rows = source.fetch(np.asarray(own[is_here], np.int64))
            for there, row in zip(jax.tree.leaves(found), jax.tree.leaves(rows), strict=True):
                there[np.asarray(is_here)] = row
        return found

    def located(self, ids: Batched) -> list[tuple[Batched, Flags]]:
        """For each source the ids in it, 0 for records of other sources, and which are its own."""
        found, start = [], 0
        for source in self.sources:
            own = ids - np.uint32(start)  # above all sizes where it wraps
            is_here = own < np.uint32(source.size)
            found.append((namespace(ids).where(is_here, own, np.uint32(0)), is_here))
            start += source.size
        return found


class Zip(AbstractSource[dict[str, PyTree]]):
    """Records of several sources side by side: `Zip({"image": images, "label": labels})`.

    The records of one id make one record, a dict, which draws by that id; so zip first, and make
    views of the whole. (Elsewhere: `zip` of tf.data, `StackDataset` of torch.)

    **Errors:** TypeError for anything but a dict of sources; ValueError for none, and for sources
    of different size.
    """

    sources: dict[str, AbstractSource]

    def __init__(self, sources: Mapping[str, AbstractSource | AbstractHostSource]):
        if not isinstance(sources, Mapping):
            raise TypeError(
                of_type("sources", sources, 'a dict of sources: Zip({"a": a, "b": b}).')
            )
        if not sources:
            raise ValueError("sources are empty; expected at least one source.")
        own: dict[str, AbstractSource] = {}
        for name, source in sources.items():
            if not isinstance(name, str):
                raise TypeError(valued("The name of a source", name, "a string."))
            own[name] = given_part(f"sources[{name!r}]", source)
        sizes = {name: source.size for name, source in sources.items()}
        if len({*sizes.values()}) > 1:
            told = ", ".join(f"`{name}` has {size}" for name, size in sizes.items())
            raise ValueError(
                f"The sources differ in their number of records: {told}. Give all of them the same "
                "records, by dp.Subset, say."
            )
        self.sources = own

    @property
    def size(self) -> int:
        return next(iter(self.sources.values())).size

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one record, those of each source by its name."""
        return {name: source.element_spec for name, source in self.sources.items()}

    def rows(self, ids: UInt32[Array, " batch"]) -> dict[str, PyTree]:
        return {name: source.rows(ids) for name, source in self.sources.items()}

    def fetch(
        self, ids: Int64[np.ndarray, " batch"], out: PyTree[np.ndarray] | None = None
    ) -> PyTree[np.ndarray]:
        into = dict.fromkeys(self.sources) if out is None else out
        return {name: source.fetch(ids, into[name]) for name, source in self.sources.items()}


def _room(spec: PyTree[jax.ShapeDtypeStruct], records: int) -> PyTree[np.ndarray]:
    return jax.tree.map(lambda x: np.empty((records, *x.shape), x.dtype), spec)


def check_alike(sources: Mapping[str, AbstractSource]) -> None:
    """Refuse sources whose records differ from those of the first, by their names."""
    (first, model), *others = ((name, source.element_spec) for name, source in sources.items())
    for name, spec in others:
        structures = {jax.tree.structure(spec), jax.tree.structure(model)}
        if len(structures) > 1:
            raise ValueError(
                f"{name} has records of {spec_text(spec)}, {first} of {spec_text(model)}; give all "
                "of them the same fields."
            )
        leaves = jax.tree_util.tree_leaves_with_path(spec)
        for (path, own), its in zip(leaves, jax.tree.leaves(model), strict=True):
            where = f" in field `{path_text(path)}`" if path else ""
            told = f"{name} has {spec_text(own)}{where}, {first} has {spec_text(its)}"
            if own.shape != its.shape:
                raise ValueError(f"{told}; crop or pad the records to one shape.")
            if own.dtype != its.dtype:
                raise TypeError(
                    f"{told}; nothing is promoted, for large integers would become other numbers. "
                    "Give all sources the same dtype."
                )


def _check_meshes(sources: Mapping[str, AbstractSource]) -> None:
    found = {name: mesh for name, source in sources.items() if (mesh := explicit_mesh(source))}
    first = next(iter(found), "")
    for name, mesh in found.items():
        if mesh != found[first]:
            told, its = (dict(x.shape) for x in (mesh, found[first]))
            raise ValueError(
                f"{name} lies on a mesh of {told}, {first} on one of {its}; put all of them on one "
                "mesh: jax.device_put(data, sharding)."
            )


def _where(flags: Array, rows: Batch, others: Batch) -> Batch:
    def chosen(x: Array, y: Array) -> Array:
        own = alike(flags, y).reshape(-1, *[1] * (x.ndim - 1))
        return jnp.where(own, laid_as(x, y), y)

    together: Batch = jax.tree.map(chosen, rows, others)
    return together
