"""On CPU the convolutions of a scan are channels-last, and their numbers what they were."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline
from dagrax.pure._channels_last import canonical
from dagrax.pure._flow import _stream
from tests.platforms import on_a_cpu

OPTIMIZED = True

Function = Callable[..., Any]
NCHW, NHWC = ("NCHW", "OIHW", "NCHW"), ("NHWC", "HWIO", "NHWC")
CHANNELS_LAST = {
    "[b, f]x[i, o]->[b, f]",
    "[b, 0, f]x[0, i, o]->[b, 0, f]",
    "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]",
    "[b, 0, 1, 2, f]x[0, 1, 2, i, o]->[b, 0, 1, 2, f]",
}


def normal(seed: int, *shape: int, dtype: Any = jnp.float32) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def by_canonical(fn: Function) -> Function:
    return lambda *arguments: canonical(lambda: fn(*arguments))


def layouts(fn: Function, *arguments: Any, platform: str = "cpu") -> list[str]:
    """The dimension numbers of each convolution in the program for a platform, sorted."""
    text = jax.jit(fn).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    found = re.findall(r"dim_numbers = (\[.*?\]x\[.*?\]->\[.*?\])", text)
    assert len(found) == text.count("stablehlo.convolution")
    return sorted(found)


def equations(jaxpr: Any) -> Iterator[Any]:
    """Those of a jaxpr and of all jaxprs inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def assert_close(actual: Any, expected: Any) -> None:
    assert str(jax.tree.structure(actual)) == str(jax.tree.structure(expected))
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


# One convolution


