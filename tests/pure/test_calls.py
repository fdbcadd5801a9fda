"""Calls of the core outside a trace are compiled calls: once for what is made from the same."""

import copy
import gc
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from tests.counting import counted, unlike_any
from tests.plainly import told

me: Any = sys.modules[__name__]
FACTOR = 2.0


class Scale(eqx.Module):
    factor: Any = eqx.field(static=True)

    def __call__(self, batch: Any) -> Any:
        factor = jnp.asarray(self.factor)
        return {"x": batch["x"].astype(factor.dtype) * factor}


class Gain(eqx.Module):
    gain: jax.Array

    def __call__(self, batch: Any) -> Any:
        return {"x": batch["x"] * self.gain}


class Plain:
    def __init__(self, value: Any):
        self.value = value

    def __call__(self, batch: Any) -> Any:
        return {"x": batch["x"] * self.value}


def ones(size: int = 8) -> dp.Stream:
    return dp.Stream(dp.ArraySource({"x": np.ones((size, 2), np.float32)}), batch_size=4)


def pipe(*stages: Any) -> dp.Pipeline:
    return dp.Pipeline.linear(list(stages))


def total(carry: Any, batch: Any) -> Any:
    return carry + batch["x"].sum(), None


Call = Callable[[dp.Pipeline, dp.Stream], Any]


def stepped(pipeline: dp.Pipeline, stream: dp.Stream) -> Any:
    return dp.step(pipeline, stream, stream.start())[1]["x"]


def looped(pipeline: dp.Pipeline, stream: dp.Stream) -> Any:
    return next(iter(dp.epoch(pipeline, stream, stream.start())))[1]["x"]


def scanned(pipeline: dp.Pipeline, stream: dp.Stream) -> Any:
    def body(carry: Any, batch: Any) -> Any:
        return carry, batch["x"]

    return dp.scan(body, None, pipeline, stream, stream.start(), length=2)[2][0]


def applied(pipeline: dp.Pipeline, stream: dp.Stream) -> Any:
    rows = {"x": jnp.ones((4, 2))}
    return dp.apply(pipeline, rows)["x"]


def put_out(pipeline: dp.Pipeline, stream: dp.Stream) -> Any:
    rows = {"x": jnp.ones((4, 2))}
    sink = pipeline.schedule.sink
    return dp.outputs(pipeline, rows, (sink,))[sink]["x"]


CALLS: list[Call] = [stepped, looped, scanned, applied, put_out]
every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)


# One program


@every_call
def test_items_22_and_48_what_is_made_anew_compiles_nothing(call: Call) -> None:
    mark = unlike_any()
    for turn in range(3):
        with counted() as seen:
            call(pipe(Scale(3.0), mark, lambda batch: {"x": batch["x"] + 1}), ones())
        assert bool(seen.compiled) == (turn == 0)


def test_item_22_a_body_made_anew_compiles_nothing() -> None:
    pipeline, stream, step = pipe(unlike_any()), ones(), 2
    for turn in range(3):
        with counted() as seen:
            _, carry, _ = dp.scan(
                lambda carry, batch: (carry + step * batch["x"].sum(), None),
                0.0,
                pipeline,
                stream,
                stream.start(),
                length=2,
            )
        assert carry == 32
        assert bool(seen.compiled) == (turn == 0)


@every_call
def test_item_50_values_that_compare_equal_share_no_program(call: Call) -> None:
    stream = ones()
    assert call(pipe(Scale(2)), stream).dtype == jnp.int32
    assert call(pipe(Scale(2.0)), stream).dtype == jnp.float32
    assert call(pipe(Scale(2)), stream).dtype == jnp.int32


def test_pipelines_in_turn_do_not_drive_each_other_out() -> None:
    mark, stream = unlike_any(), ones()
    for turn in range(2):
        with counted() as seen:
            for number in range(20):
                assert stepped(pipe(mark, Scale(float(number))), stream)[0, 0] == number
        assert bool(seen.compiled) == (turn == 0)


@every_call
def test_other_parameters_and_other_data_compile_nothing(call: Call) -> None:
    mark = unlike_any()
    call(pipe(mark, Gain(jnp.float32(1))), ones())
    with counted() as seen:
        for gain in (2.0, 3.0):
            pipeline = pipe(mark, Gain(jax.device_put(np.float32(gain))))
            assert call(pipeline, ones())[0, 0] == gain
            doubled = jax.tree.map(lambda x: x + x, pipeline)
            assert call(doubled, ones())[0, 0] == 2 * gain
    assert not any("run" in name for name in seen.compiled)


# What a user changes is heeded


