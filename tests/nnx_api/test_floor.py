"""What the compiled programs contain: no copy of the data, no way back to the host, and little more
than what a JAX user would write by hand. Counted in the programs, so the same on every machine."""

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
from dagrax.nnx_api._compiled import Bound
from tests.nnx_zoo import Scale
from tests.zoo import Batch

RECORDS, FEATURES, BATCH = 6400, 50, 256
DATA_BYTES = 4 * RECORDS * FEATURES


def make_pipeline(
    *stages: Callable[..., Any], shuffle: bool = True, records: int = RECORDS, **options: Any
) -> Pipeline:
    data = {"x": np.ones((records, FEATURES), np.float32)}
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


@contextmanager
def programs_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The compiled programs that run meanwhile, each for every time it runs."""
    seen: list[Any] = []
    found = Bound._program

    def spy(self: Bound, *args: Any) -> Any:
        program = found(self, *args)

        def run(*args: Any) -> Any:
            seen.append(program.lower(*args).compile())
            return program(*args)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(Bound, "_program", spy)
        yield seen


def program_of(pipeline: Pipeline, way: Callable[..., Any], patch: pytest.MonkeyPatch) -> Any:
    with programs_run(patch) as seen:
        way(pipeline)
    (program,) = seen
    return program


def instructions(program: Any) -> int:
    """The number of instructions outside of fusions: about what is launched one after another."""
    fused = re.compile(r"^%fused_computation.*?^}", re.MULTILINE | re.DOTALL)
    text = fused.sub("", program.as_text())
    launched = r" = \S+ (?!parameter|constant|get-tuple-element|bitcast|tuple)[a-z]"
    return len(re.findall(launched, text))


# The data


@pytest.mark.parametrize(
    ("shuffle", "remainder"),
    [(True, "partial"), (True, "carry"), (False, "partial"), (False, "pad")],
)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_program_holds_a_copy_of_the_data(
    way: Callable[..., Any], shuffle: bool, remainder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make_pipeline(shuffle=shuffle, remainder=remainder)
    memory = program_of(pipeline, way, monkeypatch).memory_analysis()
    assert memory.argument_size_in_bytes > DATA_BYTES
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < 0.2 * DATA_BYTES


def test_a_copy_of_the_data_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Copying(MemorySource):
        def pure(self) -> tuple[dp.AbstractSource[Any], dp.AbstractOrder]:
            source, order = super().pure()
            mean = self.data.get_value()["x"].mean()
            return jax.tree.map(lambda x: jnp.sort(x, 0) - mean, source), order

    data = {"x": np.ones((RECORDS, FEATURES), np.float32)}
    pipeline = Pipeline(
        source=Copying(data=data), stages=[Scale()], batch_size=BATCH, rngs=nnx.Rngs(0)
    )
    memory = program_of(pipeline, by_step, monkeypatch).memory_analysis()
    assert memory.temp_size_in_bytes > DATA_BYTES / 2


# The host


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("remainder", ["drop", "pad"])
def test_no_program_calls_back_to_the_host(
    way: Callable[..., Any], remainder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make_pipeline(Scale(), NoiseOperator(0.1, field="x"), remainder=remainder)
    text = program_of(pipeline, way, monkeypatch).as_text()
    assert not re.findall(r"callback|infeed|outfeed|\bsend\b|\brecv\b", text)


def test_a_callback_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def shout(batch: Batch) -> Batch:
        jax.debug.callback(lambda: None)
        return batch

    assert "callback" in program_of(make_pipeline(shout), by_step, monkeypatch).as_text()


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


@pytest.mark.parametrize("remainder", ["partial", "drop", "pad", "carry"])
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


@contextmanager
def compilations() -> Iterator[list[str]]:
    """Whatever JAX compiles meanwhile, the smallest helper included."""
    seen: list[str] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_compilation_would_be_seen() -> None:
    with compilations() as seen:
        jax.jit(lambda x: x + 1)(jnp.ones(3)).block_until_ready()
    assert seen


@pytest.mark.parametrize("remainder", ["partial", "drop", "pad", "carry"])
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
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
    with compilations() as seen:
        pipeline.scan(total, length=7)
        list(pipeline)
        pipeline.step()
        pipeline.seek(epoch=100, offset=BATCH)
        pipeline.step()
        list(pipeline)
    assert seen == []


# The size of the program


@jax.jit
def by_hand(data: Batch, order: jax.Array, step: jax.Array, scale: jax.Array) -> Batch:
    ids = jax.lax.dynamic_slice(order, (step * BATCH,), (BATCH,))
    return {"x": data["x"].at[ids].get(mode="promise_in_bounds") * scale}


def hand_program() -> Any:
    data = {"x": jnp.ones((RECORDS, FEATURES))}
    order = jnp.arange(RECORDS, dtype=jnp.uint32)
    return by_hand.lower(data, order, jnp.int32(0), jnp.float32(1)).compile()


@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
def test_a_step_launches_few_more_instructions_than_by_hand(
    shuffle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = program_of(make_pipeline(shuffle=shuffle), by_step, monkeypatch)
    assert instructions(program) <= instructions(hand_program()) + 10


@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
def test_a_record_is_read_once_however_many_stages_use_it(
    shuffle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mix(*batches: Batch) -> Batch:
        return {"x": jnp.tanh(batches[0]["x"]) + batches[-1]["x"]}

    data = {"x": np.ones((RECORDS, FEATURES), np.float32)}
    edges = {"0": [], "1": ["0"], **{str(n): [str(n - 1), str(n - 2)] for n in range(2, 12)}}
    pipeline = Pipeline.from_dag(
        source=MemorySource(MemorySourceConfig(shuffle=shuffle), data=data, rngs=nnx.Rngs(0)),
        nodes={name: mix for name in edges},
        edges=edges,
        sink="11",
        batch_size=BATCH,
        rngs=nnx.Rngs(0),
    )
    text = program_of(pipeline, by_step, monkeypatch).as_text()
    assert len(re.findall(r" (?:gather|dynamic-slice)\(", text)) == 1


@pytest.mark.parametrize("way", [by_step, by_outputs], ids=lambda way: way.__name__)
def test_a_step_moves_as_many_bytes_as_by_hand(
    way: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = program_of(make_pipeline(), way, monkeypatch).cost_analysis()
    hand = hand_program().cost_analysis()
    assert ours["bytes accessed"] < 1.5 * hand["bytes accessed"]


def test_the_order_is_evaluated_once_a_record_and_not_once_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = program_of(make_pipeline(), by_step, monkeypatch)
    numbers = program.cost_analysis()["flops"] / (BATCH * FEATURES)
    assert numbers < 20  # the order takes hundreds of operations
