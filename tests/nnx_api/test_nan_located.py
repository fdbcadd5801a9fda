"""A NaN is told by who has made it: a node, of which fields and in which variant, or a step."""

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
from dagrax.nnx_api import HostSource, MemorySource, Pipeline
from dagrax.nnx_api import operators as op
from dagrax.pure import host

Batch = dict[str, jax.Array]
WHOLE = {"x": np.arange(12, dtype=np.float32), "age": np.ones(12, np.float32)}
# Of record 2 the age is missing; its logarithm of `x` is one of zero.
MISSING = {"x": np.arange(12, dtype=np.float32) - 2, "age": np.ones(12, np.float32)}
MISSING["age"][2] = np.nan
MISSING["x"][:2] = 1


def of(data: Any, *stages: Any, **options: Any) -> Pipeline:
    return Pipeline(source=MemorySource(data=data), stages=list(stages), batch_size=4, **options)


def told(run: Callable[[], Any]) -> str | None:
    """What is refused, None if nothing is."""
    try:
        run()
    except ValueError as error:
        return str(error)
    return None


# Of what a node has made it


def log(batch: Batch) -> Batch:
    return {**batch, "x": jnp.log(batch["x"])}


def new(batch: Batch) -> Batch:
    return {"age": batch["age"] * 2, "level": jnp.log(batch["x"])}


def mixed(batch: Batch) -> Batch:
    return {**batch, "x": batch["x"] * batch["age"]}


def derived(batch: Batch) -> Batch:
    return {"x": batch["x"], "ratio": batch["x"] / batch["age"]}


def renamed(batch: Batch) -> Batch:
    return {"x": batch["x"], "years": batch["age"]}


def over(batch: Batch) -> Batch:
    return {"x": batch["x"] * batch["age"], "age": 1 / batch["x"]}


def centred(batch: Batch) -> Batch:
    return {**batch, "x": batch["x"] - batch["age"].mean()}


def beside(batch: Batch) -> Batch:
    return {"age": batch["age"] - batch["age"].mean(), "x": jnp.log(batch["x"])}


def masked(batch: Batch) -> Batch:
    return {**batch, "x": jnp.where(jnp.isnan(batch["age"]), 0, batch["x"] * batch["age"])}


class Counting(nnx.Module):
    """What it makes of what is not known: it writes to what it holds."""

    def __init__(self) -> None:
        self.calls = nnx.BatchStat(jnp.int32(0))

    def __call__(self, batch: Batch) -> Batch:
        self.calls[...] = self.calls[...] + 1
        return log(batch)


