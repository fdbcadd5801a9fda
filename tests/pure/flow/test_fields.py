"""What may be a source's data; everything else is refused by its field, its type and its mend."""

import array
import collections
import dataclasses
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import dagrax.pure as dp
from dagrax.pure._sources._source import check_part, check_source
from tests.plainly import FOUR_DEVICES, told

X = np.arange(4, dtype=np.int32)
EXPECTED = "expected an array whose leading axis is the records: "
STACK = "jax.tree.map(lambda *rows: np.stack(rows), *{})"


def refusal(data: Any) -> tuple[type[Exception], str]:
    with pytest.raises((TypeError, ValueError)) as error:
        dp.ArraySource(data)
    return error.type, str(error.value)


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def of_library(module: str, name: str, *bases: type) -> Any:
    """An object of a library that is not installed here, which nobody may read."""

    def read(*_: Any) -> Any:
        raise AssertionError("it was read")

    names = ["__iter__", "__len__", "__getitem__", "__array__", "__next__", "shape"]
    return type(name, bases, {"__module__": module, **dict.fromkeys(names, read)})()


class Endless:
    """A data set object whose end no loop over it would find."""

    def __len__(self) -> int:
        raise AssertionError("it was measured")

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("it was read")


class Stored(collections.UserDict):  # type: ignore[type-arg]
    pass


@dataclasses.dataclass
class Unregistered:
    x: Any


class Tensor:
    """Has shape, dtype and numbers, as the arrays of other libraries."""

    def __init__(self, values: Any):
        self.values = np.asarray(values)
        self.shape, self.dtype = self.values.shape, self.values.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values


class Elsewhere(Tensor):
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise RuntimeError("it is on another device")


class Shaped:
    """Has a shape and a dtype, but no numbers that could be had at once."""

    shape, dtype = (4,), np.dtype(np.float32)

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("it was read")


def generated() -> Iterator[Any]:
    raise AssertionError("it was begun")
    yield


def npz(folder: Path) -> Any:
    np.savez(folder / "data.npz", x=X)
    with np.load(folder / "data.npz") as file:
        return file


# What enters


class Pair(NamedTuple):
    image: Any
    label: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Registered:
    x: Any


WELCOME: dict[str, Any] = {
    "an array": X,
    "a JAX array": jnp.arange(4),
    "a key for each record": jax.random.split(jax.random.key(0), 4),
    "nested dicts": {"a": {"b": X}},
    "an OrderedDict": collections.OrderedDict(z=X, a=X),
    "a defaultdict": collections.defaultdict(list, x=X),
    "a dict with numbers as names": {1: X, 0: X},
    "a tuple": (X, X),
    "a list of arrays": [X, X],
    "a NamedTuple": Pair(X, X),
    "a registered dataclass": Registered(X),
    "a field that is None": {"x": X, "y": None},
    "a tensor of another library": {"x": Tensor(X)},
    "other byte order": {"x": X.astype(">i4")},
    "bfloat16": X.astype(ml_dtypes.bfloat16),
    "8-bit floats": X.astype(ml_dtypes.float8_e4m3fn),
    "booleans": X > 2,
    "complex numbers": X * np.complex64(1j),
    "infinities and NaN of 64 bits": np.array([np.inf, -np.inf, np.nan, 1.0]),
    "nothing but infinities": np.full(4, np.inf),
    "records without numbers": np.zeros((4, 0), np.int64),
}


@pytest.mark.parametrize("data", WELCOME.values(), ids=WELCOME)
def test_item_28_what_has_shape_dtype_and_numbers_enters_in_its_own_containers(data: Any) -> None:
    source = dp.ArraySource(data)
    assert source.size == 4
    rows = source.rows(jnp.arange(4, dtype=jnp.uint32))
    assert type(rows) is type(data) or isinstance(data, np.ndarray | jax.Array)
    for row, leaf in zip(jax.tree.leaves(rows), jax.tree.leaves(data), strict=True):
        assert isinstance(row, jax.Array)
        assert row.shape == np.shape(leaf)


# What does not


