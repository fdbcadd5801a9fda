"""What may be a source's data: arrays, in dicts, tuples and other pytrees, and nothing else.

Here each field is found, named and judged. What is refused is refused by its field and its type.
"""

from collections.abc import Hashable, Iterator, MappingView, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import numpy as np
from jax.core import Tracer
from jax.tree_util import SequenceKey
from jaxtyping import Array, PyTree, Shaped

from .._text import listed, of_type, path_text, spec_text
from ._foreign import mend
from ._numbers import check_numeric, check_range, check_unmasked

Held: TypeAlias = Shaped[Array, "..."] | Shaped[np.ndarray, "..."]
Path: TypeAlias = tuple[object, ...]
Structure: TypeAlias = Hashable  # a PyTreeDef, a type that type checkers do not know
_NUMBER = (bool, int, float, complex, np.generic, np.ndarray)
_MOST_FIELDS = 16  # of a list
_TEXT = (str, bytes)
_RUN_THROUGH = (Iterator, MappingView)


@runtime_checkable
class _Readable(Protocol):
    # A tensor of another library, a column of a data frame, a file that is open for reading.
    @property
    def shape(self) -> object: ...
    @property
    def dtype(self) -> object: ...
    def __array__(self) -> np.ndarray: ...


class Field(NamedTuple):
    """One array of the data, and its place in them."""

    path: Path
    array: Held

    @property
    def name(self) -> str:
        """The place in back-ticks: `image`, `meta/camera`, `0`, and `data` for an array alone."""
        return f"`{path_text(self.path) or 'data'}`"


def fields(data: PyTree) -> tuple[list[Field], Structure]:
    """The arrays of the data, which have one leading axis, and the structure that they stand in.

    **Errors:** TypeError for what is no array of numbers, and for names that have no order;
    ValueError for no arrays, no records, leading axes of different length, scalars, numbers that
    no dtype of JAX can hold, and fields on different devices. Each names the field.
    """
    leaves, structure = flattened(data)
    if not leaves:
        raise ValueError(
            f"The data {data!r} hold no arrays; pass a pytree of arrays, such as "
            '{"image": images, "label": labels}.'
        )
    found = [_field(path, leaf) for path, leaf in leaves]
    _check_no_records(data)
    _check_records(found)
    _check_devices(found)
    return found, structure


def flattened(data: PyTree) -> tuple[list[tuple[Path, object]], Structure]:
    """The leaves with their paths; a TypeError for a dict whose names cannot be put in order."""
    try:
        return jax.tree_util.tree_flatten_with_path(data, _can_be_run_through)
    except ValueError:
        _check_names(data, ())
        raise


def _can_be_run_through(node: object) -> bool:
    # JAX takes these for leaves too, but not without a warning.
    return isinstance(node, _RUN_THROUGH)


def entered(where: str, value: object, expected: str) -> Held:
    """An array of numbers for a leaf: itself, or what NumPy makes of a number or a tensor.

    `where` opens the sentence of an error, "Field `x`", and `expected` says what belongs there.
    """
    if isinstance(value, jax.Array):
        return value
    check_unmasked(where, value)
    if not isinstance(value, (*_NUMBER, _Readable)):
        called = "data" if where == "data" else "x"
        raise TypeError(of_type(where, value, f"{expected}: {mend(value, called)}."))
    array = _read(where, value)
    check_numeric(where, array.dtype)
    return array


def _read(where: str, value: object) -> np.ndarray:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError(f"{where} is {value}, too large for 64 bits; re-number the records.")
    try:
        return np.asanyarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # of the library that the tensor is of
        raise TypeError(
            f"{where} is of type {type(value).__name__}, which NumPy cannot read ({error}); pass "
            "an array of NumPy or JAX."
        ) from error


def _field(path: Path, leaf: object) -> Field:
    if isinstance(leaf, jax.Array) and leaf.ndim:
        return Field(path, leaf)
    if path and isinstance(path[-1], SequenceKey):
        _check_no_list(path, leaf)
    where = f"Field `{path_text(path)}`" if path else "data"
    field = Field(path, entered(where, leaf, "an array whose leading axis is the records"))
    if field.array.ndim == 0:
        raise ValueError(
            f"Field {field.name} is a scalar; expected an array whose leading axis is the records. "
            "Repeat it for each record, or drop it."
        )
    if isinstance(field.array, np.ndarray):
        check_range(where, field.array)
    return field


def _check_no_list(path: Path, leaf: object) -> None:
    is_text = isinstance(leaf, _TEXT)
    if not is_text and not (isinstance(leaf, (*_NUMBER, jax.Array)) and np.ndim(leaf) == 0):
        return
    while path and isinstance(path[-1], SequenceKey):
        path = path[:-1]
    mend = "encode them as integers" if is_text else "write np.asarray(...) around it"
    raise (TypeError if is_text else ValueError)(
        f"Field `{path_text(path) or 'data'}` is a list or tuple of "
        f"{'strings' if is_text else 'numbers'}; expected an array: {mend}."
    )


def _check_no_records(data: PyTree) -> None:
    # So many arrays in a list are hardly so many fields.
    lists, _ = jax.tree_util.tree_flatten_with_path(data, is_leaf=lambda x: isinstance(x, list))
    for path, leaf in lists:
        if isinstance(leaf, list) and len(leaf) > _MOST_FIELDS and path:
            name = path_text(path)
            raise ValueError(
                f"Field `{name}` is a list of {len(leaf)} arrays; expected an array whose leading "
                f"axis is the records: write np.stack(x), or a tuple for {len(leaf)} fields."
            )


def _check_records(found: Sequence[Field]) -> None:
    counts = [field.array.shape[0] for field in found]
    if len(set(counts)) > 1:
        told = ", ".join(f"{f.name} has {n}" for f, n in zip(found, counts, strict=True))
        raise ValueError(
            f"The fields differ in their number of records: {told}. Give all of them the same "
            "leading axis."
        )
    if counts[0] == 0:
        spec = spec_text(found[0].array)
        raise ValueError(
            f"The data hold zero records (field {found[0].name} is {spec}); pass at least one."
        )


def _check_devices(found: Sequence[Field]) -> None:
    # An array that was put somewhere on purpose stays there, and a program runs in one place.
    homes = [(field.name, home) for field in found if (home := _home(field.array))]
    if len({home for _, home in homes}) > 1:
        told = ", ".join(f"{name} on {home}" for name, home in homes)
        raise ValueError(
            f"The fields lie on different devices: {told}. Put them together: "
            "jax.device_put(data, jax.devices()[0])."
        )


def _home(array: Held) -> str:
    if isinstance(array, Tracer) or not isinstance(array, jax.Array) or not array.committed:
        return ""
    return " and ".join(sorted(f"{device.platform}:{device.id}" for device in array.devices()))


def _check_names(tree: PyTree, path: Path) -> None:
    if isinstance(tree, dict):
        try:
            sorted(tree)
        except TypeError:
            at = f" at `{path_text(path)}`" if path else ""
            kinds = dict.fromkeys(type(name).__name__ for name in tree)
            raise TypeError(
                f"The field names {listed(map(repr, tree))}{at} are of types {', '.join(kinds)}, "
                "which cannot be put in order; make all of them strings."
            ) from None
    children, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    for key, child in children:
        if key:
            _check_names(child, (*path, *key))
