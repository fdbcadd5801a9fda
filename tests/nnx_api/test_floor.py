"""What the compiled programs contain: no copy of the data, no way back to the host, and little more
than what a JAX user would write by hand. Counted in the programs, so the same on every machine."""

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, NoiseOperator, Pipeline
from tests.counting import counted, programs
from tests.nnx_zoo import Scale, data_of
from tests.platforms import on_a_cpu
from tests.zoo import Batch

OPTIMIZED = True

RECORDS, FEATURES, BATCH = 6400, 50, 256
DATA_BYTES = 4 * RECORDS * FEATURES
SIZES = itertools.count(RECORDS, BATCH)  # no two pipelines alike, so that each has its program


def make_data(records: int | None = None) -> Batch:
    return {"x": np.ones((records or next(SIZES), FEATURES), np.float32)}


def make_pipeline(
    *stages: Callable[..., Any], shuffle: bool = True, records: int | None = None, **options: Any
) -> Pipeline:
    data = make_data(records)
    source = MemorySource(MemorySourceConfig(shuffle=shuffle), data=data, rngs=nnx.Rngs(0))
    stages = stages or (Scale(),)
    return Pipeline(source=source, stages=stages, batch_size=BATCH, rngs=nnx.Rngs(0), **{**options})


def total(batch: Batch) -> Any:
    return batch["x"].sum()


def by_step(pipeline: Pipeline) -> Any:
    return pipeline.step()


def by_scan(pipeline: Pipeline) -> Any:
    return pipeline.scan(total, length=100)


def by_outputs(pipeline: Pipeline) -> Any:
    return pipeline.outputs()


WAYS = [by_step, by_scan, by_outputs]  # a `for` runs the program of a step


def program_of(pipeline: Pipeline, way: Callable[..., Any]) -> Any:
    """The one program over the data of a pipeline that was not run before."""
    shape = data_of(pipeline).shape
    with programs() as new:
        way(pipeline)
    (program,) = (x for x in new if f"f32[{shape[0]},{shape[1]}]" in text_of(x))
    return program


def text_of(program: Any) -> str:
    return "\n".join(module.to_string() for module in program.hlo_modules())


def instructions(text: str) -> int:
    """The number of instructions outside of fusions: about what is launched one after another."""
    fused = re.compile(r"^%fused_computation.*?^}", re.MULTILINE | re.DOTALL)
    launched = r" = \S+ (?!parameter|constant|get-tuple-element|bitcast|tuple)[a-z]"
    return len(re.findall(launched, fused.sub("", text)))


# The data


@pytest.mark.parametrize(
    ("shuffle", "remainder"),
    [(True, "partial"), (True, "carry"), (False, "pad")],
)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_program_holds_a_copy_of_the_data(
    way: Callable[..., Any], shuffle: bool, remainder: Any
) -> None:
    pipeline = make_pipeline(shuffle=shuffle, remainder=remainder)
    memory = program_of(pipeline, way).get_compiled_memory_stats()
    assert memory.argument_size_in_bytes > DATA_BYTES
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < 0.2 * DATA_BYTES


def test_a_copy_of_the_data_would_be_seen() -> None:
    class Copying(MemorySource):
        def pure(self) -> tuple[dp.AbstractSource[Any], dp.AbstractOrder]:
            source, order = super().pure()
            mean = self.data["x"].get_value().mean()
            return jax.tree.map(lambda x: jnp.sort(x, 0) - mean, source), order

    pipeline = Pipeline(
        source=Copying(data=make_data()), stages=[Scale()], batch_size=BATCH, rngs=nnx.Rngs(0)
    )
    memory = program_of(pipeline, by_step).get_compiled_memory_stats()
    assert memory.temp_size_in_bytes > DATA_BYTES / 2


# The host


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("remainder", ["pad"])
def test_no_program_calls_back_to_the_host(way: Callable[..., Any], remainder: Any) -> None:
    pipeline = make_pipeline(Scale(), NoiseOperator(0.1, field="x"), remainder=remainder)
    text = text_of(program_of(pipeline, way))
    assert not re.findall(r"callback|infeed|outfeed|\bsend\b|\brecv\b", text)


def test_a_callback_would_be_seen() -> None:
    def shout(batch: Batch) -> Batch:
        jax.debug.callback(lambda: None)
        return batch

    assert "callback" in text_of(program_of(make_pipeline(shout), by_step))