KINDS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "generator": (
        lambda _: generated(),
        "generator",
        f"collect its records: {STACK.format('x')}",
    ),
    "iterator": (
        lambda _: iter([X]),
        "list_iterator",
        f"collect its records: {STACK.format('x')}",
    ),
    "zip": (
        lambda _: zip([X], [X], strict=True),
        "zip",
        f"collect its records: {STACK.format('x')}",
    ),
    "data set object": (
        lambda _: Endless(),
        "Endless",
        f"read its records: {STACK.format('(x[i] for i in range(len(x)))')}",
    ),
    "torch data set": (
        lambda _: of_library("torch.utils.data.dataset", "TensorDataset"),
        "TensorDataset",
        f"read its records: {STACK.format('(x[i] for i in range(len(x)))')}",
    ),
    "torch loader": (
        lambda _: of_library("torch.utils.data.dataloader", "DataLoader"),
        "DataLoader",
        "write jax.tree.map(lambda *rows: np.concatenate(rows), *x)",
    ),
    "tf.data": (
        lambda _: of_library(
            "tensorflow.python.data.ops.batch_op",
            "_BatchDataset",
            type("DatasetV2", (), {"__module__": "tensorflow.python.data.ops.dataset_ops"}),
        ),
        "_BatchDataset",
        f"write {STACK.format('x.as_numpy_iterator()')}",
    ),
    "hugging face": (
        lambda _: of_library("datasets.arrow_dataset", "Dataset"),
        "Dataset",
        'write x.with_format("numpy")[:]',
    ),
    "pandas": (
        lambda _: of_library("pandas.core.frame", "DataFrame"),
        "DataFrame",
        "write {c: df[c].to_numpy() for c in df}",
    ),
    "polars": (
        lambda _: of_library("polars.dataframe.frame", "DataFrame"),
        "DataFrame",
        "write {c: df[c].to_numpy() for c in df.columns}",
    ),
    "polars, lazy": (
        lambda _: of_library("polars.lazyframe.frame", "LazyFrame"),
        "LazyFrame",
        "write {c: df[c].to_numpy() for c in df.columns} of df = x.collect()",
    ),
    "pyarrow": (
        lambda _: of_library("pyarrow.lib", "Table"),
        "Table",
        "write {c: table[c].to_numpy() for c in table.column_names}",
    ),
    "Pillow": (lambda _: of_library("PIL.Image", "Image"), "Image", "write np.asarray(x)"),
    "scipy": (
        lambda _: of_library(
            "scipy.sparse._csr",
            "csr_array",
            type("_spbase", (), {"__module__": "scipy.sparse._base"}),
        ),
        "csr_array",
        "write x.toarray()",
    ),
    "npz file": (npz, "NpzFile", 'write dict(np.load("data.npz"))'),
    "UserDict": (lambda _: Stored(x=X), "Stored", "write dict(x)"),
    "read-only dict": (
        lambda _: types.MappingProxyType({"x": X}),
        "mappingproxy",
        "write dict(x)",
    ),
    "text": (
        lambda _: "images.npy",
        "str",
        "read a file by np.load(path), encode text as integers",
    ),
    "bytes": (
        lambda _: b"images",
        "bytes",
        "read a file by np.load(path), encode text as integers",
    ),
    "path": (
        lambda folder: folder,
        "PosixPath",
        "read a file by np.load(path), encode text as integers",
    ),
    "range": (lambda _: range(4), "range", "write np.asarray(x)"),
    "deque": (lambda _: collections.deque([1]), "deque", "write np.asarray(x)"),
    "array.array": (lambda _: array.array("f", [1]), "array", "write np.asarray(x)"),
    "memoryview": (lambda _: memoryview(b"12"), "memoryview", "write np.asarray(x)"),
    "set": (lambda _: {1, 2}, "set", "a set has no order: write np.array(sorted(x))"),
    "dict view": (
        lambda _: {"x": X}.values(),
        "dict_values",
        f"collect its records: {STACK.format('x')}",
    ),
    "dataclass": (
        lambda _: Unregistered(X),
        "Unregistered",
        "decorate its class with @jax.tree_util.register_dataclass",
    ),
    "class": (lambda _: Unregistered, "type", "pass the data, not the class Unregistered"),
    "function": (
        lambda _: len,
        "builtin_function_or_method",
        "write np.asarray(x), or take the arrays out of it",
    ),
    "shape and dtype alone": (
        lambda _: Shaped(),
        "Shaped",
        "write np.asarray(x), or take the arrays out of it",
    ),
    "shapes of arrays": (
        lambda _: jax.ShapeDtypeStruct((4,), jnp.float32),
        "ShapeDtypeStruct",
        "write np.asarray(x), or take the arrays out of it",
    ),
}


