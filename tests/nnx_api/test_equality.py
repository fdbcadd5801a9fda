"""Every way through a pipeline gives what the reference gives."""

import itertools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline
from tests import reference
from tests.nnx_zoo import TWINS, RotatedSource
from tests.paths import (
    EAGER,
    PATHS,
    TRACED,
    Core,
    Path,
    Steps,
    assert_steps,
    by_for,
    by_scan,
    by_step,
    by_step_in_jit,
)
from tests.zoo import (
    REMAINDERS,
    Batch,
    BatchNoise,
    Case,
    Graph,
    Mix,
    Noise,
    Remainder,
    Stage,
    assert_same,
    diamond,
    graphs,
    records,
)


def key_of(seed: int | jax.Array, stream: str) -> jax.Array:
    """The first key that `nnx.Rngs(seed)` hands out, which is all that a pipeline takes."""
    key: jax.Array = nnx.Rngs(seed)[stream]()
    return key


def case_of(
    size: int, batch_size: int, remainder: Remainder, shuffle_seed: int | None = None
) -> Case:
    if shuffle_seed is None:
        return Case(size, batch_size, remainder)
    return Case(size, batch_size, remainder, dp.Shuffled(key_of(shuffle_seed, "shuffle")))


def source_of(case: Case, shuffle_seed: int | None) -> MemorySource:
    if shuffle_seed is None:
        return RotatedSource(data=records(case.size))
    config = MemorySourceConfig(shuffle=True)
    return MemorySource(config, data=records(case.size), rngs=nnx.Rngs(shuffle_seed))


def pipeline_of(
    graph: Graph, case: Case, seed: int | jax.Array, shuffle_seed: int | None = None
) -> Pipeline:
    return Pipeline.from_dag(
        source=source_of(case, shuffle_seed),
        nodes={name: TWINS[type(stage)](stage.gain) for name, stage in graph.nodes.items()},
        edges=graph.edges,
        sink=graph.sink,
        batch_size=case.batch_size,
        rngs=nnx.Rngs(seed),
        remainder=case.remainder,
    )


def expected_of(graph: Graph, case: Case, seed: int | jax.Array, count: int) -> Steps:
    data, key = records(case.size), key_of(seed, "pipeline")
    return [(b.after, graph.expected(data, key, b)) for b in case.batches(count)]


def can_take(path: Path, case: Case) -> bool:
    one_shape = case.remainder != "partial" or case.size % case.batch_size == 0
    yields = case.remainder != "drop" or case.batch_size <= case.size
    return yields and (path in EAGER or one_shape)


def branches() -> Graph:
    """Two branches off the source that draw, and a merge: little to compile."""
    nodes: dict[str, Stage] = {
        "noise": Noise(jnp.float32(2.0)),
        "flip": BatchNoise(jnp.float32(1.5)),
    }
    nodes["merge"] = Mix(jnp.float32(0.5))
    return Graph(nodes, {"noise": [], "flip": [], "merge": ["noise", "flip", "noise"]}, "merge")


def bare() -> Graph:
    return Graph({"mix": Mix(jnp.float32(0.5))}, {"mix": []}, "mix")


# One record, one batch, one record short of it, one over, batches of one, a prime, a divisor.
SHAPES = [(1, 1), (4, 4), (3, 4), (5, 4), (3, 1), (6, 3)]


@pytest.mark.parametrize(
    ("path", "remainder"),
    [
        *itertools.product([by_scan], REMAINDERS),
        *zip(itertools.cycle(EAGER), REMAINDERS, strict=False),
        *itertools.product(TRACED[1:], ["carry"]),
    ],
)
def test_every_path_equals_the_reference_over_more_than_two_epochs(
    path: Path, remainder: Remainder
) -> None:
    case = case_of(6 if remainder == "partial" else 7, 3, remainder)
    count = 2 * case.stream().steps_per_epoch + 1
    actual = path(pipeline_of(branches(), case, seed=3), count)
    assert_steps(actual, expected_of(branches(), case, 3, count))


@pytest.mark.parametrize(
    "path", [by_step, by_for, by_scan, by_step_in_jit], ids=lambda x: x.__name__
)
def test_every_path_equals_the_reference_with_a_fast_key(path: Path) -> None:
    case, seed = case_of(7, 3, "carry"), dp.fast_key(3)
    actual = path(pipeline_of(branches(), case, seed), 4)
    assert_steps(actual, expected_of(branches(), case, seed, 4))