MADE = "all that the node makes it of is finite in that record."
MAY_COME = (
    "it was finite before, and may come from field `age`, which is not finite in that record."
)
SPREADS = (
    "all that the node makes it of is finite in that record, but not in another: a node that mixes "
    "records spreads that."
)
NODES: dict[str, tuple[Any, str | None]] = {
    "another field is missing": (
        log,
        f"node `log`: field `x` of record 2 in epoch 0 is -inf; {MADE}",
    ),
    "a field that is new": (
        new,
        f"node `new`: field `level` of record 2 in epoch 0 is -inf; {MADE}",
    ),
    "of a missing one": (
        mixed,
        f"node `mixed`: field `x` of record 2 in epoch 0 is nan; {MAY_COME}",
    ),
    "a new one of a missing one": (derived, None),
    "a missing one of another name": (renamed, None),
    "in place of a missing one, and before what may": (
        over,
        f"node `over`: field `age` of record 2 in epoch 0 is inf; {MADE}",
    ),
    "of a field that another record lacks": (
        centred,
        f"node `centred`: field `x` of record 0 in epoch 0 is nan; {SPREADS}",
    ),
    "beside one that is spread": (
        beside,
        f"node `beside`: field `age` of record 0 in epoch 0 is nan; {SPREADS}",
    ),
    "a missing one that is taken care of": (masked, None),
    "of a node that counts": (
        Counting(),
        f"node `counting`: field `x` of record 2 in epoch 0 is -inf; {MAY_COME}",
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_a_node_is_told_by_the_fields_that_it_makes_it_of(name: str) -> None:
    stage, expected = NODES[name]
    assert told(of(MISSING, stage).checked().step) == expected


def test_a_field_of_one_of_several_inputs_is_told_with_its_node() -> None:
    def join(one: Batch, two: Batch) -> Batch:
        return {"x": one["x"] * two["age"], "age": two["age"]}

    pipeline: Pipeline = Pipeline.from_dag(
        source=MemorySource(data=MISSING),
        nodes={"one": lambda batch: batch, "two": lambda batch: batch, "join": join},
        edges={"one": [], "two": [], "join": ["one", "two"]},
        sink="join",
        batch_size=4,
    )
    said = "it was finite before, and may come from field `age` of `two`, which is not finite in"
    assert said in str(told(pipeline.checked().step))


def test_debug_agrees() -> None:
    def first(*stages: Any) -> tuple[Any, ...] | None:
        found = of(MISSING, *stages).debug().first
        if found is None:
            return None
        return found.node, found.field, found.records, found.source, found.mixes

    assert first(log) == ("log", "x", (2,), None, False)
    assert first(mixed) == ("mixed", "x", (2,), "age", False)
    assert first(centred) == ("centred", "x", (0, 1, 3), None, True)
    assert first(renamed, derived_of_years) is None
    assert str(of(MISSING, mixed).debug()).endswith(
        "Node `mixed` is the first to make one of a field that was finite: NaN in field `x` of "
        "record 2. It may come from field `age`, which is not finite there."
    )


def derived_of_years(batch: Batch) -> Batch:
    return {"months": batch["years"] * 12}


# In which variant


class Scaled(nnx.Module):
    def __init__(self, least: float, slope: float = 1.0):
        self.least, self.slope = nnx.Param(jnp.float32(least)), nnx.Param(jnp.float32(slope))

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "x": self.slope[...] * jnp.log(batch["x"] - self.least[...])}


SOURCE = MemorySource(data={**WHOLE, "x": WHOLE["x"] + 1})


def variants(*least: float) -> Pipeline:
    return Pipeline.variants(
        [Pipeline(source=SOURCE, stages={"scaled": Scaled(x)}, batch_size=4) for x in least]
    )


OF_VARIANT = (
    "node `scaled`: field `x` of record 0 in epoch 0 is nan in variant 2; all that the node makes "
    "it of is finite in that record.\n"
    "  - `nodes['scaled'].least` is 0 in variant 0 and 6 in variant 2."
)


@pytest.mark.parametrize(
    "call",
    [lambda p: p.step(), lambda p: p.scan(lambda batch: batch["age"].sum())],
    ids=["step", "scan"],
)
def test_the_first_variant_is_named_with_what_tells_it_apart(call: Callable[..., Any]) -> None:
    assert told(lambda: call(variants(0, 0.5, 6, 7).checked())) == OF_VARIANT


def test_the_first_of_all_variants_and_those_of_a_call() -> None:
    pipeline = variants(6, 0)
    said = str(told(lambda: pipeline.checked()({"x": np.ones(3, np.float32)})))
    assert said.startswith(
        "node `scaled`: field `x` of row 0 of the batch given is nan in variant 0;"
    )
    assert said.endswith("\n  - `nodes['scaled'].least` is 6 in variant 0 and 0 in variant 1.")
    said = str(told(variants(6, 7).checked().step))
    assert "is nan in variant 0; " in said
    assert said.endswith("in that record. It is so in each of the 2 variants.")


def test_of_variants_of_variants_both_are_named() -> None:
    both = Pipeline.variants([variants(0, 0.5), variants(0, 6)])
    said = str(told(both.checked().step))
    assert "record 0 in epoch 0 is nan in variant 1, 1; all" in said


# In a step function


def summed(batch: Batch) -> Batch:
    return {"loss": jnp.log(9 - batch["x"]).sum(), "mean": batch["x"].mean()}


def descended(carry: Batch, batch: Batch) -> tuple[Batch, jax.Array]:
    def loss(w: jax.Array) -> jax.Array:
        return jnp.sqrt(jnp.abs(w * (batch["x"][0] - 4))).sum()

    value, slope = jax.value_and_grad(loss)(carry["w"])
    return {**carry, "w": carry["w"] - 0.1 * slope}, value


def added(carry: jax.Array, batch: Batch) -> tuple[jax.Array, None]:
    return carry + batch["age"].mean(), None


class Model(nnx.Module):
    def __init__(self, weight: float = 1.0) -> None:
        self.layers = nnx.List([nnx.Linear(1, 1, rngs=nnx.Rngs(0))])
        self.weight = nnx.Param(jnp.float32(weight))


def trained(model: Model, batch: Batch) -> jax.Array:
    def loss(model: Model) -> jax.Array:
        return jnp.sqrt(0 * jnp.abs(model.layers[0](batch["x"][:, None])).sum())

    value: jax.Array
    value, slope = nnx.value_and_grad(loss)(model)
    kernel = model.layers[0].kernel
    kernel[...] = kernel[...] - slope.layers[0].kernel[...]
    return value


FINITE = "all that it is made of is finite."
GRADIENT = f"{FINITE} Where its loss is finite, look at the gradient."
LOSS = f"the step function: `ys['loss']` in step 2 of the scan (epoch 0, offset 8) is nan; {FINITE}"
STEPS: dict[str, tuple[Callable[[], Any], str | None]] = {
    "a loss": (
        lambda: of(WHOLE).checked().scan(summed),
        LOSS,
    ),
    "a loss in blocks": (
        lambda: list(of(WHOLE).checked().blocks(summed, every=2)),
        LOSS,
    ),
    "a gradient, and what else is carried is infinite": (
        lambda: (
            of(WHOLE)
            .checked()
            .scan(descended, init_carry={"w": jnp.float32(1), "best": jnp.float32(np.inf)})
        ),
        f"the step function: `carry['w']` behind step 1 of the scan (epoch 0, offset 4) is nan; "
        f"{GRADIENT}",
    ),
    "a parameter of a module": (
        lambda: of(WHOLE).checked().scan(trained, modules=(Model(),)),
        "the step function: `modules[0].layers[0].kernel` behind step 0 of the scan (epoch 0, "
        f"offset 0) is nan; {GRADIENT}",
    ),
    "a node comes before": (
        lambda: of(MISSING, log).checked().scan(summed),
        NODES["another field is missing"][1],
    ),
    "of a missing value": (
        lambda: of(MISSING).checked().scan(added, init_carry=jnp.float32(0)),
        "the step function: `carry` behind step 0 of the scan (epoch 0, offset 0) is nan; it was "
        "finite before, and may come from `batch['age']`, which is not finite.",
    ),
    "beside a missing value": (
        lambda: of(MISSING).checked().scan(summed),
        LOSS.replace("nan", "-inf"),
    ),
    "a missing value that is handed on": (
        lambda: of(MISSING).checked().scan(lambda batch: batch),
        None,
    ),
    "of a shared module": (
        lambda: (
            of(WHOLE)
            .checked()
            .scan(
                lambda carry, model, batch: (carry + model.weight[...], None),
                shared=(Model(np.nan),),
                init_carry=jnp.float32(0),
            )
        ),
        "the step function: `carry` behind step 0 of the scan (epoch 0, offset 0) is nan; it was "
        "finite before, and may come from `shared[0].weight`, which is not finite.",
    ),
    "of a variant": (
        lambda: (
            variants(0, 0.5)
            .checked()
            .scan(lambda batch: jnp.sqrt(batch["x"] + 0.1).sum(), length=1)
        ),
        "the step function: `ys` in step 0 of the scan (epoch 0, offset 0) is nan in variant 1; "
        f"{FINITE}\n  - `nodes['scaled'].least` is 0 in variant 0 and 0.5 in variant 1.",
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_function_is_told_by_step_and_by_what_it_returns(name: str) -> None:
    run, expected = STEPS[name]
    assert told(run) == expected


def test_what_is_first_in_time_is_told_whoever_has_made_it() -> None:
    def late(batch: Batch) -> Batch:
        return {**batch, "x": jnp.sqrt(11 - batch["x"] - 1)}  # of record 11

    def early(batch: Batch) -> jax.Array:
        return jnp.log(batch["age"][0] - 1)

    said = str(told(lambda: of(WHOLE, late).checked().scan(early)))
    assert said.startswith("the step function: `ys` in step 0 of the scan")


def test_steps_are_counted_over_what_a_host_reads_in_parts(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(400, dtype=np.float32))
    read: HostSource = HostSource(source=host.DiskSource({"x": tmp_path / "x.npy"}))
    with Pipeline(source=read, stages=[], batch_size=4) as pipeline:
        said = told(lambda: pipeline.checked().scan(lambda b: jnp.sqrt(390 - b["x"]).sum()))
    assert said == (
        f"the step function: `ys` in step 97 of the scan (epoch 0, offset 388) is nan; {FINITE}"
    )


def test_the_core_tells_a_step_too() -> None:
    stream = dp.Stream(dp.ArraySource(WHOLE), batch_size=4)
    graph: dp.Pipeline = dp.Pipeline.linear([])

    def body(carry: Any, batch: Batch) -> tuple[Any, None]:
        return {**carry, "sum": carry["sum"] + summed(batch)["loss"]}, None

    def run() -> Any:
        start = {"sum": jnp.float32(0), "activation": jnp.tanh}
        return dp.scan(body, start, graph, stream, dp.Cursor(0, 0), length=3)[1]["sum"]

    with dp.ops.checking():
        said = checkify.checkify(run)()[0].get()
    assert said == (
        "the step function: `carry['sum']` behind step 2 of the scan (epoch 0, offset 8) is nan; "
        f"{GRADIENT} (`check` failed)"
    )


def test_what_is_computed_is_the_same() -> None:
    start = {"w": jnp.float32(1), "best": jnp.float32(np.inf)}
    on, off = of(WHOLE, seed_of), of(WHOLE, seed_of)
    found, expected = (
        p.scan(descended_safely, init_carry=start, length=5) for p in (on.checked(), off)
    )
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert on.cursor == off.cursor


def seed_of(batch: Batch) -> Batch:
    return {**batch, "x": batch["x"] + 10}


def descended_safely(carry: Batch, batch: Batch) -> tuple[Batch, jax.Array]:
    return descended(carry, batch)


def test_a_check_of_an_operator_names_the_variant() -> None:
    source = MemorySource(data={"image": np.zeros((4, 4, 4, 1), np.float32)})

    def noisy(std: float) -> Pipeline[Any, Any]:
        stages = [op.GaussianNoise(std)]
        return Pipeline(source=source, stages=stages, batch_size=2, rngs=nnx.Rngs(0))

    pipelines = Pipeline.variants([noisy(std) for std in (0.5, 0.25, 0.25)])
    std = pipelines.nodes["gaussian_noise"].std
    said = "gaussian_noise takes a std of at least 0, not"
    for values, told in (
        (
            [0.5, 0.25, -1],
            f"node `gaussian_noise` in variant 2: {said} -1.0.\n"
            "  - `nodes['gaussian_noise'].std` is 0.5 in variant 0 and -1 in variant 2.",
        ),
        (
            [-1, -1, -1],
            f"node `gaussian_noise` in variant 0: {said} -1.0. It is so in each of the 3 variants.",
        ),
    ):
        std[...] = jnp.float32(values)
        calls: list[Callable[[Any], Any]] = [
            lambda pipeline: pipeline.step(),
            lambda pipeline: pipeline.scan(lambda batch: batch["image"].sum()),
        ]
        for call in calls:
            with pytest.raises(ValueError) as caught, pipelines.checked():
                call(pipelines)
            assert str(caught.value) == told
    std[...] = jnp.float32([0.5, -1, 0.25])
    with pytest.raises(ValueError, match=said) as caught:
        pipelines.debug()
    assert "This happened in variant 1." in caught.value.__notes__


@pytest.mark.parametrize(
    ("call", "noted"),
    [
        (lambda pipeline: pipeline.step(), "in node `log`"),
        (
            lambda pipeline: pipeline.scan(lambda batch: batch["x"].sum(), length=1),
            "is told by `with pipeline.checked():` around the call.",
        ),
    ],
)
def test_where_jax_looks_for_nans_too_a_checked_pipeline_tells_more(
    call: Callable[[Pipeline], Any], noted: str
) -> None:
    pipeline = of(WHOLE | {"x": WHOLE["x"] - 1}, log)
    said = "node `log`: field `x` of record 0 in epoch 0 is nan; all that the node makes it of is"
    with jax.debug_nans(True):
        assert (told(lambda: call(pipeline.checked())) or "").startswith(said)
        with pytest.raises(FloatingPointError) as caught:
            call(pipeline)
    assert noted in "".join(caught.value.__notes__)