class Case(NamedTuple):
    """A convolution of 16 records."""

    numbers: tuple[str, str, str] = NCHW
    size: tuple[int, ...] = (6, 5)
    window: tuple[int, ...] = (3, 2)
    features: tuple[int, int] = (3, 4)
    strides: tuple[int, ...] | None = None
    padding: Any = "SAME"
    lhs_dilation: tuple[int, ...] | None = None
    rhs_dilation: tuple[int, ...] | None = None
    feature_groups: int = 1
    batch_groups: int = 1

    def convolve(self, lhs: jax.Array, rhs: jax.Array, **options: Any) -> Any:
        return jax.lax.conv_general_dilated(
            lhs,
            rhs,
            self.strides or (1,) * len(self.size),
            self.padding,
            self.lhs_dilation,
            self.rhs_dilation,
            self.numbers,
            feature_group_count=self.feature_groups,
            batch_group_count=self.batch_groups,
            **options,
        )

    def operands(self, dtype: Any = jnp.float32) -> tuple[jax.Array, jax.Array]:
        read, written = self.features
        space = [axis for axis in "DHW" if axis in self.numbers[0]]
        lhs = {"N": 16, "C": read, **dict(zip(space, self.size, strict=True))}
        rhs = {"O": written, "I": read // self.feature_groups}
        rhs |= dict(zip(space, self.window, strict=True))
        return (
            normal(0, *(lhs[axis] for axis in self.numbers[0]), dtype=dtype),
            normal(1, *(rhs[axis] for axis in self.numbers[1]), dtype=dtype),
        )

    def gradients(self, lhs: jax.Array, rhs: jax.Array) -> Any:
        return jax.grad(lambda *x: jnp.sin(self.convolve(*x)).mean(), (0, 1))(lhs, rhs)


CHANGED = {
    "NCHW": Case(),
    "NHWC": Case(NHWC),
    "HWIO in disorder": Case(("CWNH", "WOHI", "HCNW")),
    "OI swapped": Case(("NHWC", "HWOI", "NHWC")),
    "NCW": Case(("NCW", "OIW", "NCW"), size=(7,), window=(3,)),
    "NWC": Case(("NWC", "WIO", "NWC"), size=(7,), window=(3,)),
    "NCDHW": Case(("NCDHW", "OIDHW", "NCDHW"), size=(3, 4, 5), window=(2, 3, 2)),
    "NDHWC": Case(("NDHWC", "DHWIO", "NDHWC"), size=(3, 4, 5), window=(2, 3, 2)),
    "NC": Case(("CN", "OI", "NC"), size=(), window=()),
    "strides": Case(strides=(2, 3)),
    "valid": Case(padding="VALID"),
    "uneven padding": Case(padding=((2, 0), (1, 3))),
    "dilated window": Case(rhs_dilation=(2, 1), padding=((2, 2), (2, 2))),
    "dilated input": Case(lhs_dilation=(2, 3), padding=((2, 2), (2, 2))),
    "strides and dilations": Case(
        NHWC, strides=(2, 1), lhs_dilation=(1, 2), rhs_dilation=(2, 1), padding=((3, 2), (0, 1))
    ),
}
WIDE = {
    "two feature groups of 8": Case(features=(16, 4), feature_groups=2),
    "four batch groups of 4": Case(batch_groups=4),
}
KEPT = {
    "depthwise": Case(features=(4, 8), feature_groups=4),
    "two feature groups of 4": Case(features=(8, 4), feature_groups=2),
    "two batch groups of 8": Case(batch_groups=2),
}
ALL = CHANGED | WIDE | KEPT | {"depthwise NHWC": Case(NHWC, features=(4, 4), feature_groups=4)}


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_values_and_gradients_are_the_same(case: Case) -> None:
    def both(lhs: jax.Array, rhs: jax.Array) -> Any:
        return case.convolve(lhs, rhs), case.gradients(lhs, rhs)

    operands = case.operands()
    assert_close(jax.jit(by_canonical(both))(*operands), jax.jit(both)(*operands))


@pytest.mark.parametrize("case", (CHANGED | WIDE).values(), ids=CHANGED | WIDE)
def test_on_cpu_a_convolution_is_channels_last(case: Case) -> None:
    (found,) = layouts(by_canonical(case.convolve), *case.operands())
    assert found in CHANNELS_LAST


@pytest.mark.parametrize("case", CHANGED.values(), ids=CHANGED)
def test_on_cpu_the_gradients_of_a_convolution_are_channels_last(case: Case) -> None:
    found = layouts(by_canonical(case.gradients), *case.operands())
    assert len(found) == 3
    assert set(found) <= CHANNELS_LAST


@pytest.mark.parametrize("case", KEPT.values(), ids=KEPT)
def test_narrow_feature_groups_and_wide_batch_groups_stay(case: Case) -> None:
    assert layouts(by_canonical(case.convolve), *case.operands()) == layouts(
        case.convolve, *case.operands()
    )


def test_the_gradient_for_a_depthwise_kernel_is_channels_last() -> None:
    case = ALL["depthwise NHWC"]

    def gradient(lhs: jax.Array, rhs: jax.Array) -> Any:
        return case.gradients(lhs, rhs)[1]

    assert not set(layouts(gradient, *case.operands())) <= CHANNELS_LAST
    assert set(layouts(by_canonical(gradient), *case.operands())) <= CHANNELS_LAST


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_for_another_platform_the_program_is_as_written(case: Case) -> None:
    for fn in (case.convolve, case.gradients):
        found = layouts(by_canonical(fn), *case.operands(), platform="cuda")
        assert found == layouts(fn, *case.operands(), platform="cuda")


@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.int8, marks=on_a_cpu)])
def test_every_option_of_a_convolution_is_kept(dtype: Any) -> None:
    case = Case(strides=(2, 1), padding=((2, 1), (0, 3)), lhs_dilation=(1, 2), rhs_dilation=(2, 1))
    wider = jnp.float32 if dtype == jnp.bfloat16 else jnp.int32
    precision = (jax.lax.Precision.HIGH, jax.lax.Precision.HIGHEST)

    def convolve(*operands: jax.Array) -> Any:
        return case.convolve(*operands, precision=precision, preferred_element_type=wider)

    def options(fn: Function) -> list[dict[str, Any]]:
        found = equations(jax.make_jaxpr(fn)(*case.operands(dtype)).jaxpr)
        name = "dimension_numbers"
        return [
            {option: value for option, value in equation.params.items() if option != name}
            for equation in found
            if name in equation.params
        ]

    assert options(by_canonical(convolve)) == options(convolve) * 2  # for CPU, and as written
    assert_close(by_canonical(convolve)(*case.operands(dtype)), convolve(*case.operands(dtype)))