@pytest.mark.parametrize(("make", "kind", "mend"), KINDS.values(), ids=KINDS)
def test_item_25_what_is_no_array_is_refused_by_its_type_unread(
    make: Callable[[Path], Any], kind: str, mend: str, tmp_path: Path
) -> None:
    text = f" is of type {kind}; {EXPECTED}{mend}."
    assert refusal(make(tmp_path)) == (TypeError, re.sub(r"\bx\b", "data", f"data{text}"))
    assert refusal({"x": X, "y": [make(tmp_path)]}) == (TypeError, f"Field `y/0`{text}") or (
        kind in ("str", "bytes")  # a list of strings is told as one
    )
    assert refusal({"meta": {"y": make(tmp_path)}}) == (TypeError, f"Field `meta/y`{text}")


@pytest.mark.parametrize(("make", "kind", "mend"), KINDS.values(), ids=KINDS)
def test_what_is_no_array_is_no_array_for_windows_and_no_source_among_others(
    make: Callable[[Path], Any], kind: str, mend: str, tmp_path: Path
) -> None:
    value = make(tmp_path)
    own = re.sub(r"\bx\b", "data", mend)
    text = f"data is of type {kind}; {EXPECTED}{own}."
    with pytest.raises(TypeError, match=exactly(text)):
        dp.Windows(value, 2)
    source = f"a source, ArraySource(data). For the data, {mend}."
    if mend.endswith("or take the arrays out of it"):
        source = "a source: write ArraySource(data)."
    for check in (check_part, check_source):
        with pytest.raises(TypeError, match=exactly(f"a is of type {kind}; expected {source}")):
            check("a", value)


@pytest.mark.parametrize("data", [[1, 2], (3.0,), [[1, 2], [3]], [np.float32(1)], [True]], ids=str)
def test_numbers_in_lists_are_told_by_the_field_that_they_make_up(data: Any) -> None:
    text = " is a list or tuple of numbers; expected an array: write np.asarray(...) around it."
    assert refusal(data) == (ValueError, f"Field `data`{text}")
    assert refusal({"x": X, "label": data}) == (ValueError, f"Field `label`{text}")


@pytest.mark.parametrize("data", [["a", "b"], (b"a",), [["a"], ["b", "c"]]], ids=str)
def test_strings_in_lists_are_told_by_the_field_that_they_make_up(data: Any) -> None:
    assert refusal({"x": X, "name": data}) == (
        TypeError,
        "Field `name` is a list or tuple of strings; expected an array: encode them as integers.",
    )


def test_a_tensor_that_numpy_cannot_read_is_told_with_the_reason() -> None:
    assert refusal({"x": Elsewhere(X)}) == (
        TypeError,
        "Field `x` is of type Elsewhere, which NumPy cannot read (it is on another device); pass "
        "an array of NumPy or JAX.",
    )


def test_a_source_is_no_data_for_another() -> None:
    assert refusal(dp.ArraySource(X)) == (
        TypeError,
        "data is of type ArraySource, a source already; pass it as it is.",
    )


# Numbers


