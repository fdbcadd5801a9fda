"""Windows of a long array as records: a file of tokens, a series, an audio track; nothing copied.

The window of an id is found in the graph, without a table of windows; where there are several
documents, from how many each has. What may enter is judged in `_fields`, as for any source.
"""

import operator
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Integer, PyTree, Shaped, UInt32

from .._apart import settled, start_of
from .._text import of_type, valued
from ._fields import fields
from ._foreign import is_of_the_face
from ._gather import sliced
from ._mapped import view_of_windows
from ._source import AbstractSource, Batch
from ._staging import staged

Offsets: TypeAlias = Integer[Array, " offsets"] | Integer[np.ndarray, " offsets"] | Sequence[int]
_MOST = 2**32 - 1  # numbers along the axis: as many as 32 bits count


class Documents(eqx.Module):
    """Where documents start, and how many windows there are up to the end of each."""

    starts: UInt32[Array, " documents"]
    totals: UInt32[Array, " documents"]


class Windows(AbstractSource[Batch]):
    """Windows of a long array: `Windows(tokens, 128)` has a record of 128 tokens from each place
    on, and `Windows(tokens, 128, stride=128)` one behind the other.

    Elsewhere: `numpy.lib.stride_tricks.sliding_window_view`, `tf.data.Dataset.window`, `unfold` of
    torch. Nothing is copied: a mapped file stays on disk, as for `ArraySource`. The last window
    ends inside the array.

    - `data`: an array, or a pytree of arrays of one length, cut along their leading axes.
    - `width`: how many numbers a window has.
    - `stride`: how far the next window starts behind the last: 1 unless said otherwise.
    - `axis_name`: a name for the axis of the window, which contracts then know; for `dims`.
    - `boundaries`: the offsets at which documents meet. No window crosses one, and each document
      has its first window at its start; one shorter than a window has none. The first offset, 0,
      and the last, the length, may be given or left out.

    **Errors:** those of `ArraySource`; TypeError for a width, a stride or offsets that are no
    integers; ValueError for a width above the length, or above that of every document, a width or
    a stride below 1, offsets that do not rise or lie outside, and more than 2**32 - 1 numbers.
    """

    data: PyTree[Shaped[Array, "numbers ..."]]
    documents: Documents | None
    width: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    axis_name: str | None = eqx.field(static=True)
    _size: int = eqx.field(static=True)

    def __init__(
        self,
        data: PyTree,
        width: int,
        stride: int = 1,
        axis_name: str | None = None,
        boundaries: Offsets | None = None,
    ):
        self.width, self.stride = _count("width", width), _count("stride", stride)
        self.axis_name = _name(axis_name)
        if isinstance(data, AbstractSource) or is_of_the_face(data):
            raise TypeError(
                f"data is of type {type(data).__name__}, a source already; pass the long array "
                "itself."
            )
        found, structure = fields(data)
        length = found[0].array.shape[0]
        _check_length(found[0].name, length, self.width)
        offsets = None if boundaries is None else _offsets(boundaries, length)
        self.documents, self._size = _laid_out(offsets, length, self.width, self.stride)
        view = partial(_shown, width=self.width, stride=self.stride, plain=boundaries is None)
        held = [
            x if isinstance(x := f.array, jax.Array) else staged(f.name, x, view) for f in found
        ]
        self.data = jax.tree.unflatten(structure, held)

    @property
    def size(self) -> int:
        return self._size

    @property
    def annotation(self) -> object:
        """A batch of windows, whose axis has its name here if it was given one."""
        return PyTree[Shaped[Array, f"batch {self.axis_name or '_'} ..."]]

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one window, read off the arrays: nothing is traced."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((self.width, *x.shape[1:]), x.dtype), self.data
        )

    def rows(self, ids: UInt32[Array, " batch"]) -> Batch:
        rows: Batch = sliced(self.data, self.starts(ids), self.width)
        return rows

    def starts(self, ids: UInt32[Array, " batch"]) -> UInt32[Array, " batch"]:
        """Where the windows of these ids start in the array."""
        stride = np.uint32(min(self.stride, _MOST))
        if self.documents is None:
            return ids * stride
        starts, totals = self.documents.starts, self.documents.totals
        document = jnp.searchsorted(totals, ids, side="right")
        before = jnp.where(document > 0, totals[document - 1], np.uint32(0))
        return settled(starts[document] + (ids - before) * stride, start_of(ids))


def _shown(numbers: range, *, width: int, stride: int, plain: bool) -> str | None:
    return view_of_windows(numbers, width, stride) if plain else None


def _laid_out(
    offsets: np.ndarray | None, length: int, width: int, stride: int
) -> tuple[Documents | None, int]:
    """The documents that have windows, and the number of all windows."""
    if offsets is None:
        return None, (length - width) // stride + 1
    lengths = np.diff(offsets)
    counts = np.maximum((lengths - width) // stride + 1, 0)
    size = int(counts.sum())
    if not size:
        raise ValueError(
            f"width is {width}, but the longest document between the boundaries has "
            f"{lengths.max()} numbers; expected at most as many."
        )
    has = counts > 0
    totals = np.minimum(np.cumsum(counts[has]), _MOST)  # a stream refuses so many
    own = (jnp.asarray(x.astype(np.uint32)) for x in (offsets[:-1][has], totals))
    return Documents(*own), size


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(valued(name, value, "an int."))
    if value < 1:
        raise ValueError(f"{name} is {value}; expected at least 1.")
    return operator.index(value)


def _name(axis_name: object) -> str | None:
    if axis_name is not None and not (isinstance(axis_name, str) and axis_name.isidentifier()):
        raise TypeError(valued("axis_name", axis_name, 'the name of an axis, such as "time".'))
    return axis_name


def _check_length(name: str, length: int, width: int) -> None:
    if width > length:
        raise ValueError(
            f"width is {width}, but field {name} has {length} numbers along its first axis; "
            "expected at most as many."
        )
    if length > _MOST:
        raise ValueError(
            f"Field {name} has {length} numbers along its first axis; windows are counted up to "
            f"{_MOST}. Make a source of each of its parts, such as dp.Windows(x[: 2**31], width)."
        )


def _offsets(boundaries: object, length: int) -> np.ndarray:
    """The offsets with both ends, as many as there are documents and one more."""
    expected = "the offsets at which documents meet: integers in one axis."
    if isinstance(boundaries, Tracer):
        raise TypeError(
            "boundaries are traced, so that the number of windows is not known; make the source "
            "outside of jit."
        )
    if not isinstance(boundaries, list | tuple | range | np.ndarray | jax.Array):
        raise TypeError(of_type("boundaries", boundaries, expected))
    inner = np.asarray(boundaries)
    if inner.ndim != 1 or (inner.size and inner.dtype.kind not in "iu"):
        raise TypeError(of_type("boundaries", boundaries, expected))
    inner = inner.astype(np.int64)
    outside = (inner < 0) | (inner > length)
    if outside.any():
        place = int(outside.argmax())
        raise ValueError(
            f"boundaries[{place}] is {inner[place]}, but the data have {length} numbers along "
            f"their first axis; expected offsets from 0 to {length}."
        )
    falls = np.diff(inner) <= 0
    if falls.any():
        place = int(falls.argmax())
        raise ValueError(
            f"boundaries[{place + 1}] is {inner[place + 1]}, behind {inner[place]}; expected "
            "offsets that rise."
        )
    first, last = inner[:1].tolist() != [0], inner[-1:].tolist() != [length]
    return np.concatenate([[0][:first], inner, [length][:last]]).astype(np.int64)
