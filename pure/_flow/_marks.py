"""The fields that a stream adds to each batch: which rows count, and the ids of the records.

They go through the stages with the batch, and are put back where a stage makes a new dict. Neither
sources nor orders are known here.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._mesh import alike
from .._text import listed, of_type


@dataclasses.dataclass(frozen=True)
class Mark:
    """A field to add: its name, its dtype, who asks for it, and what to ask for instead."""

    name: str
    dtype: str
    asked: str
    otherwise: str
    such_as: str
    renamed: str

    @classmethod
    def valid(cls, name: str) -> "Mark":
        """Which rows count, under `"pad"`."""
        other = "choose another remainder"
        renamed = f'remainder=Pad("{name}_row")'
        return cls(name, "bool", 'remainder="pad"', other, ', such as "drop"', renamed)

    @classmethod
    def record_ids(cls, name: object) -> "Mark":
        """The ids of the records. **Errors:** TypeError for what is no name."""
        if not isinstance(name, str):
            expected = 'the name of the field to add: write record_ids="id".'
            raise TypeError(of_type("record_ids", name, expected))
        renamed = f'record_ids="{name}_of_record"'
        return cls(name, "uint32", f'record_ids="{name}"', "leave record_ids out", "", renamed)


def check_marks(row: PyTree, marks: Sequence[Mark]) -> None:
    """Refuse records to which these fields cannot be added. **Errors:** TypeError, ValueError."""
    for mark in marks:
        if not isinstance(row, dict):
            one = isinstance(row, jax.ShapeDtypeStruct)
            raise TypeError(
                f"{mark.asked} adds a field `{mark.name}` to each batch, but the batches are "
                f"{'single arrays' if one else f'of type {type(row).__name__}'}; pass the data as "
                f"a dict, or {mark.otherwise}."
            )
        _check_names(row, mark)
        if mark.name in row:
            raise ValueError(
                f"{mark.asked} adds a field `{mark.name}`, which the data already have; rename "
                f"theirs, or pass {mark.renamed}."
            )
    if len(marks) == 2 and marks[0].name == marks[1].name:
        raise ValueError(
            f"{marks[0].asked} and {marks[1].asked} both add a field `{marks[0].name}`; pass "
            f"{marks[1].renamed}."
        )


def marked(rows: dict[str, PyTree], values: Mapping[Mark, Array]) -> dict[str, PyTree]:
    """A batch with these fields."""
    own = copy.copy(rows)  # of its own type: an OrderedDict stays one
    own.update({mark.name: alike(value, rows) for mark, value in values.items()})
    return own


def kept(batch: Any, output: Any, marks: Sequence[Mark]) -> Any:
    """The output of a pipeline for a batch that has these fields, with them.

    **Errors:** TypeError if the output is not a dict to put them in, or has another number of rows
    and no such field of its own.
    """
    for mark in marks:
        output = _kept(batch, output, mark)
    return output


def _kept(batch: dict[str, PyTree], output: object, mark: Mark) -> dict[str, PyTree]:
    name = mark.name
    if not isinstance(output, dict):
        kind = "Array" if isinstance(output, jax.Array) else type(output).__name__
        raise TypeError(
            f"{mark.asked} hands out the field `{name}` with each batch, but the pipeline "
            f"returned {kind}; return a dict from the sink, or {mark.otherwise}{mark.such_as}."
        )
    # A stage may mark the rows anew, but arithmetic over all fields does not.
    if name in output and jnp.result_type(output[name]) == mark.dtype:
        return output
    rows = batch[name].shape
    if any(jnp.shape(x)[:1] != rows for x in jax.tree.leaves(output)):
        kind = "boolean" if mark.dtype == "bool" else mark.dtype
        raise TypeError(
            f"The sink changes the number of rows, {rows[0]}, so the field `{name}` of "
            f"{mark.asked} does not fit its output; return a {kind} field `{name}` for "
            "the new rows from the sink."
        )
    _check_names(output, mark)
    own = copy.copy(output)
    own[name] = batch[name]
    return own


def _check_names(fields: Mapping[object, PyTree], mark: Mark) -> None:
    if any(not isinstance(name, str) for name in fields):
        names = listed(repr(name) for name in fields)
        raise TypeError(
            f"{mark.asked} adds a field `{mark.name}`, but the fields are named {names}, and names "
            f"of different types have no order; name them by strings, or {mark.otherwise}."
        )