# Programs


def convolve(x: jax.Array, k: jax.Array) -> Any:
    return jnp.tanh(jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=NCHW))


def in_jit(x: jax.Array, k: jax.Array) -> Any:
    return jax.jit(lambda x: jax.jit(convolve)(x, k))(x)


def in_shared_jit(x: jax.Array, k: jax.Array) -> Any:
    twice = jax.jit(convolve)
    return twice(twice(x, k), k)


def in_checkpoint(x: jax.Array, k: jax.Array) -> Any:
    return jax.checkpoint(lambda x: convolve(convolve(x, k), k))(x)


def in_cond(x: jax.Array, k: jax.Array) -> Any:
    return jax.lax.cond(x.sum() > 0, lambda: convolve(x, k), lambda: convolve(-x, k))


def in_scan(x: jax.Array, k: jax.Array) -> Any:
    return jax.lax.scan(lambda x, k: (convolve(x, k), None), x, jnp.stack([k, -k]))[0]


def in_fori_loop(x: jax.Array, k: jax.Array) -> Any:
    return jax.lax.fori_loop(0, 2, lambda _, x: convolve(x, k), x)


def in_nested_scans(x: jax.Array, k: jax.Array) -> Any:
    return jax.lax.scan(lambda x, _: (in_scan(x, k), None), x, length=2)[0]


def in_vmap(x: jax.Array, k: jax.Array) -> Any:
    return jax.vmap(lambda x: convolve(x[None], k)[0])(x)


def in_canonical(x: jax.Array, k: jax.Array) -> Any:
    return canonical(lambda: in_scan(x, k))


def in_platform_dependent(x: jax.Array, k: jax.Array) -> Any:
    return jax.lax.platform_dependent(x, k, cpu=convolve, default=lambda x, k: x)


def in_while(x: jax.Array, k: jax.Array) -> Any:
    return jax.lax.while_loop(lambda x: x.sum() > 3, lambda x: convolve(x, k), jnp.abs(x))


@jax.custom_jvp
def in_custom_jvp(x: jax.Array, k: jax.Array) -> Any:
    return convolve(x, k)


@in_custom_jvp.defjvp
def _jvp(primals: Any, tangents: Any) -> Any:
    return convolve(*primals), 3 * tangents[0] + tangents[1].sum()


@jax.custom_vjp
def in_custom_vjp(x: jax.Array, k: jax.Array) -> Any:
    return convolve(x, k)


in_custom_vjp.defvjp(
    lambda x, k: (convolve(x, k), (x, k)), lambda rest, y: (y * 3, rest[1] * y.sum())
)

PROGRAMS = [
    convolve,
    in_jit,
    in_shared_jit,
    in_checkpoint,
    in_cond,
    in_scan,
    in_fori_loop,
    in_nested_scans,
    in_vmap,
    in_canonical,
    in_platform_dependent,
    in_custom_jvp,
    in_custom_vjp,
]
OPERANDS = normal(0, 2, 3, 5, 4), normal(1, 3, 3, 3, 3)


def gradients(fn: Function) -> Function:
    return jax.value_and_grad(lambda x, k: jnp.sin(fn(x, k)).sum(), (0, 1))


@pytest.mark.parametrize("program", [*PROGRAMS, in_while], ids=lambda fn: fn.__name__)
def test_on_cpu_the_convolutions_of_a_program_are_channels_last(program: Function) -> None:
    found = layouts(by_canonical(program), *OPERANDS)
    assert len(found) == len(layouts(program, *OPERANDS)) > 0
    assert set(found) <= CHANNELS_LAST


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda fn: fn.__name__)
def test_on_cpu_the_gradients_of_a_program_are_channels_last(program: Function) -> None:
    fn = gradients(program)
    found = layouts(by_canonical(fn), *OPERANDS)
    assert len(found) == len(layouts(fn, *OPERANDS)) > 0
    assert set(found) <= CHANNELS_LAST
    assert_close(jax.jit(by_canonical(fn))(*OPERANDS), jax.jit(fn)(*OPERANDS))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda fn: fn.__name__)
