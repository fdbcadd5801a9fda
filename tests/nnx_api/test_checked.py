"""What only a running program can know is told by `pipeline.checked()`, by its node."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import checkify

import dagrax.pure as dp
from dagrax.nnx_api import Element, HostSource, MemorySource, OperatorModule, Pipeline
from dagrax.nnx_api import operators as op
from dagrax.nnx_api._core import _traced
from dagrax.nnx_api._core._calls import planned
from dagrax.nnx_api._core._kept import Kept
from dagrax.pure import host, ops
from dagrax.pure._checking import certain, checked

DATA = {"x": jnp.arange(12.0, dtype=jnp.float32)}


class Counted(nnx.Module):
    """Scales, counts its calls, and checks as a user would."""

    def __init__(self, scale: float):
        self.scale = nnx.Param(jnp.float32(scale))
        self.calls = nnx.BatchStat(jnp.int32(0))

    def __call__(self, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        self.calls[...] = self.calls[...] + 1
        x = batch["x"] * self.scale[...]
        checkify.debug_check(jnp.all(x < 20), "a value is {x}", x=x.max())
        return {"x": x}


class Small(OperatorModule):
    """Checks one record, as the operators do."""

    def apply(self, element: Element) -> Element:
        x = element.data["x"]
        checked(x < 5, "x is {x}; expected less than 5.", x=x)
        return element


def pipeline_of(scale: float = 1.0) -> Pipeline:
    source = MemorySource(data=DATA)
    return Pipeline(source=source, stages={"a": Counted(scale), "b": Small()}, batch_size=4)


def total(batch: dict[str, jax.Array]) -> jax.Array:
    return batch["x"].sum()


def test_a_checked_pipeline_is_the_same_pipeline() -> None:
    pipeline = pipeline_of()
    checked = pipeline.checked()
    assert checked.step()["x"].tolist() == [0, 1, 2, 3]
    assert pipeline.cursor == checked.cursor == (0, 4)
    assert pipeline.nodes["a"].calls[...] == 1
    assert pipeline.step()["x"].tolist() == [4, 5, 6, 7]  # unchecked, it goes on
    pipeline.seek(epoch=0)
    assert checked.scan(total, length=1).tolist() == [6]


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.step(),
        lambda p: list(p),
        lambda p: p.outputs("b"),
        lambda p: p(DATA),
        lambda p: p.scan(total),
        lambda p: list(p.blocks(total, every=3)),
    ],
    ids=["step", "for", "outputs", "call", "scan", "blocks"],
)
def test_it_refuses_by_node_and_sets_nothing(call: Callable[[Pipeline], Any]) -> None:
    pipeline = pipeline_of()
    pipeline.seek(epoch=0, offset=4)
    told = r"^node `b`: x is (7|11)\.0; expected less than 5\.$"
    with pytest.raises(ValueError, match=told):
        call(pipeline.checked())
    assert (pipeline.cursor, int(pipeline.nodes["a"].calls[...])) == ((0, 4), 0)


def test_what_a_user_checks_is_told_as_it_is_written() -> None:
    with pytest.raises(ValueError, match=r"^a value is 30\.0$"):
        pipeline_of(10.0).checked().step()


def test_variants_are_checked_each() -> None:
    pipelines = [pipeline_of(scale) for scale in (1.0, 2.0)]
    for pipeline in pipelines:
        pipeline.source = pipelines[0].source
    together = Pipeline.variants(pipelines)
    assert together.step()["x"].shape == (2, 4)
    together.seek(epoch=0)
    with pytest.raises(ValueError, match=r"^node `b` in variant 1: x is 6\.0"):
        together.checked().step()


def test_in_a_trace_of_the_users_own_that_is_checked() -> None:
    graph = dp.Pipeline.linear([dp.per_record(small)])
    loud = checkify.checkify(lambda x: dp.apply(graph, x))
    with ops.checking():
        assert loud(jnp.arange(3.0))[0].get() is None
        said = loud(jnp.arange(9.0))[0].get()
    assert said is not None and said.startswith("node `small`: x is ")


def small(x: jax.Array) -> jax.Array:
    checked(x < 5, "x is {x}", x=x)
    return x


def test_what_must_never_pass_is_refused_in_any_program() -> None:
    with pytest.raises(ValueError, match=r"^x is too large$"):
        certain(jnp.ones(()), np.bool_(True), "x is too large")
    refused = jax.jit(lambda x: certain(x, x > 1, "x is too large"))
    assert refused(jnp.ones(())) == 1
    with pytest.raises(Exception, match=r"x is too large"):
        jax.block_until_ready(refused(2 * jnp.ones(())))


# A NaN or an infinity, where a node makes it


def root(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {**batch, "x": jnp.log(batch["x"])}


def twice(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {"x": batch["x"] * 2, "age": batch["age"] + 1}


def rooted(*, source: MemorySource | None = None, **options: Any) -> Pipeline:
    data = {"x": np.arange(12.0, dtype=np.float32) - 1, "age": np.ones(12, np.float32)}
    data["x"][:2], data["x"][9] = 1, 0  # the log of record 9 is -inf
    data["age"][3] = np.nan  # and a value of record 3 is missing
    return Pipeline(
        source=source or MemorySource(data=data, order=dp.Sequential()),
        stages={"twice": twice, "root": root},
        batch_size=4,
        **options,
    )


LOCATED = (
    "node `root`: field `x` of record 9 in epoch 1 is -inf; all that the node makes it of is "
    "finite in that record."
)


@pytest.mark.parametrize(
    "call",
    [
        lambda p: [p.step() for _ in range(3)],
        lambda p: list(p),
        lambda p: p.scan(total),
        lambda p: list(p.blocks(total, every=2)),
    ],
    ids=["step", "for", "scan", "blocks"],
)
def test_a_nan_is_located_within_the_block_and_a_missing_value_is_nobodys_fault(
    call: Callable[[Pipeline], Any],
) -> None:
    pipeline = rooted()
    pipeline.seek(epoch=1)
    with pipeline.checked() as checked, pytest.raises(ValueError) as told:
        call(pipeline)
    assert str(told.value) == LOCATED
    pipeline.seek(epoch=1)
    with pytest.raises(ValueError) as told:
        call(checked)  # as before: it is checked for itself
    assert str(told.value) == LOCATED
    pipeline.seek(epoch=1)
    call(pipeline)


def test_a_nan_in_a_batch_of_ones_own_and_in_rows_that_are_no_records() -> None:
    def inverse(x: jax.Array) -> jax.Array:
        return 1 / x[::2].sum()[None]

    graph: dp.Pipeline = dp.Pipeline.linear([inverse])
    loud = checkify.checkify(lambda x: dp.apply(graph, x))
    with ops.checking():
        assert loud(jnp.ones(4))[0].get() is None
        said = loud(jnp.zeros(4))[0].get()
        nothing = loud(jnp.full(4, jnp.nan))[0].get()
    assert str(said).startswith(
        "node `inverse`: the output is inf; all that the node makes it of is finite."
    )
    assert nothing is None


def text_of(pipeline: Pipeline) -> str:
    """The program of a step, as it is lowered."""
    ready = planned(pipeline, Kept.beside(pipeline))
    assert ready is not None
    program = ready[0].program(_traced.read, 4)
    compiled: Any = program._compiled
    return str(compiled.lower(program._handle, ready[2], ()).as_text())


def test_off_the_program_is_as_it_was() -> None:
    pipeline = rooted()
    before = text_of(pipeline)
    with pipeline.checked():
        within = text_of(pipeline)
    assert text_of(pipeline) == before
    assert ("is_finite" in before, "is_finite" in within) == (False, True)


def test_blocks_may_be_nested_and_close_nothing() -> None:
    pipeline = rooted()
    with pipeline.checked() as one, one.checked(), pipeline.checked():
        assert pipeline._is_checked
    assert not pipeline._is_checked
    assert one._is_checked
    pipeline.step()
    with pipeline:
        pass
    with pytest.raises(RuntimeError, match="was closed"):
        pipeline.step()


def test_a_source_that_is_read_on_the_host_is_read_on_behind_the_block(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(12.0, dtype=np.float32) - 1)
    source: HostSource = HostSource(source=host.DiskSource({"x": tmp_path / "x.npy"}))
    pipeline = Pipeline(source=source, stages={"root": root}, batch_size=4)
    with pipeline.checked() as checked:
        for each in (pipeline, checked):
            with pytest.raises(ValueError, match="field `x` of record 0 in epoch 0 is nan"):
                each.step()
    assert bool(jnp.isnan(pipeline.step()["x"][0]))
    assert checked.cursor == (0, 4)
    pipeline.close()


IN_A_TRACE = (
    "The pipeline is checked, but is called in a trace of your own, such as that of jit, where "
    "nothing would be looked at; call it outside, or trace by "
    "jax.experimental.checkify.checkify, within dagrax.pure.ops.checking()."
)


@pytest.mark.parametrize(
    "run",
    [
        lambda p: nnx.jit(lambda p: p.step())(p),
        lambda p: nnx.jit(lambda p: p.outputs())(p),
        lambda p: nnx.jit(lambda p: p.scan(lambda batch: batch, length=1))(p),
        lambda p: nnx.jit(lambda p, batch: p(batch))(p, {"x": jnp.ones(2)}),
    ],
    ids=["step", "outputs", "scan", "call"],
)
def test_what_is_checked_is_refused_in_a_trace_that_looks_at_nothing(run: Any) -> None:
    pipeline = Pipeline[Any, Any].from_arrays({"x": np.ones(4, np.float32)}, batch_size=2)
    with pipeline.checked(), pytest.raises(ValueError) as error:
        run(pipeline)
    assert str(error.value) == IN_A_TRACE
    run(pipeline)


def test_rows_that_were_filled_in_are_no_records(tmp_path: Path) -> None:
    def divided(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {**batch, "x": batch["x"] / batch["valid"].astype(jnp.float32)}

    np.save(tmp_path / "x.npy", np.zeros(3, np.float32))
    read: HostSource = HostSource(source=host.DiskSource({"x": tmp_path / "x.npy"}))
    held: MemorySource = MemorySource(data={"x": np.zeros(3, np.float32)})
    for source in (held, read):
        with (
            Pipeline(source=source, stages=[divided], batch_size=2, remainder="pad") as pipeline,
            pipeline.checked(),
        ):
            assert bool(jnp.isnan([pipeline.step() for _ in range(2)][1]["x"][1]))
            assert len(list(pipeline)) == 2
            assert pipeline.scan(lambda batch: batch["valid"].sum()).tolist() == [2, 1]
            assert len(list(pipeline.blocks(total, every=2, length=2))) == 1
            pipeline.seek(epoch=0, offset=2)
            report = pipeline.debug()
            assert (report.records, report.first) == ((2,), None)


def test_a_twin_of_a_closed_pipeline_is_closed() -> None:
    pipeline = rooted()
    twin = pipeline.checked()
    pipeline.close()
    for each in (twin, pipeline.checked()):
        with pytest.raises(RuntimeError, match=r"^The pipeline was closed, by close\(\)"):
            each.step()


def test_an_image_in_0_to_255_is_told_by_the_operators_that_clip() -> None:
    source = MemorySource(data={"image": np.full((4, 3, 3, 3), 255, np.float32)})
    for stage, node, function in (
        (op.ColorJitter(0.1), "color_jitter", "color_jitter"),
        (op.RandomBrightness(0.1), "random_brightness", "adjust_brightness"),
        (op.RandomContrast(0.1), "random_contrast", "adjust_contrast"),
    ):
        pipeline = Pipeline(source=source, stages=[stage], batch_size=2, rngs=nnx.Rngs(0))
        assert (pipeline.step()["image"] == 1).all()
        with pytest.raises(ValueError) as error:
            pipeline.checked().step()
        assert str(error.value).startswith(
            f"node `{node}`: {function} takes an image in [0, 1], but was given values from 255.0 "
            "to 255.0; divide it before: image / 255, or pass clip=False."
        )
