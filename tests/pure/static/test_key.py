"""Two static values have one key exactly where they make one program, and a key holds nothing."""

import array
import collections
import contextvars
import dataclasses
import decimal
import dis
import enum
import functools
import gc
import logging
import math
import pathlib
import re
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagrax.pure._static._code import code_of
from dagrax.pure._static._key import static_key, watched

me: Any = sys.modules[__name__]
FACTOR = 2.0
ARRAY = np.ones(3, np.float32)


def helper(x: Any) -> Any:
    return x * FACTOR


def calls_helper(x: Any) -> Any:
    return helper(x)


def reads_array(x: Any) -> Any:
    return x * ARRAY


def decorated(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


def closing_over(*values: Any) -> Callable[..., Any]:
    return lambda batch: (batch, *values)


def with_default(value: Any) -> Callable[..., Any]:
    def fn(batch: Any, value: Any = value) -> Any:
        return batch, value

    return fn


def with_keyword(value: Any) -> Callable[..., Any]:
    def fn(batch: Any, *, value: Any = value) -> Any:
        return batch, value

    return fn


def counting_down() -> Callable[..., Any]:
    def fn(n: int) -> Any:
        return fn(n - 1) if n else 0

    return fn


class Point(NamedTuple):
    x: Any
    y: Any


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Plain:
    def __init__(self, value: Any):
        self.value = value

    def __call__(self, batch: Any) -> Any:
        return batch, self.value


class Child(Plain):
    pass


class Slotted:
    __slots__ = ("_other", "value")

    def __init__(self, value: Any):
        self.value = value


class Number(int):
    pass


class Notes(list[Any]):
    pass


@dataclasses.dataclass
class Loose:
    value: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    value: Any


class Module(eqx.Module):
    value: Any = eqx.field(static=True)

    def __call__(self, batch: Any) -> Any:
        return batch * self.value


def cyclic(value: Any) -> Any:
    items: list[Any] = [value]
    items.append((items, {"self": items}))
    return items


def attributed(value: Any) -> Any:
    fn = closing_over()
    fn.gain = value  # type: ignore[attr-defined]
    return fn


def labelled(*names: str) -> Any:
    return {name: len(name) for name in names}


# What is made of another value: equal where the values are, and different where they differ.
HOLDERS: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda x: (x,),
    "list": lambda x: [x],
    "dict": lambda x: {"a": x},
    "ordered dict": lambda x: collections.OrderedDict(a=x),
    "default dict": lambda x: collections.defaultdict(list, a=x),
    "counter": lambda x: collections.Counter({"a": x}),
    "deque": lambda x: collections.deque([x]),
    "mapping proxy": lambda x: types.MappingProxyType({"a": x}),
    "named tuple": lambda x: Point(x, 0),
    "namespace": lambda x: types.SimpleNamespace(a=x),
    "list of a class": lambda x: Notes([x]),
    "dataclass": Loose,
    "frozen dataclass with slots": Fixed,
    "equinox module": Module,
    "object": Plain,
    "slots": Slotted,
    "nested": lambda x: {"a": [Plain((Loose(x), 1))]},
    "cycle": cyclic,
    "closure": closing_over,
    "closure of a closure": lambda x: closing_over(closing_over(x)),
    "default": with_default,
    "keyword default": with_keyword,
    "attribute of a function": attributed,
    "partial": lambda x: functools.partial(helper, x),
    "keyword of a partial": lambda x: functools.partial(helper, x=x),
    "jax's partial": lambda x: jax.tree_util.Partial(closing_over(x)),
    "method": lambda x: Plain(x).__call__,
    "method of a container": lambda x: [x].count,
    "wraps": lambda x: decorated(closing_over(x)),
    "jit": lambda x: jax.jit(closing_over(x)),
    "cache": lambda x: functools.lru_cache(closing_over(x)),
    "vmap": lambda x: jax.vmap(closing_over(x)),
    "filter_vmap": lambda x: eqx.filter_vmap(closing_over(x)),
    "checkpoint": lambda x: jax.checkpoint(closing_over(x)),
    "grad": lambda x: jax.grad(closing_over(x)),
    "filter_grad": lambda x: eqx.filter_value_and_grad(closing_over(x)),
    "custom_jvp": lambda x: jax.custom_jvp(closing_over(x)),
    "structure of a pytree": lambda x: jax.tree.structure(jax.tree_util.Partial(closing_over(x))),
    "slice": lambda x: slice(x),
}

