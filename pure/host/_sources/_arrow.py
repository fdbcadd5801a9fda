"""Tables of Arrow as sources: data sets of Hugging Face, Arrow files, Parquet.

Records are read out of Arrow's memory, which may be a mapped file. How a column becomes an array is
told in `_arrow_column`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..._sources._host_source import AbstractHostSource, Ids, checked_ids
from ..._sources._numbers import check_range, held_as
from ..._text import listed, of_type, path_text
from .._engines import engine
from ._arrow_column import Column, is_struct
from ._mends import mend_of_frame
from ._remade import Remade
from ._unchanged import Files

_ENDS = (".parquet", ".arrow", ".feather")


class ArrowSource(Remade, AbstractHostSource[dict[str, PyTree]]):
    """Records in Arrow tables: dicts of the columns, zero-copy views of Arrow's memory.

    `dataset` is one of

    - a data set of Hugging Face, with the rows that `select`, `shuffle` and `train_test_split` have
      left in it, and the columns of its format; Arrow files of its own are mapped, not read.
    - a `pyarrow.Table`, `RecordBatch` or `pyarrow.dataset.Dataset`.
    - a path, or a list of them: `.arrow` and `.feather` files, which are mapped, and `.parquet`.

    Parquet is read into memory once, for it cannot be read record by record: what is larger than
    memory is written once as Arrow, `datasets.load_dataset("parquet", …)` does it. uint8 stays
    uint8; lists must have one length in all records; 64-bit numbers become 32-bit ones.

    **Errors:** TypeError for another kind of data set, for one with a transform, and for columns
    that hold no numbers, such as strings: leave them out; FileNotFoundError; OSError for a file
    that was written since; ValueError for no records or no columns, and, by record, for nulls and
    for lists of different length.
    """

    def __init__(self, dataset: object):
        self._made_of = (dataset,)
        table, self._places = _opened(dataset)
        self._files = _mapped_by(dataset)
        self.size = len(table) if self._places is None else len(self._places)
        if not self.size:
            raise ValueError("dataset holds no records; expected at least one.")
        if not table.column_names:
            raise ValueError("dataset has no columns; expected at least one.")
        if len(names := {*table.column_names}) < len(table.column_names):
            twice = [name for name in names if table.column_names.count(name) > 1]
            raise ValueError(
                f"dataset has several columns of the name {listed(sorted(twice))}; rename or drop "
                "all but one: table.rename_columns([…])."
            )
        columns = {name: table.column(name) for name in table.column_names}
        self._columns = {
            name: _column(f"Column `{name}`", x.chunks, x.type) for name, x in columns.items()
        }
        self.element_spec = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.spec.shape, held_as(x.dtype)), self._columns
        )

    def fetch(self, ids: Ids, out: PyTree[np.ndarray] | None = None) -> dict[str, PyTree]:
        """The records of these ids. **Errors:** IndexError for one outside; those of the class."""
        ids = checked_ids(ids, self.size)
        places = ids if self._places is None else self._places[ids]
        self._files.check()

        def read(path: tuple[Any, ...], column: Column) -> np.ndarray:
            rows = column.rows(places)
            check_range(f"Column `{path_text(path)}`", rows)
            return rows.astype(held_as(rows.dtype), copy=False)

        rows: dict[str, PyTree] = jax.tree_util.tree_map_with_path(read, self._columns)
        return rows


def _column(told: str, chunks: list[Any], kind: Any) -> Column | dict[str, PyTree]:
    if not is_struct(kind):
        return Column(told, chunks, kind)
    parts = [[*chunk.flatten()] for chunk in chunks]
    return {
        field.name: _column(f"{told[:-1]}/{field.name}`", [x[i] for x in parts], field.type)
        for i, field in enumerate(kind)
    }


def _opened(dataset: Any) -> tuple[Any, np.ndarray | None]:
    """A table, and which of its rows are the records, in their order, if not all as they stand."""
    names = {(x.__module__.partition(".")[0], x.__name__) for x in type(dataset).__mro__}
    if ("datasets", "Dataset") in names:
        return _of_hugging_face(dataset)
    arrow = engine("pyarrow", "pyarrow", "arrow", "host.ArrowSource")
    if ("pyarrow", "Table") in names:
        return dataset, None
    if ("pyarrow", "RecordBatch") in names:
        return arrow.Table.from_batches([dataset]), None
    if ("pyarrow", "Dataset") in names:
        return dataset.to_table(), None
    if isinstance(dataset, str | os.PathLike):
        return _of_file(dataset), None
    if isinstance(dataset, list | tuple) and all(isinstance(x, str | os.PathLike) for x in dataset):
        return arrow.concat_tables([_of_file(path) for path in dataset]), None
    raise TypeError(of_type("dataset", dataset, _expected(dataset, names)))


def _mapped_by(dataset: Any) -> Files:
    # Those that are known; what mapped a table of the user's own is not.
    if isinstance(dataset, str | os.PathLike):
        dataset = [dataset]
    if isinstance(dataset, list | tuple):
        return Files([Path(x) for x in dataset if Path(x).suffix != ".parquet"])
    cached = getattr(dataset, "cache_files", ())  # which the library replaces, and never writes to
    paths = [Path(x["filename"]) for x in cached]
    return Files([x for x in paths if x.is_file()], may_be_replaced=True)


def _expected(dataset: object, names: set[tuple[str, str]]) -> str:
    if isinstance(dataset, Mapping) and dataset:
        return f"one data set: write dataset[{next(iter(dataset))!r}]."
    if ("datasets", "IterableDataset") in names:
        return "a data set that gives records by number: write host.IterableSource(dataset)."
    if (mend := mend_of_frame(dataset)) is not None:
        return f"a table: write {mend}."
    return "a data set of Hugging Face, a table of pyarrow, or the path of Arrow or Parquet."


def _of_hugging_face(dataset: Any) -> tuple[Any, np.ndarray | None]:
    _check_format(dataset.format)
    table = getattr(dataset.data, "table", dataset.data)
    table = table.select([name for name in table.column_names if name in dataset.column_names])
    if (columns := dataset.format["columns"]) is not None:
        table = table.select([name for name in table.column_names if name in columns])
    if dataset._indices is None:
        return table, None
    return table, dataset._indices.column(0).to_numpy().astype(np.int64)


def _check_format(form: Mapping[str, Any]) -> None:
    # The columns are read as they are stored.
    if form["type"] == "custom":
        own = form["format_kwargs"].get("transform")
        raise TypeError(
            f"dataset has the transform {getattr(own, '__qualname__', own)!r}, which its columns "
            "do not know; to read it record by record write host.RandomAccessSource(dataset), to "
            "read its columns dataset.with_format(None)."
        )
    if (dtype := form["format_kwargs"].get("dtype")) is not None:
        raise TypeError(
            f"dataset has the format {form['type']!r} with dtype {dtype}, but its columns are read "
            "as they are stored; cast them: dataset.with_format(None).cast_column(…)."
        )


def _of_file(given: str | os.PathLike[str]) -> Any:
    path = Path(given)
    if not os.fspath(given):
        raise ValueError("The path is empty; expected a file of Arrow or Parquet.")
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder; pass its files: "
            "host.ArrowSource(sorted(Path(…).glob('*.parquet')))."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; expected one of Arrow or Parquet.")
    if path.suffix not in _ENDS:
        raise ValueError(f"The name of {path} ends in {path.suffix!r}; expected one of {_ENDS}.")
    needs = "pyarrow", "arrow", "host.ArrowSource"
    try:
        if path.suffix == ".parquet":
            return engine("pyarrow.parquet", *needs).read_table(path)
        mapped = engine("pyarrow", *needs).memory_map(str(path))
        ipc = engine("pyarrow.ipc", *needs)
        with path.open("rb") as file:
            is_file = file.read(6) == b"ARROW1"
        return (ipc.open_file if is_file else ipc.open_stream)(mapped).read_all()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged, or no such file: {error}") from error