DTYPES: dict[str, tuple[Any, str]] = {
    "strings": (
        np.array(["a"]),
        "<U1; expected numbers or booleans. Encode the field as integers, or drop it.",
    ),
    "bytes": (
        np.array([b"a"]),
        "|S1; expected numbers or booleans. Encode the field as integers, or drop it.",
    ),
    "new strings": (
        np.array(["a"], np.dtypes.StringDType()),
        "StringDType(); expected numbers or booleans. Encode the field as integers, or drop it.",
    ),
    "objects": (
        np.array([None, {}]),
        "object; expected numbers or booleans. Encode the field as integers, or drop it.",
    ),
    "objects of a tensor": (
        Tensor(np.array([None])),
        "object; expected numbers or booleans. Encode the field as integers, or drop it.",
    ),
    "times": (
        np.array(["2024-01-01"], "datetime64[D]"),
        "datetime64[D]; expected numbers or booleans. Write it from a start on: (x - x.min()) / "
        "np.timedelta64(1, 's').",
    ),
    "spans of time": (
        np.array([1], "timedelta64[ns]"),
        "timedelta64[ns]; expected numbers or booleans. Write it in a unit: x / "
        "np.timedelta64(1, 's').",
    ),
    "bfloat16 as np.save leaves it": (
        X.astype(ml_dtypes.bfloat16).view("V2"),
        "|V2; expected numbers or booleans. If np.save wrote it of bfloat16, write "
        "x.view(ml_dtypes.bfloat16).",
    ),
    "8-bit floats as np.save leaves them": (
        X.astype(ml_dtypes.float8_e4m3fn).view("V1"),
        "|V1; expected numbers or booleans. If np.save wrote it of a small type of ml_dtypes, view "
        "it as that: x.view(ml_dtypes.float8_e4m3fn), say.",
    ),
    "raw bytes": (
        np.zeros(2, "V3"),
        "|V3; expected numbers or booleans. Encode the field as integers, or drop it.",
    ),
    "a record array": (
        np.zeros(2, [("a", "i4")]),
        "[('a', '<i4')]; expected numbers or booleans. Make a field of each part: {name: x[name] "
        "for name in x.dtype.names}.",
    ),
}


@pytest.mark.parametrize(("values", "text"), DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("x64", [False, True])
def test_items_27_and_28_an_array_of_other_things_than_numbers_is_refused_by_its_field(
    values: Any, text: str, x64: bool
) -> None:
    with jax.enable_x64(x64):
        assert refusal(values) == (TypeError, f"data is an array of dtype {text}")
        assert refusal({"x": {"y": values}}) == (
            TypeError,
            f"Field `x/y` is an array of dtype {text}",
        )


def test_item_28_what_np_save_leaves_of_bfloat16_enters_by_the_view_that_is_named(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "x.npy", X.astype(ml_dtypes.bfloat16))
    saved = np.load(tmp_path / "x.npy")
    assert refusal(saved)[1].endswith("write x.view(ml_dtypes.bfloat16).")
    assert dp.ArraySource(saved.view(ml_dtypes.bfloat16)).data.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("dtype", "mend"), [(np.longdouble, "float64"), (np.clongdouble, "complex128")]
)
def test_item_27_numbers_of_more_than_64_bits_are_refused_by_their_field(
    dtype: Any, mend: str
) -> None:
    if np.dtype(dtype).itemsize == np.dtype(mend).itemsize:
        pytest.skip("a long double is a double here")
    assert refusal({"x": X.astype(dtype)}) == (
        TypeError,
        f"Field `x` is an array of dtype {np.dtype(dtype)}; expected numbers of at most 64 bits or "
        f"booleans. Write x.astype(np.{mend}).",
    )


TOO_LARGE: dict[str, tuple[Any, str]] = {
    "int64": ([0, 2**31], "integers from 0 to 2147483648, which int32 cannot hold; re-number"),
    "int64, negative": (
        [-(2**31) - 1, -1],
        "integers from -2147483649 to -1, which int32 cannot hold; re-number",
    ),
    "int64, none of them 0": (
        [2**31, 2**32],
        "integers from 2147483648 to 4294967296, which int32 cannot hold; re-number",
    ),
    "uint64": (
        np.array([5, 2**32], np.uint64),
        "integers from 5 to 4294967296, which uint32 cannot hold; re-number",
    ),
    "int64 of the other byte order": (
        np.array([1, 2**31], ">i8"),
        "integers from 1 to 2147483648, which int32 cannot hold; re-number",
    ),
    "float64": ([1.5, 1e300], "numbers from 1.5 to 1e+300, which float32 cannot hold; re-scale"),
    "float64, negative": (
        [-1e300, -1e200],
        "numbers from -1e+300 to -1e+200, which float32 cannot hold; re-scale",
    ),
    "float64 beside infinities": (
        [np.nan, 1e300, np.inf, 2.0],
        "numbers from 2.0 to 1e+300, which float32 cannot hold; re-scale",
    ),
    "complex128": (
        [1e300 + 1j],
        "complex numbers of parts from 1.0 to 1e+300, which complex64 cannot hold; re-scale",
    ),
    "complex128, the imaginary part": (
        [-1e300j + 2],
        "complex numbers of parts from -1e+300 to 2.0, which complex64 cannot hold; re-scale",
    ),
}