def test_gradients_through_it_are_the_same(program: Function) -> None:
    actual, expected = gradients(by_canonical(program)), gradients(program)
    assert_close(jax.jit(actual)(*OPERANDS), jax.jit(expected)(*OPERANDS))


@pytest.mark.parametrize("program", [in_checkpoint, in_scan], ids=lambda fn: fn.__name__)
def test_second_gradients_through_it_are_the_same(program: Function) -> None:
    def second(fn: Function) -> Any:
        return jax.jit(jax.jvp, static_argnums=0)(fn, OPERANDS, OPERANDS)

    assert_close(second(by_canonical(gradients(program))), second(gradients(program)))


@pytest.mark.parametrize(
    ("program", "axes"),
    [
        *((program, (0, 0)) for program in (in_jit, in_checkpoint, in_cond, in_while, in_scan)),
        *((in_custom_vjp, axes) for axes in [(0, 0), (0, None), (None, 0)]),
    ],
)
def test_it_can_be_mapped(program: Function, axes: tuple[int | None, int | None]) -> None:
    x, k = (
        operand if axis is None else jnp.stack([operand, 2 * operand, -operand])
        for operand, axis in zip(OPERANDS, axes, strict=True)
    )
    actual, expected = jax.vmap(by_canonical(program), axes), jax.vmap(program, axes)
    assert_close(jax.jit(actual)(x, k), jax.jit(expected)(x, k))


def test_a_checkpoint_stays_one() -> None:
    def checkpoints(fn: Function) -> int:
        found = equations(jax.make_jaxpr(fn)(*OPERANDS).jaxpr)
        return sum("prevent_cse" in equation.params for equation in found)

    fn = gradients(in_checkpoint)
    assert checkpoints(by_canonical(fn)) == checkpoints(fn) > 0
    assert checkpoints(by_canonical(in_checkpoint)) == 1


def test_a_function_that_is_called_twice_is_compiled_once() -> None:
    assert len(layouts(by_canonical(in_shared_jit), *OPERANDS)) == 1


def test_inside_a_shard_map_the_program_stays() -> None:
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.PartitionSpec("i")
    whole = jax.sharding.PartitionSpec()
    mapped = jax.shard_map(convolve, mesh=mesh, in_specs=(split, whole), out_specs=split)
    assert layouts(by_canonical(mapped), *OPERANDS) == layouts(mapped, *OPERANDS)


def test_it_can_be_used_inside_a_shard_map() -> None:
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    split, whole = jax.sharding.PartitionSpec("i"), jax.sharding.PartitionSpec()

    def summed(x: jax.Array, k: jax.Array) -> Any:
        return jax.lax.psum(canonical(lambda: gradients(in_scan)(x, k)[1][1]), "i")

    mapped = jax.shard_map(summed, mesh=mesh, in_specs=(split, whole), out_specs=whole)
    assert_close(jax.jit(mapped)(*OPERANDS), gradients(in_scan)(*OPERANDS)[1][1])


def test_a_program_for_two_platforms_can_be_exported() -> None:
    exported = jax.export.export(jax.jit(by_canonical(in_scan)), platforms=("cpu", "cuda"))
    assert_close(exported(*OPERANDS).call(*OPERANDS), in_scan(*OPERANDS))


# Its own trace