@every_call
def test_a_changed_global_is_heeded(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, stream = pipe(lambda batch: {"x": batch["x"] * FACTOR}), ones()
    for factor in (2.0, 7.0, 2.0):
        monkeypatch.setattr(me, "FACTOR", factor)
        assert call(pipeline, stream)[0, 0] == factor


@every_call
def test_item_1_what_a_plain_object_holds_is_heeded(call: Call) -> None:
    stage, stream = Plain(2.0), ones()
    pipeline = pipe(stage)
    for value in (2.0, 7.0, np.full((4, 2), 5, np.float32), 2.0):
        stage.value = value
        assert call(pipeline, stream)[0, 0] == np.ravel(value)[0]


@every_call
def test_item_7_what_is_changed_in_place_is_heeded(call: Call) -> None:
    held, stream = [2.0], ones()
    pipeline = pipe(lambda batch: {"x": batch["x"] * held[0]})
    for value in (2.0, 7.0):
        held[0] = value
        assert call(pipeline, stream)[0, 0] == value


@every_call
def test_a_stage_put_in_the_place_of_another_is_heeded(call: Call) -> None:
    pipeline, stream = pipe(Scale(2)), ones()
    assert call(pipeline, stream).dtype == jnp.int32
    pipeline.stages["scale"] = Scale(2.0)
    assert call(pipeline, stream).dtype == jnp.float32


def test_what_a_trace_itself_changes_makes_no_new_program() -> None:
    traces: list[None] = []

    def stage(batch: Any) -> Any:
        traces.append(None)
        return batch

    pipeline, stream = pipe(stage), ones()
    for _ in range(3):
        stepped(pipeline, stream)
    assert len(traces) == 1


def test_a_body_that_counts_its_traces_is_traced_once() -> None:
    traces: list[None] = []

    def body(carry: Any, batch: Any) -> Any:
        traces.append(None)
        return carry, None

    pipeline, stream = pipe(lambda batch: batch), ones()
    for _ in range(3):
        dp.scan(body, jnp.zeros(()), pipeline, stream, stream.start(), length=2)
    assert len(traces) == 1


# Nothing is kept alive


def gone(reference: "weakref.ref[Any]") -> bool:
    gc.collect()
    return reference() is None


@every_call
def test_a_stage_is_not_kept_alive(call: Call) -> None:
    stage = Plain(3.0)
    reference = weakref.ref(stage)
    call(pipe(stage), ones())
    del stage
    assert gone(reference)


@every_call
@pytest.mark.parametrize("to_array", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_an_array_that_a_stage_closes_over_dies_with_it(call: Call, to_array: Any) -> None:
    array = to_array(np.full((4, 2), 3, np.float32))
    reference = weakref.ref(array)
    pipeline, stream = pipe(lambda batch, array=array: {"x": batch["x"] * array}), ones()
    for turn in range(3):
        with counted() as seen:
            assert call(pipeline, stream)[0, 0] == 3
        assert bool(seen.compiled) == (turn == 0)
    del array, pipeline
    assert gone(reference)


@every_call
def test_data_and_parameters_are_not_kept_alive(call: Call) -> None:
    stream, gain = ones(size=12), jnp.float32(3)
    references = [weakref.ref(jax.tree.leaves(stream)[0]), weakref.ref(gain)]
    call(pipe(Gain(gain)), stream)
    del stream, gain
    assert all(map(gone, references))


def test_what_a_body_closes_over_is_not_kept_alive() -> None:
    pipeline, stream = pipe(Scale(1.0)), ones()

    def reference() -> "weakref.ref[Any]":
        held = Plain(2.0)

        def body(carry: Any, batch: Any) -> Any:
            return carry + held(batch)["x"].sum(), None

        dp.scan(body, 0.0, pipeline, stream, stream.start(), length=2)
        return weakref.ref(held)

    assert gone(reference())


# Traced callers


def weighted(weight: Any, call: Call) -> Any:
    return call(pipe(lambda batch: {"x": batch["x"] * weight}), ones()).sum()


@every_call
@pytest.mark.parametrize(
    "transform",
    [
        lambda fn: fn,
        jax.jit,
        lambda fn: lambda w: jax.grad(fn)(w) * w,
        lambda fn: lambda w: jax.vmap(fn)(w[None])[0],
        lambda fn: lambda w: jax.jit(jax.vmap(jax.grad(fn)))(w[None])[0] * w,
    ],
    ids=["bare", "jit", "grad", "vmap", "jit of vmap of grad"],
)
def test_a_tracer_that_a_stage_closes_over_is_used(call: Call, transform: Any) -> None:
    fn = transform(lambda weight: weighted(weight, call))
    for weight in (2.0, 3.0):
        assert fn(jnp.float32(weight)) == 8 * weight


@pytest.mark.parametrize("transform", [jax.jit, jax.grad])
def test_a_tracer_that_a_body_closes_over_is_used(transform: Any) -> None:
    pipeline, stream = pipe(Scale(1.0)), ones()

    def loss(weight: Any) -> Any:
        def body(carry: Any, batch: Any) -> Any:
            return carry + weight * batch["x"].sum(), None

        return dp.scan(body, jnp.float32(0), pipeline, stream, stream.start(), length=2)[1]

    for weight in (2.0, 3.0):
        expected = 16 * weight if transform is jax.jit else 16
        assert transform(loss)(jnp.float32(weight)) == expected


class Counter:
    def __init__(self) -> None:
        self.seen = jnp.zeros(())

    def __call__(self, batch: Any) -> Any:
        self.seen = self.seen + batch["x"].sum()
        return batch


def test_inside_a_trace_the_very_stage_is_called() -> None:
    @jax.jit
    def counted(rows: Any) -> Any:
        counter = Counter()
        dp.apply(pipe(counter), {"x": rows})
        return counter.seen

    assert counted(jnp.ones((4, 2))) == 8


# No transfer that nobody asked for


def test_item_10_no_call_makes_a_transfer_of_its_own() -> None:
    stream = dp.Stream(
        dp.ArraySource({"x": np.ones((10, 2), np.float32)}),
        dp.Shuffled(jax.random.key(0)),
        batch_size=4,
    )
    even = dp.Stream(stream.source, stream.order, batch_size=4, remainder="carry")
    pipeline, key, rows = pipe(Gain(jnp.float32(2)), noisy), jax.random.key(1), jnp.ones((4, 2))

    def run() -> None:
        cursor = stream.start()
        for _ in range(4):
            cursor, _ = dp.step(pipeline, stream, cursor, key=key)
        for _ in dp.epoch(pipeline, stream, stream.start(), key=key):
            pass
        dp.scan(total, 0.0, pipeline, even, even.start(), key=key, length=3)
        dp.apply(pipeline, {"x": rows}, key=key)
        dp.outputs(pipeline, {"x": rows}, ("gain",))

    with jax.transfer_guard("disallow"):
        run()
        run()


def noisy(batch: Any, *, record_keys: Any) -> Any:
    return {"x": batch["x"] + jax.vmap(lambda key: jax.random.normal(key, (2,)))(record_keys)}


# A pipeline stays a value


def test_a_pipeline_that_was_called_is_copied_and_saved_like_any_other() -> None:
    pipeline, stream = pipe(Gain(jnp.float32(2)), Scale(3.0)), ones()
    before = stepped(pipeline, stream)
    for other in (
        copy.copy(pipeline),
        copy.deepcopy(pipeline),
        pickle.loads(pickle.dumps(pipeline)),
    ):
        assert str(jax.tree.structure(other)) == str(jax.tree.structure(pipeline))
        assert (stepped(other, stream) == before).all()
    assert "memo" not in repr(pipeline)
    assert eqx.tree_equal(pipeline, pipe(Gain(jnp.float32(2)), Scale(3.0)))


# What a scan carries


def test_item_24_a_python_number_in_the_carry_becomes_an_array() -> None:
    stream = ones()
    for start in (0.0, 3, True, 1j, np.float32(2)):
        _, carry, _ = dp.scan(
            lambda carry, batch: (carry, None),
            start,
            pipe(Scale(1)),
            stream,
            stream.start(),
            length=2,
        )
        assert isinstance(carry, jax.Array)
        assert carry == start


def test_item_33_an_equinox_model_is_a_carry_with_all_that_it_holds() -> None:
    model, stream = eqx.nn.MLP(2, 2, 3, 1, activation=jnp.tanh, key=jax.random.key(0)), ones()

    def body(model: Any, batch: Any) -> Any:
        loss, grads = eqx.filter_value_and_grad(mean)(model, batch)  # type: ignore[no-untyped-call]
        return eqx.apply_updates(model, jax.tree.map(lambda g: -0.1 * g, grads)), loss

    _, trained, losses = dp.scan(body, model, pipe(Scale(1.0)), stream, stream.start(), length=2)
    assert trained.activation is model.activation
    assert str(jax.tree.structure(trained)) == str(jax.tree.structure(model))
    assert losses[1] != losses[0]
    by_hand = body(body(model, {"x": jnp.ones((4, 2))})[0], {"x": jnp.ones((4, 2))})[0]
    np.testing.assert_allclose(trained.layers[0].weight, by_hand.layers[0].weight, rtol=1e-5)


def mean(model: Any, batch: Any) -> Any:
    return (jax.vmap(model)(batch["x"]) ** 2).mean()


class Body(eqx.Module):
    weight: jax.Array

    def __call__(self, carry: Any, batch: Any) -> Any:
        return carry + self.weight * batch["x"].sum(), None


def test_item_33_an_equinox_module_is_a_body_whose_arrays_are_arguments() -> None:
    pipeline, stream = pipe(unlike_any()), ones()
    for turn, weight in enumerate((2.0, 3.0)):
        body = Body(jax.device_put(np.float32(weight)))
        with counted() as seen:
            _, carry, _ = dp.scan(body, 0.0, pipeline, stream, stream.start(), length=2)
        assert carry == 16 * weight
        assert bool(seen.compiled) == (turn == 0)


def test_item_33_a_gradient_of_equinox_is_a_body() -> None:
    stream = ones()
    body = eqx.filter_value_and_grad(lambda weight, batch: (weight * batch["x"]).sum())
    start, pipeline = jnp.float32(2), pipe(Scale(1.0))
    _, carry, ys = dp.scan(body, start, pipeline, stream, stream.start(), length=2)
    assert carry == 2 * 8 * 8
    assert ys.tolist() == [8.0, 8.0]


def test_what_a_carry_holds_beside_arrays_must_stay() -> None:
    stream = ones()
    with pytest.raises(TypeError) as error:
        dp.scan(
            lambda carry, batch: ({**carry, "name": "b"}, None),
            {"name": "a", "n": 0},
            pipe(Scale(1.0)),
            stream,
            stream.start(),
            length=2,
        )
    assert "`carry['name']` came in as 'a' and went out as 'b'." in str(error.value)


# Places


@pytest.mark.parametrize(
    ("cursor", "kind", "text"),
    [
        (
            dp.Cursor(0, 2.5),  # type: ignore[arg-type]
            TypeError,
            "The offset of the cursor is 2.5 of type float; expected an int.",
        ),
        (
            dp.Cursor("0", 0),  # type: ignore[arg-type]
            TypeError,
            "The epoch of the cursor is '0' of type str; expected an int.",
        ),
        (
            dp.Cursor(True, 0),
            TypeError,
            "The epoch of the cursor is True of type bool; expected an int.",
        ),
        (
            dp.Cursor(-1, 0),
            ValueError,
            "The epoch of the cursor is -1; expected an int from 0 to 4294967295.",
        ),
        (
            dp.Cursor(0, 2**32),
            ValueError,
            "The offset of the cursor is 4294967296; expected an int from 0 to 4294967295.",
        ),
        (
            dp.Cursor(2**32 - 1, 4),
            ValueError,
            "1 batch from epoch 4294967295, offset 4 on would end behind epoch 4294967295, the "
            "last that is counted; start at an earlier epoch, such as stream.start(0).",
        ),
    ],
)
def test_item_11_what_is_no_place_is_refused_alike(cursor: Any, kind: Any, text: str) -> None:
    pipeline, stream = pipe(Scale(1.0)), ones()
    runs: list[Callable[[], Any]] = [
        lambda: dp.step(pipeline, stream, cursor),
        lambda: next(dp.epoch(pipeline, stream, cursor)),
        lambda: dp.scan(total, 0.0, pipeline, stream, cursor, length=1),
    ]
    for run in runs:
        with pytest.raises(kind) as error:
            run()
        assert str(error.value) == text


def test_item_11_a_plain_pair_is_no_place() -> None:
    setup = (
        "import jax.numpy as jnp, dagrax.pure as dp; p = dp.Pipeline.linear([lambda b: b]); "
        "s = dp.Stream(dp.ArraySource({'x': jnp.ones(8)}), batch_size=4)"
    )
    calls = [
        "dp.step(p, s, (0, 0))",
        "next(dp.epoch(p, s, (0, 0)))",
        "dp.scan(lambda c, b: (c, None), 0, p, s, (0, 0), length=1)",
    ]
    for kind, text in told(setup, calls).values():
        assert (kind, text) == (
            "TypeError",
            "cursor is of type tuple; expected a Cursor: write stream.start(), or Cursor(epoch, "
            "offset).",
        )


def test_item_11_a_scan_that_would_outrun_the_last_epoch_moves_nothing() -> None:
    stream = ones()
    with pytest.raises(ValueError) as error:
        dp.scan(total, 0.0, pipe(Scale(1.0)), stream, dp.Cursor(2**32 - 1, 0), length=3)
    assert str(error.value) == (
        "3 batches from epoch 4294967295, offset 0 on would end behind epoch 4294967295, the last "
        "that is counted; start at an earlier epoch, such as stream.start(0)."
    )


def test_a_place_known_to_the_device_alone_is_taken() -> None:
    pipeline, stream = pipe(Scale(1.0)), ones()
    cursor, _ = jax.jit(dp.step)(pipeline, stream, stream.start())
    cursor, _ = dp.step(pipeline, stream, cursor)
    assert cursor == (1, 0)
    assert [str(np.asarray(x).dtype) for x in cursor] == ["uint32"] * 2
