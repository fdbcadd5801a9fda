"""What a record of a data set is: its fields, shapes and dtypes, as the first one has them.

Records of other libraries are Python objects, each for itself; every one is held against the first.
Where they come from is not known here.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..._sources._numbers import check_numeric, check_range, check_unmasked, held_as, native
from ..._text import array_text, of_type, path_text, spec_text

_NUMBERS = (int, float, complex, np.number, np.bool_)


def kept(record: PyTree) -> PyTree:
    """A record of memory of its own, for its data set may write the next one into the same."""
    leaves, structure = _flat(record, None)
    own = [x.copy() if isinstance(x, np.ndarray) else x for x in leaves]
    copy: PyTree = jax.tree.unflatten(structure, own)
    return copy


def is_array(node: object) -> bool:
    """Whether a node of a record is an array: lists of numbers are, in any depth."""
    if type(node) is not list:
        return False
    return all(isinstance(x, _NUMBERS) or is_array(x) for x in node)


class Likeness:
    """The first record of a data set, which all others are like.

    **Errors:** TypeError for what are no numbers, by field; ValueError for no fields, and for lists
    of different length.
    """

    def __init__(self, first: PyTree):
        leaves, self._structure = _flat(first)
        paths = jax.tree_util.tree_leaves_with_path(first, is_array)
        if not leaves:
            raise ValueError("The first record holds no arrays; expected a pytree of arrays.")
        self._paths = [path_text(path) for path, _ in paths]
        self._told = [
            f"Field `{path}` of the record" if path else "The record" for path in self._paths
        ]
        self._specs: list[jax.ShapeDtypeStruct] = []
        for path, leaf in zip(self._paths, leaves, strict=True):
            told = f"Field `{path}` of the first record" if path else "The first record"
            if isinstance(leaf, bytes | str):
                mend = "lambda record: np.frombuffer(record, np.uint8)"
                raise TypeError(of_type(told, leaf, f"numbers: decode it, such as by {mend}."))
            array = _array(told, leaf)
            check_numeric(told, array.dtype)
            self._specs.append(jax.ShapeDtypeStruct(array.shape, array.dtype))
        self._are_wide = [held_as(x.dtype) != x.dtype for x in self._specs]

    @property
    def spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes of a record, and the dtypes in which a program holds it."""
        held = [jax.ShapeDtypeStruct(x.shape, held_as(x.dtype)) for x in self._specs]
        spec: PyTree[jax.ShapeDtypeStruct] = jax.tree.unflatten(self._structure, held)
        return spec

    def arrays(self, record: PyTree) -> list[np.ndarray]:
        """The arrays of a record. **Errors:** ValueError for one unlike the first, by field."""
        leaves, structure = _flat(record)
        expected: Any = self._structure
        if structure != expected:
            example = jax.tree.unflatten(self._structure, self._specs)
            raise ValueError(
                f"The record holds {spec_text(record)}, the first one {spec_text(example)}; "
                "give all records the same fields, by decode."
            )
        arrays = [_array(told, leaf) for told, leaf in zip(self._told, leaves, strict=True)]
        for path, array, spec, is_wide in zip(
            self._paths, arrays, self._specs, self._are_wide, strict=True
        ):
            if (array.shape, native(array.dtype)) != (spec.shape, native(spec.dtype)):
                field = f" in field `{path}`" if path else ""
                raise ValueError(_unlike(array, spec, field))
            if is_wide:
                check_range(f"Field `{path}`" if path else "The record", array)
        return arrays


def _unlike(array: np.ndarray, first: jax.ShapeDtypeStruct, field: str) -> str:
    told = spec_text(array), spec_text(first)
    if told[0] == told[1]:  # as JAX holds them
        told = array_text(str(array.dtype), array.shape), array_text(str(first.dtype), first.shape)
    return f"The record has {told[0]}{field}, the first one {told[1]}; crop, pad or cast by decode."


def _flat(
    record: PyTree, is_leaf: Callable[[object], bool] | None = is_array
) -> tuple[list[object], Any]:
    try:
        return jax.tree.flatten(record, is_leaf)
    except ValueError as error:
        if "Comparator" not in str(error):
            raise
    raise TypeError(
        "The record has a dict whose names are of several types, such as int and str, and so in no "
        "order; name all of its fields by strings."
    )


def _array(told: str, leaf: object) -> np.ndarray:
    check_unmasked(told, leaf)
    try:
        return np.asarray(leaf)
    except ValueError:
        if not is_array(leaf):
            raise
    raise ValueError(f"{told} has lists of different length; pad or crop them by decode.")
