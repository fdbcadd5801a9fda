import itertools
import operator
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dagrax.pure as dp
from tests.counting import counted, unlike_any
from tests.paths import (
    EAGER,
    SCANS,
    Core,
    Path,
    Steps,
    assert_steps,
    by_for,
    by_scan,
    by_scan_with_a_carry,
    by_step,
    place,
)
from tests.zoo import (
    REMAINDERS,
    Case,
    Graph,
    Mix,
    Remainder,
    Times,
    assert_same,
    diamond,
    graphs,
    records,
)

KEY = jax.random.key(11)


def expected(case: Case, graph: Graph, count: int, key: jax.Array = KEY) -> Steps:
    data = records(case.size)
    return [(batch.after, graph.expected(data, key, batch)) for batch in case.batches(count)]


def core(graph: Graph, case: Case, *, compiled: bool = False) -> Core:
    return Core(graph.pipeline(), case.stream(), case.start(), KEY, compiled)


# Every path is the reference


SHORT = Case(7, 3, "partial", cursor=(2, 2))
OF_ONE_SHAPE = [
    Case(6, 3, "partial", dp.Sequential()),
    Case(7, 3, "drop"),
    Case(7, 3, "pad", cursor=(1, 2)),
    Case(3, 7, "carry"),
]
SHUFFLED = Case(6, 3, "partial", dp.Shuffled(jax.random.key(5)))  # costly to compile