@pytest.mark.parametrize(("values", "text"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_item_27_numbers_that_would_not_fit_are_refused_by_their_field_and_range(
    values: Any, text: str
) -> None:
    assert refusal({"x": X, "y": {"z": np.concatenate([values, values])[:4]}}) == (
        ValueError,
        f"Field `y/z` holds {text} them, or set `jax_enable_x64`.",
    )
    with jax.enable_x64(True):
        held = dp.ArraySource(np.asarray(values)).data
        np.testing.assert_array_equal(held, values)


# Names


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({0: X, "a": X}, "The field names `0`, `'a'` are of types int, str"),
        ({"a": X, None: X}, "The field names `'a'`, `None` are of types str, NoneType"),
        (({"b": {(1,): X, 2: X}},), "The field names `(1,)`, `2` at `0/b` are of types tuple, int"),
        (
            [Registered({"a": X, 1.5: X})],
            "The field names `'a'`, `1.5` at `0/x` are of types str, float",
        ),
        ({1j: X, 2j: X}, "The field names `1j`, `2j` are of types complex"),
    ],
    ids=str,
)
def test_item_28_names_that_have_no_order_are_refused_by_name(data: Any, text: str) -> None:
    assert refusal(data) == (
        TypeError,
        f"{text}, which cannot be put in order; make all of them strings.",
    )


@pytest.mark.parametrize(
    "kind", [dict, collections.OrderedDict, lambda **fields: collections.defaultdict(list, fields)]
)
def test_item_28_a_padded_batch_is_of_the_type_of_the_data(kind: Any) -> None:
    stream = dp.Stream(dp.ArraySource(kind(z=X, a=X)), batch_size=3, remainder="pad")
    pipeline: dp.Pipeline = dp.Pipeline.linear([lambda batch: kind(x=batch["z"])])
    cursor, batch, _ = stream.take(stream.start())
    assert type(batch) is type(kind())
    assert set(batch) == {"z", "a", "valid"}
    _, output = dp.step(pipeline, stream, cursor)
    assert type(output) is type(kind())
    assert {name: x.tolist() for name, x in output.items()} == {
        "x": [3, 0, 1],
        "valid": [True, False, False],
    }


# Devices


DEVICES = (
    FOUR_DEVICES
    + """
import jax, jax.numpy as jnp, numpy as np, dagrax.pure as dp
x, devices = np.arange(4), jax.devices()
on = lambda *ids: jax.device_put(x, jax.NamedSharding(
    jax.sharding.Mesh([devices[i] for i in ids], "d"), jax.P("d")
))
source = lambda **data: dp.ArraySource(data)
"""
)
APART = {
    "source(x=on(0), y=on(1), z=x)": "`x` on cpu:0, `y` on cpu:1",
    "source(x=on(0), m={'y': on(0), 'z': on(2)})": "`m/y` on cpu:0, `m/z` on cpu:2, `x` on cpu:0",
    "source(x=on(0, 1), y=on(0))": "`x` on cpu:0 and cpu:1, `y` on cpu:0",
}
TOGETHER = ["source(x=on(1), y=on(1), z=x)", "source(x=on(2, 3), y=x, z=jnp.zeros(4))"]


def test_item_28_fields_on_different_devices_are_refused_by_name() -> None:
    answers = told(DEVICES, [*APART, *TOGETHER])
    assert answers == {
        call: (
            "ValueError",
            f"The fields lie on different devices: {text}. Put them together: "
            "jax.device_put(data, jax.devices()[0]).",
        )
        for call, text in APART.items()
    } | dict.fromkeys(TOGETHER, ("nothing", ""))