@pytest.mark.parametrize(
    "program",
    [
        lambda x, k: jnp.sin(x) + k.sum(),
        lambda x, k: jax.lax.scan(lambda c, row: (c + jnp.sin(row), c), x[0], x),
        lambda x, k: Case(NHWC).convolve(x, k),
        lambda x, k: jax.lax.cond(x.sum() > 0, jax.jit(jnp.sin), jax.checkpoint(jnp.cos), x),
    ],
    ids=["arithmetic", "scan", "channels last", "cond"],
)
def test_where_no_convolution_needs_it_the_program_stays(program: Function) -> None:
    operands = normal(0, 4, 6, 5, 3), normal(1, 3, 3, 3, 2)
    texts = [
        (str(jax.make_jaxpr(fn)(*operands)), jax.jit(fn).lower(*operands).as_text())
        for fn in (lambda x, k: program(x, k), lambda x, k: by_canonical(program)(x, k))
    ]
    assert texts[0] == texts[1]


def test_a_scan_without_convolutions_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = dp.Stream(dp.ArraySource({"x": normal(0, 12, 3)}), batch_size=4)

    def total(stream: dp.Stream[Any]) -> Any:
        pipeline = dp.Pipeline.linear([lambda batch: batch["x"].sum()])
        return dp.scan(lambda c, x: (c + x, x), 0.0, pipeline, stream, stream.start(), length=3)[1:]

    def text() -> str:
        return jax.jit(lambda stream: total(stream)).lower(stream).as_text()

    found = text()
    monkeypatch.setattr(_stream, "canonical", lambda function: function())
    assert found == text()


@pytest.mark.parametrize("program", [convolve, lambda x, k: x], ids=["changed", "kept"])
def test_a_function_is_traced_once(program: Function) -> None:
    calls: list[None] = []

    def counted() -> Any:
        calls.append(None)
        return program(*OPERANDS)

    canonical(counted)
    assert len(calls) == 1


def test_an_error_of_the_function_is_its_own() -> None:
    error = KeyError("label")

    def broken() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        canonical(broken)
    assert caught.value is error


def test_without_jit_the_values_are_concrete() -> None:
    with jax.disable_jit():
        assert canonical(lambda: float(convolve(*OPERANDS).sum())) == pytest.approx(
            float(convolve(*OPERANDS).sum()), abs=1e-4
        )


def test_its_result_may_be_any_pytree() -> None:
    x, k = OPERANDS
    key = jax.random.key(3)
    result = canonical(lambda: {"a": [convolve(x, k), None], "b": (key, 1.5, x)})
    assert_close(result["a"], [convolve(x, k), None])
    assert result["b"][0] == key
    assert result["b"][1] == 1.5
    assert result["b"][2] is x


def test_nothing_of_a_trace_is_kept() -> None:
    with jax.checking_leaks():
        jax.jit(by_canonical(gradients(in_scan))).lower(*OPERANDS)


# Training

SIZE, BATCH, STEPS = 24, 4, 6
TX = optax.sgd(0.1, momentum=0.9)


def images() -> dict[str, Any]:
    labels = np.random.default_rng(1).integers(0, 3, SIZE, dtype=np.int32)
    return {"image": np.asarray(normal(0, SIZE, 8, 8, 3)), "label": labels}


