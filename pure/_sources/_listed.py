"""A list of records, as one array for each field.

Records are of one structure, shape and dtype: nothing is promoted, for an id that becomes a float
is another id. Nothing here knows of sources.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from .._text import listed, path_text, spec_text
from ._fields import Held, Path, Structure, entered, flattened


def stacked_records(records: Sequence[PyTree]) -> PyTree[Held]:
    """The records of a list along a leading axis, in the structure of one of them.

    **Errors:** ValueError for an empty list, and for records of other fields or shapes than the
    first; TypeError for other dtypes, and for what is no number or array of numbers. Each names
    the record and the field.
    """
    if not records:
        raise ValueError("The data are an empty list; pass at least one record.")
    paths, first, structure = _taken_apart(records[0], 0)
    columns = [[value] for value in first]
    for index, record in enumerate(records[1:], start=1):
        own_paths, values, own_structure = _taken_apart(record, index)
        if own_structure != structure:
            own, its = _unlike((own_paths, own_structure), (paths, structure))
            raise ValueError(
                f"Record {index} has {own}, record 0 has {its}; give all records of the list the "
                "same fields."
            )
        for path, column, value in zip(paths, columns, values, strict=True):
            _check_alike(index, path, value, column[0])
            column.append(value)
    return jax.tree.unflatten(structure, [_together(column) for column in columns])


def _taken_apart(record: PyTree, index: int) -> tuple[list[Path], list[Held], Structure]:
    leaves, structure = flattened(record)
    values = [
        entered(
            f"Field `{path_text(path)}` of record {index}" if path else f"Record {index}",
            leaf,
            "a number or an array of numbers",
        )
        for path, leaf in leaves
    ]
    return [path for path, _ in leaves], values, structure


def _unlike(*records: tuple[Sequence[Path], Structure]) -> list[str]:
    names = [list(map(path_text, paths)) for paths, _ in records]
    if names[0] == names[1]:  # it is the containers that differ
        return [f"the structure {structure}" for _, structure in records]
    return [f"the fields {listed(own)}" for own in names]


def _check_alike(index: int, path: Path, value: Held, first: Held) -> None:
    if value.shape == first.shape and value.dtype == first.dtype:
        return
    own, its = spec_text(value), spec_text(first)
    field = f" in field `{path_text(path)}`" if path else ""
    told = f"Record {index} is {own}{field}, record 0 is {its}"
    if value.shape != first.shape:
        raise ValueError(
            f"{told}; a list is read as one record an item. Crop or pad the records to one shape; "
            "for a pytree of whole arrays pass a dict or a tuple."
        )
    if own != its:
        raise TypeError(
            f"{told}; nothing is promoted, for large integers would become other numbers. Give all "
            "records the same dtype."
        )


def _together(column: Sequence[Held]) -> Held:
    if any(isinstance(x, Tracer) or jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in column):
        return jnp.stack([jnp.asarray(x) for x in column])
    return np.stack([np.asarray(x) for x in column])