ATOMS: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    2,
    -1,
    2**80,
    10**5000,
    0.0,
    -0.0,
    1.0,
    2.0,
    math.inf,
    1j,
    complex(0.0, -0.0),
    "",
    "a",
    "1",
    "\ud800",
    b"a",
    ...,
    (),
    (1,),
    (1, 2),
    ((1,), 2),
    [],
    [1],
    {},
    {"a": 1},
    {1: 1},
    set(),
    {1},
    {1, 2},
    {1.0, 2},
    frozenset(),
    frozenset({1}),
    frozenset({(1, "a"), (2, "b")}),
    range(2),
    range(3),
    slice(0, 2),
    slice(0, 2, 2),
    np.dtype("int32"),
    np.dtype("float32"),
    np.dtype(jnp.bfloat16),
    np.dtype([("a", "int32")]),
    np.float32(1),
    np.float64(1),
    np.int32(1),
    np.float32(-0.0),
    np.float32(0.0),
    np.str_("a"),
    np.bool_(True),
    Color.RED,
    Color.BLUE,
    Level.LOW,
    Level.HIGH,
    Number(1),
    Number(2),
    Point(1, 2),
    Plain(1),
    Child(1),
    Slotted(1),
    Loose(1),
    Fixed(1),
    Module(1),
    collections.OrderedDict(),
    collections.defaultdict(int),
    collections.defaultdict(list),
    types.MappingProxyType({}),
    decimal.Decimal("1.0"),
    pathlib.PurePosixPath("a"),
    re.compile("a"),
    re.compile("a", re.IGNORECASE),
    len,
    abs,
    int,
    float,
    list.append,
    np.add,
    np.multiply,
    jnp,
    np,
    jax.sharding.PartitionSpec("a"),
    jax.sharding.PartitionSpec("b"),
    jax.nn.relu,
    jax.nn.gelu,
    jnp.where,
    helper,
    calls_helper,
    lambda x: x + 1,
    lambda x: x + 1.0,
    lambda x: x - 1,
    lambda y: y + 1,
    lambda x: x.shape,
    lambda x: x.dtype,
    lambda x: lambda y: (x, y, 1),
    lambda x: lambda y: (x, y, 2),
    closing_over(),
    counting_down(),
]


def test_every_value_equals_itself_and_no_other() -> None:
    keys = [static_key(x) for x in ATOMS]
    for i, mine in enumerate(keys):
        for j, other in enumerate(keys):
            assert (mine == other) == (i == j), f"{ATOMS[i]!r} and {ATOMS[j]!r}"


def test_every_value_has_one_key_whenever_it_is_read() -> None:
    for value in ATOMS:
        assert static_key(value) == static_key(value), repr(value)
        assert hash(static_key(value)) == hash(static_key(value))
        assert static_key(value).shareable, repr(value)
        assert not static_key(value).is_traced


@pytest.mark.parametrize("name", HOLDERS)
def test_values_made_anew_of_equal_values_have_one_key(name: str) -> None:
    hold = HOLDERS[name]
    for value in (2, 2.0, "a", (1, "b"), ["c"], {"d": 1}, None, closing_over(3)):
        assert static_key(hold(value)) == static_key(hold(value)), repr(value)
        assert static_key(hold(value)).shareable


@pytest.mark.parametrize("name", HOLDERS)
def test_values_made_anew_of_different_values_have_two_keys(name: str) -> None:
    hold = HOLDERS[name]
    different = [2, 2.0, 1, True, 0.0, -0.0, "2", None, [2], (2,), closing_over(2), closing_over(3)]
    keys = [static_key(hold(value)) for value in different]
    assert len(set(keys)) == len(keys)


def test_item_50_numbers_that_compare_equal_share_no_key() -> None:
    assert 2 == 2.0
    assert static_key(closing_over(2)) != static_key(closing_over(2.0))
    assert static_key(Module(2)) != static_key(Module(2.0))


