"""What is given for a data set that has records by number, and is none: the edit that mends it.

Frames, paths of files, sources that are made already. How records are read is not known here.
"""

import os
import types
from collections.abc import Iterable

from ..._sources._files import mend_of_file

_FRAMES = types.MappingProxyType(
    {
        "pandas": "host.ArrowSource(pyarrow.Table.from_pandas(frame))",
        "polars": "host.ArrowSource(frame.to_arrow())",
    }
)
_SOURCES = frozenset(("dagrax", x) for x in ("Source", "AbstractSource", "AbstractHostSource"))


def mend_of_records(dataset: object) -> str:
    """What is expected in place of something that gives no records by number."""
    expected = "a data set with `__len__` and `__getitem__`"
    if isinstance(dataset, str | os.PathLike):
        found = mend_of_file(dataset)
        return f"{expected}." if found is None else f"{expected}. Of a file, write {found}."
    if _names(dataset) & _SOURCES:
        return f"{expected}. It is a source already; pass it as it is."
    if (mend := mend_of_frame(dataset)) is not None:
        return f"{expected}. A frame has its records in columns: write {mend}."
    if isinstance(dataset, Iterable) and not isinstance(dataset, bytes | type):
        return f"{expected}. It can only be iterated over: write host.IterableSource(dataset)."
    return f"{expected}."


def mend_of_frame(dataset: object) -> str | None:
    """What makes a source of a data frame; None for anything else."""
    names = _names(dataset)
    found = [mend for library, mend in _FRAMES.items() if (library, "DataFrame") in names]
    return found[0] if found else None


def is_records(dataset: object) -> bool:
    """Whether it is none of what has `__len__` and `__getitem__` for other things than records."""
    other = isinstance(dataset, str | bytes | type) or mend_of_frame(dataset) is not None
    return not other and not _names(dataset) & _SOURCES


def _names(dataset: object) -> set[tuple[str, str]]:
    return {(x.__module__.partition(".")[0], x.__name__) for x in type(dataset).__mro__}