@settings(max_examples=6)
@given(
    path=st.sampled_from(PATHS),
    graph=graphs(largest=3),
    shape=st.one_of(st.sampled_from(SHAPES), st.tuples(st.integers(1, 13), st.integers(1, 13))),
    remainder=st.sampled_from(REMAINDERS),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_path_equals_the_reference_over_any_graph(
    path: Path, graph: Graph, shape: tuple[int, int], remainder: Remainder, seed: int
) -> None:
    case = case_of(*shape, remainder)
    if not can_take(path, case):
        case = case_of(shape[0], 1, remainder)
    count = case.stream().steps_per_epoch + 1
    actual = path(pipeline_of(graph, case, seed), count)
    assert_steps(actual, expected_of(graph, case, seed, count))


@pytest.mark.parametrize("path", [by_for, by_scan], ids=lambda path: path.__name__)
@pytest.mark.parametrize("shuffle_seed", [0, 2**31 - 1])
def test_every_path_follows_the_shuffled_order(path: Path, shuffle_seed: int) -> None:
    case = case_of(13, 4, "carry", shuffle_seed)
    actual = path(pipeline_of(bare(), case, 0, shuffle_seed), 5)
    assert_steps(actual, expected_of(bare(), case, 0, 5))


@pytest.mark.parametrize(
    ("shape", "remainder"),
    [*((shape, "partial") for shape in SHAPES), *(((5, 4), each) for each in REMAINDERS[1:])],
)
def test_a_for_loop_is_one_epoch_of_the_reference(
    shape: tuple[int, int], remainder: Remainder
) -> None:
    case, graph = case_of(*shape, remainder), bare()
    if remainder == "drop" and case.batch_size > case.size:
        pytest.skip("nothing to yield")
    pipeline = pipeline_of(graph, case, seed=0)
    whole = [batch for batch in case.batches(99) if batch.start[0] == 0]
    actual: Steps = [(None, batch) for batch in pipeline]
    assert_steps(actual, expected_of(graph, case, 0, len(whole)))


@pytest.mark.parametrize("size", [5])
def test_a_call_counts_its_records_from_zero(size: int) -> None:
    case, graph = case_of(7, 3, "partial"), branches()
    pipeline = pipeline_of(graph, case, seed=4)
    before = pipeline.cursor
    given_ = reference.Expected((0, 0), (0, 0), list(range(size)), [0] * size, None)
    expected = graph.expected(records(size), key_of(4, "pipeline"), given_)
    assert_same(pipeline(records(size)), expected)
    assert_same(nnx.jit(lambda p, b: p(b))(pipeline, records(size)), expected)
    assert pipeline.cursor == before


def test_the_nnx_face_is_the_pure_core_with_the_same_key() -> None:
    case = case_of(7, 3, "pad")
    pipeline = pipeline_of(branches(), case, seed=8)
    stream, key = case.stream(), key_of(8, "pipeline")
    core = Core(branches().pipeline(), stream, stream.start(), key, compiled=True)
    for path, count in ((by_step, 4), (by_scan, 2)):
        assert_steps(path(pipeline, count), path(core, count))


@pytest.mark.parametrize("path", [by_scan, by_step_in_jit], ids=lambda path: path.__name__)
def test_a_path_may_start_anywhere_in_an_epoch(path: Path) -> None:
    case = case_of(7, 3, "carry")._replace(cursor=(2, 5))
    pipeline = pipeline_of(branches(), case, seed=0)
    pipeline.seek(epoch=2, offset=5)
    assert_steps(path(pipeline, 2), expected_of(branches(), case, 0, 2))


def test_outputs_are_those_of_the_next_step_node_by_node() -> None:
    case, graph = case_of(7, 3, "partial"), diamond()
    pipeline = pipeline_of(graph, case, seed=2)
    pipeline.step()
    (_, second) = case.batches(2)
    taps = pipeline.outputs("unused", "noise", "sink")
    assert list(taps) == ["unused", "noise", "sink"]
    for node, output in taps.items():
        expected = graph._replace(sink=node).expected(records(7), key_of(2, "pipeline"), second)
        assert_same(output, expected)
    assert list(pipeline.outputs()) == ["root", "noise", "flip", "sink"]
    assert_same(pipeline.step(), taps["sink"])


def test_outputs_of_a_batch_of_ones_own_equal_the_call() -> None:
    pipeline = pipeline_of(branches(), case_of(7, 3, "pad"), seed=2)
    batch: Batch = records(5)
    assert_same(pipeline.outputs("merge", batch=batch)["merge"], pipeline(batch))