def test_a_lambda_made_anew_in_a_loop_has_one_key() -> None:
    assert len({static_key(lambda batch: batch * FACTOR + 1) for _ in range(3)}) == 1


def test_the_same_code_on_another_line_has_the_same_key() -> None:
    first = lambda x: helper(x) + 1  # noqa: E731
    second = lambda x: helper(x) + 1  # noqa: E731
    assert first.__code__.co_firstlineno != second.__code__.co_firstlineno
    assert static_key(first) == static_key(second)


def test_sets_are_read_in_no_order() -> None:
    first, second = {"a", "b", helper, int}, {int, helper, "b", "a"}
    assert static_key(first) == static_key(second)
    names = [f"name {i}" for i in range(50)]
    assert static_key(set(names)) == static_key(set(reversed(names)))


# What a user changes

BEHIND = {"a": 1}
SETTING: contextvars.ContextVar[int] = contextvars.ContextVar("SETTING")


@pytest.mark.parametrize(
    "read",
    [
        helper,
        calls_helper,
        lambda x: calls_helper(x),
        lambda x: lambda: calls_helper(x),
        decorated(helper),
        jax.jit(helper),
        jax.vmap(helper),
        functools.partial(helper, 1),
        Plain(helper),
        me.helper,
        lambda x: me.FACTOR * x,
        lambda x: me.me.FACTOR * x,
    ],
)
@pytest.mark.parametrize("value", [3.0, 2, "2.0"])
def test_a_changed_global_is_heeded_however_it_is_named(
    read: Any, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, watches = static_key(read), [watched(read)]
    assert all(watch.is_unchanged() for watch in watches)
    monkeypatch.setattr(me, "FACTOR", value)
    assert static_key(read) != before
    assert not any(watch.is_unchanged() for watch in watches)
    monkeypatch.setattr(me, "FACTOR", 4.0 / 2)
    assert static_key(read) == before


def test_a_global_that_the_code_does_not_name_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = static_key(lambda x: x.FACTOR)
    monkeypatch.setattr(me, "FACTOR", 3.0)
    assert static_key(lambda x: x.FACTOR) == before


def test_a_global_that_appears_and_a_builtin_that_is_hidden_are_heeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fn = lambda x: max(x, not_there)  # type: ignore[name-defined]  # noqa: E731
    keys = [static_key(fn)]
    monkeypatch.setattr(me, "not_there", None, raising=False)
    keys.append(static_key(fn))
    monkeypatch.setattr(me, "max", min, raising=False)
    keys.append(static_key(fn))
    assert len(set(keys)) == 3


def test_a_method_replaced_and_a_class_attribute_set_are_heeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in (Plain, Child):
        keys, watches = [static_key(kind(1))], [watched(kind(1))]
        monkeypatch.setattr(Plain, "gain", 2, raising=False)
        keys.append(static_key(kind(1)))
        watches.append(watched(kind(1)))
        monkeypatch.setattr(Plain, "__call__", lambda self, batch: batch)
        keys.append(static_key(kind(1)))
        assert not any(watch.is_unchanged() for watch in watches)
        assert len(set(keys)) == 3
        monkeypatch.undo()
        assert static_key(kind(1)) == keys[0]


def test_a_global_that_a_method_names_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scale:
        def __call__(self, x: Any) -> Any:
            return x * FACTOR

    before = static_key(Scale())
    monkeypatch.setattr(me, "FACTOR", 3.0)
    assert static_key(Scale()) != before


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([1], lambda x: x.append(2)),
        ({"a": 1}, lambda x: x.update(a=2)),
        (Plain([1]), lambda x: x.value.append(2)),
        (Slotted(1), lambda x: setattr(x, "value", 2)),
        (Loose(1), lambda x: setattr(x, "value", 2)),
        (collections.deque([1]), lambda x: x.append(2)),
        (collections.ChainMap({"a": 1}), lambda x: x.update(a=2)),
        (types.MappingProxyType(BEHIND), lambda x: BEHIND.update(a=2)),
        (bytearray([1]), lambda x: x.append(2)),
        (array.array("d", [1.0]), lambda x: x.append(2.0)),
        (np.ones(3), lambda x: x.fill(2)),
        (np.ones((3, 4))[:, ::2], lambda x: x.fill(2)),
        (SETTING, lambda x: x.set(2)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_item_7_what_is_changed_in_place_is_heeded(value: Any, change: Any) -> None:
    holders = [lambda batch: value, functools.partial(helper, value), (value,)]
    before = [(static_key(holder), watched(holder)) for holder in holders]
    change(value)
    for holder, (key, watch) in zip(holders, before, strict=True):
        assert static_key(holder) != key
        assert not watch.is_unchanged()


def test_what_moves_from_one_list_to_the_next_is_heeded() -> None:
    value: list[list[int]] = [[1, 2], [3]]
    watch = watched(value)
    value[1].insert(0, value[0].pop())
    assert not watch.is_unchanged()


def test_what_an_array_holds_counts_up_to_64_kilobytes() -> None:
    small, large = np.zeros(2**16, np.uint8), np.zeros(2**16 + 1, np.uint8)
    before = [(static_key([x]), watched([x])) for x in (small, large)]
    small[0] = large[0] = 1
    now = [
        (static_key([x]) == key, watch.is_unchanged())
        for x, (key, watch) in zip((small, large), before, strict=True)
    ]
    assert now == [(False, False), (True, True)]


def test_a_module_that_code_imports_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(x: Any) -> Any:
        import tests.pure.static.test_key as here

        return x * here.FACTOR

    def part(x: Any) -> Any:
        from tests.pure.static.test_key import FACTOR as factor

        return x * factor

    for read in (whole, part):
        key, watch = static_key(read), watched(read)
        assert watch.is_unchanged()
        monkeypatch.setattr(me, "FACTOR", 3.0)
        assert static_key(read) != key
        assert not watch.is_unchanged()
        monkeypatch.undo()


COUNTED: list[int] = []
NUMBER = 0


def test_what_a_function_only_adds_to_or_sets_itself_does_not_count() -> None:
    counted: list[int] = []
    number = 0

    def adds(x: Any) -> Any:
        counted.append(1)
        COUNTED.append(1)
        return x

    def sets(x: Any) -> Any:
        global NUMBER
        nonlocal number
        NUMBER += 1
        number += 1
        return x

    def within(x: Any) -> Any:
        def inner() -> None:
            nonlocal number
            number += 1
            counted.append(1)

        inner()
        return x

    def reads(x: Any) -> Any:
        counted.append(1)
        return x * len(counted)

    def reads_within(x: Any) -> Any:
        counted.append(1)
        return (lambda: counted[0])(), x

    for fn, counts in ((adds, 0), (sets, 0), (within, 0), (reads, 1), (reads_within, 1)):
        key, watch = static_key(fn), watched(fn)
        fn(1)
        assert (static_key(fn) != key, not watch.is_unchanged()) == (counts, counts)


def test_code_set_anew_is_heeded() -> None:
    fn, other = closing_over(1), closing_over(1)
    fn.__code__ = (lambda values: lambda batch: (values, batch))(1).__code__
    assert static_key(fn) != static_key(other)


def test_a_function_that_calls_itself_ends() -> None:
    assert static_key(counting_down()) == static_key(counting_down())


def test_the_globals_that_code_names_are_those_that_python_tells() -> None:
    many = "\n".join(f"    name_{i}.at_{i}(len, x)" for i in range(300))
    made: dict[str, Any] = {}
    exec(f"class Body:\n    here = max\ndef fn(x):\n{many}\n    return (lambda: inner)", made)
    codes = [made["fn"].__code__, static_key.__code__, test_sets_are_read_in_no_order.__code__]
    for code in codes:
        told = [s.argval for s in dis.get_instructions(code) if s.opname == "LOAD_GLOBAL"]
        inner = ["inner"] if code is codes[0] else []
        assert code_of(code).globals[: len(set(told))] == tuple(dict.fromkeys(told))
        assert set(inner) <= set(code_of(code).globals)


# Arrays, and what is said to be opaque


@pytest.mark.parametrize("array", [np.ones(2), jnp.ones(2), jax.random.key(0)])
@pytest.mark.parametrize("name", [n for n in HOLDERS if n != "equinox module"])
def test_an_array_counts_by_identity_and_is_not_shared(name: str, array: Any) -> None:
    key = static_key(HOLDERS[name](array))
    assert not key.shareable
    assert key == static_key(HOLDERS[name](array))
    other = (
        array.copy()
        if isinstance(array, np.ndarray)
        else jax.random.clone(array)
        if (jnp.issubdtype(array.dtype, jax.dtypes.prng_key))
        else array + 0
    )
    assert key != static_key(HOLDERS[name](other))


def test_an_array_that_a_named_global_holds_is_not_shared() -> None:
    assert not static_key(reads_array).shareable


def test_a_tracer_is_told() -> None:
    seen = []

    def traced(x: jax.Array) -> jax.Array:
        seen.append(static_key(closing_over(x)).is_traced)
        return x

    for transform in (jax.jit, jax.grad, lambda fn: lambda x: jax.vmap(fn)(x[None])):
        transform(traced)(jnp.float32(1))
    assert seen == [True] * 3


def test_what_is_opaque_counts_by_identity_and_is_not_shared() -> None:
    mine, other = Plain(1), Plain(1)
    assert static_key([mine]) == static_key([other])
    opaque = lambda x: isinstance(x, Plain)  # noqa: E731
    assert static_key([mine], opaque=opaque) == static_key([mine], opaque=opaque)
    assert static_key([mine], opaque=opaque) != static_key([other], opaque=opaque)
    assert static_key({"a": {mine}}, opaque=opaque) != static_key({"a": {other}}, opaque=opaque)
    assert not static_key(closing_over((mine,)), opaque=opaque).shareable


@pytest.mark.parametrize(
    "make",
    [
        threading.Lock,
        lambda: (x for x in [1]),
        lambda: iter([1]),
        lambda: np.random.default_rng(0),
        lambda: logging.getLogger("some"),
        object,
        lambda: type("Made", (), {}),
        lambda: types.ModuleType("made"),
    ],
)
def test_what_is_of_an_unknown_kind_counts_by_identity(make: Callable[[], object]) -> None:
    one = make()
    assert static_key(one) == static_key(one)


@pytest.mark.parametrize(
    "make",
    [
        threading.Lock,
        lambda: iter([1]),
        lambda: np.random.default_rng(0),
        lambda: __import__("random").Random(0),
        lambda: type("Made", (), {}),
        lambda: types.ModuleType("made"),
    ],
)
def test_two_of_an_unknown_kind_differ(make: Callable[[], object]) -> None:
    one, other = make(), make()
    assert static_key(one) != static_key(other)


# Nothing is kept alive


@pytest.mark.parametrize("name", HOLDERS)
def test_a_key_keeps_nothing_alive(name: str) -> None:
    value = Plain(1)
    reference, key = weakref.ref(value), static_key(HOLDERS[name](value))
    del value
    gc.collect()
    assert reference() is None
    assert key.shareable


@pytest.mark.parametrize("name", [n for n in HOLDERS if n != "equinox module"])
def test_a_key_keeps_no_array_alive(name: str) -> None:
    array = np.ones(100)
    reference, key = weakref.ref(array), static_key(HOLDERS[name](array))
    del array
    gc.collect()
    assert reference() is None
    assert not key.shareable


@pytest.mark.parametrize("made", [lambda: type("Made", (), {}), lambda: np.ones(3)])
def test_what_is_dead_equals_nothing_though_its_address_be_given_out_again(
    made: Callable[[], object],
) -> None:
    kept = [made() for _ in range(200)]
    keys = {id(value): static_key(value) for value in kept}
    del kept[:]
    gc.collect()
    later = [made() for _ in range(5000)]
    again = [value for value in later if id(value) in keys]
    assert again
    assert all(static_key(value) != keys[id(value)] for value in again)


def test_values_made_in_passing_are_not_taken_for_one_another() -> None:
    class Passing:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

    values = [[Plain(i).__call__ for i in range(3)], [Plain(0).__call__ for _ in range(3)]]
    assert static_key(values[0]) != static_key(values[1])
    assert static_key(Passing()) == static_key(Passing())