def cross_entropy(logits: jax.Array, batch: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()


def train_pure(carry: Any, batch: Any) -> tuple[Any, jax.Array]:
    params, state = carry

    def loss(params: Any) -> Any:
        x = batch["image"].transpose(0, 3, 1, 2)
        for k in params["convs"]:
            x = jax.nn.relu(jax.lax.conv_general_dilated(x, k, (2, 2), "SAME"))
        return cross_entropy(x.mean((2, 3)), batch)

    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = TX.update(gradient, state, params)
    return (optax.apply_updates(params, updates), state), value


def pure_start() -> tuple[Any, dp.Stream[Any], dp.Pipeline[Any, Any]]:
    params = {"convs": [normal(1, 5, 3, 3, 3), normal(2, 3, 5, 3, 3)]}
    source = dp.ArraySource(jax.tree.map(jnp.asarray, images()))
    stream = dp.Stream(source, dp.Shuffled(jax.random.key(3)), batch_size=BATCH)
    return (params, TX.init(params)), stream, dp.Pipeline.linear([lambda batch: batch])


def pure_scan(carry: Any, stream: dp.Stream[Any], pipeline: dp.Pipeline[Any, Any]) -> Any:
    return dp.scan(train_pure, carry, pipeline, stream, stream.start(), length=STEPS)[1:]


class CNN(nnx.Module):
    """Two convolutions, with a pool and a checkpoint."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(3, 5, (3, 3), rngs=rngs)
        self.second = nnx.Conv(5, 6, (3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> Any:
        x = nnx.max_pool(nnx.relu(self.first(x)), (2, 2), strides=(2, 2))
        return self.head(nnx.relu(nnx.remat(CNN.deep)(self, x)).mean((1, 2)))

    def deep(self, x: jax.Array) -> Any:
        return self.second(x)


def train_nnx(model: CNN, optimizer: nnx.Optimizer[CNN], batch: Any) -> Any:
    value, gradient = nnx.value_and_grad(lambda m: cross_entropy(m(batch["image"]), batch))(model)
    optimizer.update(model, gradient)
    return value


def nnx_start() -> tuple[Pipeline, CNN, nnx.Optimizer[CNN]]:
    model = CNN(nnx.Rngs(0))
    pipeline = Pipeline(
        source=MemorySource(MemorySourceConfig(shuffle=True), data=images(), rngs=nnx.Rngs(1)),
        stages=[lambda batch: batch],
        batch_size=BATCH,
        rngs=nnx.Rngs(2),
    )
    return pipeline, model, nnx.Optimizer(model, TX, wrt=nnx.Param)


def nnx_program() -> tuple[Function, Any]:
    graphdef, state = nnx.split(nnx_start())

    def program(state: Any) -> Any:
        pipeline, model, optimizer = nnx.merge(graphdef, state)
        losses = pipeline.scan(train_nnx, length=STEPS, modules=(model, optimizer))
        return losses, nnx.state((model, optimizer))

    return program, state


def pure_program() -> tuple[Function, Any]:
    carry, stream, pipeline = pure_start()
    return lambda carry: pure_scan(carry, stream, pipeline), carry


@on_a_cpu
@pytest.mark.parametrize("program", [pure_program, nnx_program])
def test_on_cpu_the_convolutions_of_a_training_step_are_channels_last(program: Function) -> None:
    fn, state = program()
    found = layouts(fn, state)
    assert len(found) >= 5  # forward twice, two kernels, one input
    assert set(found) <= CHANNELS_LAST


@pytest.mark.parametrize("program", [pure_program, nnx_program])
def test_for_another_platform_a_training_step_is_as_written(
    program: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = layouts(*program(), platform="cuda")
    monkeypatch.setattr(_stream, "canonical", lambda function: function())
    assert found == layouts(*program(), platform="cuda")
    assert not set(found) <= CHANNELS_LAST


def test_a_scan_trains_a_pure_cnn_as_a_loop_does() -> None:
    carry, stream, pipeline = pure_start()
    scanned, losses = jax.jit(pure_scan)(carry, stream, pipeline)
    step, cursor, expected = jax.jit(dp.step), stream.start(), []
    for _ in range(STEPS):
        cursor, batch = step(pipeline, stream, cursor)
        carry, loss = jax.jit(train_pure)(carry, batch)
        expected.append(loss)
    assert_close((scanned, losses), (carry, jnp.stack(expected)))


def test_a_scan_trains_an_nnx_cnn_as_a_loop_does() -> None:
    pipeline, model, optimizer = nnx_start()
    losses = pipeline.scan(train_nnx, length=STEPS, modules=(model, optimizer))
    pipeline, expected_model, expected_optimizer = nnx_start()
    step = nnx.jit(train_nnx)
    expected = [step(expected_model, expected_optimizer, batch) for batch in pipeline]
    assert_close(losses, jnp.stack(expected))
    after, expected_after = (
        nnx.to_pure_dict(nnx.state(modules))
        for modules in ((model, optimizer), (expected_model, expected_optimizer))
    )
    assert_close(after, expected_after)