@pytest.mark.parametrize(
    ("case", "path", "compiled"),
    [
        *itertools.product([SHORT], [by_step, by_for], [False]),
        *itertools.product(OF_ONE_SHAPE, [by_for], [False]),
        *itertools.product(OF_ONE_SHAPE, [by_step, by_scan_with_a_carry], [False, True]),
        *itertools.product([SHUFFLED], [by_for, by_scan], [True]),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_every_path_equals_the_reference(case: Case, path: Path, compiled: bool) -> None:
    count = 2 * case.stream().steps_per_epoch + 1
    actual = path(core(diamond(), case, compiled=compiled), count)
    assert_steps(actual, expected(case, diamond(), count))


@settings(max_examples=4)
@given(graphs(largest=3), st.integers(1, 13), st.integers(1, 13), st.sampled_from(REMAINDERS[1:]))
def test_any_graph_on_any_stream_equals_the_reference(
    graph: Graph, size: int, batch_size: int, remainder: Any
) -> None:
    batch_size = min(size, batch_size) if remainder == "drop" else batch_size
    case = Case(size, batch_size, remainder)
    actual = by_step(core(graph, case, compiled=True), 3)
    assert_steps(actual, expected(case, graph, 3))


def step(pipeline: dp.Pipeline, case: Case, key: jax.Array = KEY) -> Any:
    return dp.step(pipeline, case.stream(), case.start(), key=key)[1]


def test_pipelines_with_stacked_leaves_can_be_mapped() -> None:
    case = Case(7, 3, "carry", cursor=(0, 6))
    halves = [diamond(), diamond()._replace(nodes=diamond().nodes | {"sink": Mix(jnp.float32(4))})]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(half.pipeline() for half in halves))
    batches = jax.jit(jax.vmap(lambda pipeline: step(pipeline, case)))(stacked)
    for i, half in enumerate(halves):
        assert_same({name: y[i] for name, y in batches.items()}, expected(case, half, 1)[0][1])


def test_keys_can_be_mapped() -> None:
    case, keys = Case(7, 3, "pad"), jax.random.split(KEY, 2)
    batches = jax.jit(jax.vmap(lambda key: step(diamond().pipeline(), case, key)))(keys)
    for i, key in enumerate(keys):
        batch = expected(case, diamond(), 1, key)[0][1]
        assert_same({name: y[i] for name, y in batches.items()}, batch)


# Epochs


def ids_by_epoch(case: Case, start: tuple[int, int]) -> Iterator[tuple[tuple[int, int], list[int]]]:
    cursor = dp.Cursor(*map(np.uint32, start))
    for after, batch in dp.epoch(dp.Pipeline.linear([same]), case.stream(["id"]), cursor):
        yield place(after), batch["id"].tolist()


def same(batch: Any) -> Any:
    return batch


IN_ORDER = Case(10, 4, "partial", dp.Sequential())


@pytest.mark.parametrize(
    ("remainder", "start", "batches"),
    [
        ("partial", (0, 0), [((0, 4), [0, 1, 2, 3]), ((0, 8), [4, 5, 6, 7]), ((1, 0), [8, 9])]),
        ("partial", (3, 8), [((4, 0), [8, 9])]),
        ("drop", (0, 0), [((0, 4), [0, 1, 2, 3]), ((1, 0), [4, 5, 6, 7])]),
        ("pad", (0, 8), [((1, 0), [8, 9, 0, 1])]),
        ("carry", (0, 8), [((1, 2), [8, 9, 0, 1])]),
        ("carry", (1, 2), [((1, 6), [2, 3, 4, 5]), ((2, 0), [6, 7, 8, 9])]),
    ],
)
def test_an_epoch_runs_to_its_end(remainder: Any, start: tuple[int, int], batches: Any) -> None:
    assert list(ids_by_epoch(IN_ORDER._replace(remainder=remainder), start)) == batches


def test_an_epoch_from_a_cursor_at_its_end_is_the_next_one() -> None:
    assert len(list(ids_by_epoch(IN_ORDER, (0, 10)))) == 3


def test_item_43_under_carry_a_loop_covers_the_batches_that_start_in_the_epoch() -> None:
    stream = IN_ORDER._replace(remainder="carry").stream(["id"])
    pipeline, cursor, covered = dp.Pipeline.linear([same]), stream.start(), []
    for _ in range(4):
        left = stream.batching.steps_left(int(cursor.offset))
        steps = list(dp.epoch(pipeline, stream, cursor))
        cursor = steps[-1][0]
        covered.append((left, len(steps)))
    assert covered == [(3, 3), (2, 2), (3, 3), (2, 2)]
    assert stream.steps_per_epoch == 3


def test_cursors_of_an_epoch_are_host_data() -> None:
    stream = IN_ORDER.stream(["id"])
    for after, _ in dp.epoch(dp.Pipeline.linear([same]), stream, stream.start()):
        assert [type(x) for x in after] == [np.uint32] * 2


# Scan


def totals(carry: Any, batch: Any) -> tuple[Any, Any]:
    return carry + batch["x"].sum(), batch["x"].mean()


def scanned(body: Any, carry: Any, length: Any = 2) -> Any:
    stream = Case(6, 3, "partial").stream(["x"])
    return dp.scan(body, carry, dp.Pipeline.linear([same]), stream, stream.start(), length=length)


def test_scan_returns_the_cursor_the_carry_and_the_stacked_ys() -> None:
    cursor, carry, ys = scanned(totals, jnp.float32(1))
    assert place(cursor) == (1, 0)
    np.testing.assert_allclose(carry, 1 + records(6)["x"].sum(), rtol=1e-5)
    assert ys.shape == (2,)


@pytest.mark.parametrize("zero", [0.0, 0])
def test_a_carry_may_start_as_a_python_number(zero: float) -> None:
    _, carry, _ = scanned(totals, zero)
    np.testing.assert_allclose(carry, records(6)["x"].sum(), rtol=1e-5)


def test_a_carry_may_be_none_or_any_pytree() -> None:
    assert scanned(lambda carry, batch: (carry, None), None)[1:] == (None, None)
    _, carry, _ = scanned(lambda carry, batch: ({"n": carry["n"] + 1}, None), {"n": jnp.int32(0)})
    assert carry["n"] == 2


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("path", [*EAGER, *SCANS], ids=lambda path: path.__name__)
def test_an_error_inside_a_stage_names_its_node_on_every_path(path: Path, compiled: bool) -> None:
    def broken(batch: Any) -> Any:
        raise RuntimeError("no lens")

    pipeline = dp.Pipeline.from_dag(nodes={"crop": broken}, edges={"crop": []}, sink="crop")
    stream = Case(6, 3, "partial").stream()
    with pytest.raises(RuntimeError, match="no lens") as error:
        path(Core(pipeline, stream, stream.start(), KEY, compiled), 1)
    assert (
        "This happened in node `crop` (broken), which was given {bits: u32[3], id: u32[3], "
        "x: f32[3,2]}."
    ) in error.value.__notes__


def test_an_error_inside_the_step_function_tells_what_it_was_called_with() -> None:
    def broken(carry: Any, batch: Any) -> Any:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck") as error:
        scanned(broken, 0.0)
    assert (
        "This happened in the step function, called with (f32[], batch {x: f32[3,2]})."
    ) in error.value.__notes__
    with pytest.raises(RuntimeError, match="no luck") as error:
        scanned(broken, (0.0, jnp.tanh))  # as a model holds one
    assert (
        "This happened in the step function, called with ({0: f32[], 1: PjitFunction}, "
        "batch {x: f32[3,2]})."
    ) in error.value.__notes__


# Compilations


def gained(count: int) -> list[dp.Pipeline]:
    """Pipelines that differ in a number, and in more from those of any other test."""
    same = unlike_any()
    return [dp.Pipeline.linear([same, Times(jnp.float32(gain))]) for gain in range(count)]


@pytest.mark.parametrize("case", [Case(7, 3, "carry"), Case(6, 3, "partial")], ids=str)
def test_a_compiled_step_is_compiled_once_for_all_epochs_and_parameters(case: Case) -> None:
    step, cursor, stream, pipelines = jax.jit(dp.step), case.start(), case.stream(["x"]), gained(8)
    with counted() as seen:
        for pipeline in pipelines:
            cursor, _ = step(pipeline, stream, cursor)
    assert place(cursor)[0] >= 3
    assert len(seen.compiled) == 1


@pytest.mark.parametrize(
    ("case", "compilations"),
    [(Case(7, 3, "drop"), 1), (Case(6, 3, "partial"), 1), (Case(7, 3, "partial"), 2)],
    ids=str,
)
def test_epochs_compile_once_and_once_more_for_a_short_batch(case: Case, compilations: int) -> None:
    cursor, stream, pipelines, last = case.start(), case.stream(["x"]), gained(4), []
    with counted() as seen:
        for pipeline in pipelines:
            *_, (cursor, batch) = dp.epoch(pipeline, stream, cursor)
            last.append(batch["x"])
    assert place(cursor) == (4, 0)
    assert len(seen.compiled) == compilations
    assert [bool(np.any(x)) for x in last] == [False, True, True, True]


def test_a_compiled_scan_is_compiled_once_for_all_cursors_and_parameters() -> None:
    case, zero, pipelines = Case(7, 3, "carry"), jnp.float32(0), gained(3)
    scan = jax.jit(dp.scan, static_argnums=0, static_argnames="length")
    cursor, stream = case.start(), case.stream(["x"])
    with counted() as seen:
        for pipeline in pipelines:
            cursor, _, _ = scan(totals, zero, pipeline, stream, cursor, length=4)
    assert place(cursor) == (5, 1)
    assert len(seen.compiled) == 1


def test_an_eager_step_compiles_nothing_once_it_has_run() -> None:
    # A shape of its own, so that no other test has compiled it.
    case, pipeline = Case(53, 17, "carry"), dp.Pipeline.linear([same])
    stream, cursor = case.stream(["x"]), case.start()
    for compiles in (True, False, False):
        with counted() as seen:
            cursor, _ = dp.step(pipeline, stream, cursor)
        assert bool(seen.compiled) == compiles


# Where the data are

ODD = 123.456


def heavy(size: int) -> dp.Stream:
    data = {"x": np.full((size, 3), ODD, np.float32)}
    return dp.Stream(dp.ArraySource(data), dp.Sequential(), batch_size=10)


def total(stream: dp.Stream, cursor: dp.Cursor) -> Any:
    pipeline = dp.Pipeline.linear([same])
    return dp.scan(totals, jnp.float32(0), pipeline, stream, cursor, length=3)


@pytest.fixture
def programs(tmp_path: pathlib.Path) -> Iterator[Callable[[], str]]:
    """All programs that have been compiled since, as text."""
    jax.config.update("jax_dump_ir_to", str(tmp_path))
    yield lambda: "\n".join(file.read_text() for file in sorted(tmp_path.rglob("*.mlir")))
    jax.config.update("jax_dump_ir_to", "")


@pytest.mark.parametrize("run", [total, jax.jit(total)], ids=["outside jit", "inside jit"])
def test_the_data_are_an_argument_of_a_scan_and_no_constant_of_it(
    run: Any, programs: Callable[[], str]
) -> None:
    stream = heavy(4321 * 10)
    run(stream, stream.start())
    text = programs()
    assert "%arg" in text
    assert "tensor<43210x3xf32>" in text
    assert "1.23456" not in text


def test_the_check_above_would_see_a_constant(programs: Callable[[], str]) -> None:
    stream = heavy(4321 * 10)
    jax.jit(lambda: total(stream, stream.start()))()
    assert "1.23456" in programs()


def test_the_data_are_an_operand_of_the_loop_and_not_in_its_carry() -> None:
    stream = heavy(100)
    jaxpr = jax.make_jaxpr(total)(stream, stream.start()).jaxpr
    (loop,) = (equation for equation in jaxpr.eqns if equation.primitive.name == "scan")
    # What is carried comes out of the loop.
    read, carried = ([str(x.aval) for x in side] for side in (loop.invars, loop.outvars))
    assert "float32[100,3]" in read
    assert {x.partition("[")[2] for x in carried} == {"]", "3]"}


def test_the_program_does_not_grow_with_the_data() -> None:
    small, large = (
        len(jax.jit(total).lower(stream, stream.start()).as_text())
        for stream in (heavy(100), heavy(100_000))
    )
    assert large < small * 1.02


@pytest.mark.parametrize("loop", ["step", "scan"])
def test_a_place_met_in_a_trace_is_forgotten_with_it(loop: str) -> None:
    case, pipeline = Case(12, 4, "carry"), dp.Pipeline.linear([same])
    stream, start = case.stream(["x"]), case.start()

    def first(stream: dp.Stream) -> Any:
        if loop == "step":
            return dp.step(pipeline, stream, start)[1]["x"]
        body = lambda carry, batch: (carry, batch["x"])  # noqa: E731
        return dp.scan(body, None, pipeline, stream, start, length=1)[2][0]

    for _ in range(2):
        found = jax.jit(lambda stream: first(stream))(stream)
        np.testing.assert_array_equal(found, first(stream))


@pytest.mark.parametrize(
    ("remainder", "start", "left"),
    [("partial", 0, 3), ("partial", 8, 1), ("drop", 0, 2), ("drop", 8, 2), ("pad", 4, 2),
     ("carry", 0, 3), ("carry", 2, 2)],
)  # fmt: skip
def test_an_epoch_knows_how_many_batches_are_left(
    remainder: Remainder, start: int, left: int
) -> None:
    stream = dp.Stream(
        dp.ArraySource({"x": np.arange(10.0, dtype=np.float32)}), batch_size=4, remainder=remainder
    )
    cursor = dp.Cursor(np.uint32(0), np.uint32(start))
    epoch = dp.epoch(dp.Pipeline.linear([]), stream, cursor)
    assert operator.length_hint(epoch) == left
    assert len([operator.length_hint(epoch) for _ in epoch]) == left
    assert (operator.length_hint(epoch), list(epoch)) == (0, [])


def test_an_epoch_is_no_loop_of_a_trace() -> None:
    stream = dp.Stream(dp.ArraySource(np.zeros(4, np.float32)), batch_size=2)
    with pytest.raises(TypeError, match=r"cursor is traced .*; call dp\.step there"):
        jax.jit(lambda cursor: dp.epoch(dp.Pipeline.linear([]), stream, cursor))(stream.start())
