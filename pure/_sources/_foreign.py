"""How arrays are had of what is none: a generator, a data frame, a data set of another library.

It is told from the type alone: nothing is iterated, measured or read, for that may take for ever.
"""

import array
import collections
import dataclasses
import os
import re
import types
from collections.abc import Iterable, Mapping, Set
from typing import Protocol, runtime_checkable

import jax
import numpy as np

# By library and class, for these libraries are not imported here. `x` is what was passed.
_OF_LIBRARIES = types.MappingProxyType(
    {
        ("pandas", "DataFrame"): "{c: df[c].to_numpy() for c in df}",
        ("polars", "DataFrame"): "{c: df[c].to_numpy() for c in df.columns}",
        ("polars", "LazyFrame"): "{c: df[c].to_numpy() for c in df.columns} of df = x.collect()",
        ("pyarrow", "Table"): "{c: table[c].to_numpy() for c in table.column_names}",
        ("datasets", "Dataset"): 'x.with_format("numpy")[:]',
        (
            "tensorflow",
            "DatasetV2",
        ): "jax.tree.map(lambda *rows: np.stack(rows), *x.as_numpy_iterator())",
        ("torch", "DataLoader"): "jax.tree.map(lambda *rows: np.concatenate(rows), *x)",
        ("PIL", "Image"): "np.asarray(x)",
        ("scipy", "_spbase"): "x.toarray()",
    }
)


@runtime_checkable
class _DataSet(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


def mend(value: object, called: str) -> str:
    """The smallest edit that makes arrays of something that is none and is `called` so."""
    return re.sub(r"\bx\b", called, _mend(value))


def mend_to_source(value: object) -> str:
    """What was expected in place of something that is no source, and the edit that makes one."""
    if is_of_the_face(value):
        return "a source of the core: write source.pure()[0]."
    found = (
        None if isinstance(value, np.ndarray | jax.Array | dict | list | tuple) else _known(value)
    )
    if found is None:
        return "a source: write ArraySource(data)."
    return f"a source, ArraySource(data). For the data, {found}."


def is_of_the_face(value: object) -> bool:
    """Whether it is a source as a module, which flattens like data."""
    names = [(base.__module__.partition(".")[0], base.__name__) for base in type(value).__mro__]
    return ("dagrax", "Source") in names


def _mend(value: object) -> str:
    return _known(value) or "write np.asarray(x), or take the arrays out of it"


def _known(value: object) -> str | None:
    if isinstance(value, type):
        return f"pass the data, not the class {value.__name__}"
    for base in type(value).__mro__:
        if found := _OF_LIBRARIES.get((base.__module__.partition(".")[0], base.__name__)):
            return f"write {found}"
    if isinstance(value, np.lib.npyio.NpzFile):
        return 'write dict(np.load("data.npz"))'
    if isinstance(value, Mapping):
        return "write dict(x)"
    if isinstance(value, str | bytes | os.PathLike):
        return "read a file by np.load(path), encode text as integers"
    if isinstance(value, range | collections.deque | array.array | bytearray | memoryview):
        return "write np.asarray(x)"
    if dataclasses.is_dataclass(value):
        return "decorate its class with @jax.tree_util.register_dataclass"
    return _collected(value)


def _collected(value: object) -> str | None:
    if isinstance(value, Set):
        return "a set has no order: write np.array(sorted(x))"
    stack = "jax.tree.map(lambda *rows: np.stack(rows), *{})"
    if isinstance(value, _DataSet):
        return f"read its records: {stack.format('(x[i] for i in range(len(x)))')}"
    if isinstance(value, Iterable):
        return f"collect its records: {stack.format('x')}"
    return None