@contextmanager
def copies_to_the_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The arrays of JAX whose values Python asks for meanwhile."""
    seen: list[Any] = []
    array = type(jnp.zeros(1))
    value, of_numpy = vars(array)["_value"], np.asarray

    def read(self: Any) -> Any:
        seen.append(self)
        return value.fget(self)

    def as_numpy(x: Any, *args: Any, **options: Any) -> Any:
        if isinstance(x, jax.Array):
            seen.append(x)
        return of_numpy(x, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(array, "_value", property(read))
        patch.setattr(np, "asarray", as_numpy)
        yield seen


@pytest.mark.parametrize(
    "read",
    [int, bool, lambda x: np.asarray(x), jax.device_get],
    ids=["int", "bool", "NumPy", "jax"],
)
def test_a_copy_to_the_host_would_be_seen(
    read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with copies_to_the_host(monkeypatch) as seen:
        read(jnp.ones(()))
    assert seen


@pytest.mark.parametrize("remainder", ["partial", "carry"])
def test_no_loop_waits_for_a_value_from_the_device(
    remainder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make_pipeline(
        Scale(), NoiseOperator(0.1, field="x"), records=5 * BATCH, remainder=remainder
    )
    pipeline.scan(total, length=3)
    list(pipeline)
    with copies_to_the_host(monkeypatch) as seen:
        for _ in range(2):
            list(pipeline)
        for _ in range(5):
            pipeline.step()
        pipeline.seek(epoch=3)
        pipeline.scan(total, length=5)
        iterator = iter(pipeline)
        next(iterator)
    assert seen == []


# Compilations


def test_a_compilation_would_be_seen() -> None:
    with counted() as seen:
        jax.jit(lambda x: x + 1)(jnp.ones(3)).block_until_ready()
    assert seen.compiled


@pytest.mark.parametrize(
    ("shuffle", "remainder"),
    [(True, "partial"), (True, "drop"), (True, "pad"), (True, "carry"), (False, "partial")],
)
def test_after_the_first_epoch_nothing_is_compiled(shuffle: bool, remainder: Any) -> None:
    pipeline = make_pipeline(
        Scale(),
        NoiseOperator(0.1, field="x"),
        shuffle=shuffle,
        records=5 * BATCH,
        remainder=remainder,
    )
    list(pipeline)
    pipeline.scan(total, length=7)
    with counted() as seen:
        pipeline.scan(total, length=7)
        list(pipeline)
        pipeline.step()
        pipeline.seek(epoch=100, offset=BATCH)
        pipeline.step()
        list(pipeline)
    assert seen.compiled == []


# The size of the program


@jax.jit
def by_hand(data: Batch, order: jax.Array, step: jax.Array, scale: jax.Array) -> Batch:
    ids = jax.lax.dynamic_slice(order, (step * BATCH,), (BATCH,))
    return {"x": data["x"].at[ids].get(mode="promise_in_bounds") * scale}


def hand_program(pipeline: Pipeline) -> Any:
    """One step by hand, over the data of the pipeline."""
    data = data_of(pipeline)
    order = jnp.arange(len(data), dtype=jnp.uint32)
    return by_hand.lower({"x": data}, order, jnp.int32(0), jnp.float32(1)).compile()


@on_a_cpu
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
def test_a_step_launches_few_more_instructions_than_by_hand(shuffle: bool) -> None:
    pipeline = make_pipeline(shuffle=shuffle)
    ours, hand = text_of(program_of(pipeline, by_step)), hand_program(pipeline).as_text()
    assert instructions(ours) <= instructions(hand) + 17


@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
def test_a_record_is_read_once_however_many_stages_use_it(shuffle: bool) -> None:
    def mix(*batches: Batch) -> Batch:
        return {"x": jnp.tanh(batches[0]["x"]) + batches[-1]["x"]}

    edges = {"0": [], "1": ["0"], **{str(n): [str(n - 1), str(n - 2)] for n in range(2, 12)}}
    pipeline = Pipeline.from_dag(
        source=MemorySource(
            MemorySourceConfig(shuffle=shuffle), data=make_data(), rngs=nnx.Rngs(0)
        ),
        nodes={name: mix for name in edges},
        edges=edges,
        sink="11",
        batch_size=BATCH,
        rngs=nnx.Rngs(0),
    )
    text = text_of(program_of(pipeline, by_step))
    assert len(re.findall(r" (?:gather|dynamic-slice)\(", text)) == 1


@pytest.mark.parametrize("way", [by_step, by_outputs], ids=lambda way: way.__name__)
def test_a_step_moves_as_many_bytes_as_by_hand(way: Callable[..., Any]) -> None:
    pipeline = make_pipeline()
    ours = program_of(pipeline, way).cost_analysis()
    hand = hand_program(pipeline).cost_analysis()
    assert ours["bytes accessed"] < 1.5 * hand["bytes accessed"]


def test_the_order_is_evaluated_once_a_record_and_not_once_a_number() -> None:
    program = program_of(make_pipeline(), by_step)
    numbers = program.cost_analysis()["flops"] / (BATCH * FEATURES)
    assert numbers < 20  # the order takes hundreds of operations
