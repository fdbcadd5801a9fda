"""Operators that hold others: which of them is drawn, with which keys, and what is left alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import Element, MemorySource, OperatorModule, Pipeline
from dagrax.nnx_api import operators as op
from tests.nnx_zoo import evaluate

MANY = 10_000


def add(number: float) -> op.Apply:
    return op.Apply(lambda element: element.update_data({"x": element.data["x"] + number}))


class Uniform(OperatorModule):
    """Adds a number below `range` that is drawn."""

    def __init__(self, range: float = 1.0) -> None:
        self.range = nnx.Param(jnp.float32(range))
        self.deterministic = False

    def apply(self, element: Element, *, key: Any) -> Element:
        return element.update_data({"x": element.data["x"] + self.range * jax.random.uniform(key)})


def pipe(stage: Any, records: int = MANY, batch_size: int | None = None, **data: Any) -> Any:
    data = {"x": np.zeros(records, np.float32), **data}
    return Pipeline(
        source=MemorySource(data=data),
        stages=[stage],
        batch_size=batch_size or records,
        rngs=nnx.Rngs(0),
    )


def xs(stage: Any, records: int = MANY, **data: Any) -> np.ndarray:
    return np.asarray(pipe(stage, records, **data).step()["x"])


def within_4_sigma(count: int, p: float) -> bool:
    return abs(count - MANY * p) <= 4 * np.sqrt(MANY * p * (1 - p))  # type: ignore[no-any-return]


# Draws


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_an_operator_is_applied_with_its_probability(p: float) -> None:
    assert within_4_sigma(int(xs(op.RandomApply(add(1), p)).sum()), p)


@pytest.mark.parametrize(
    ("weights", "parts"),
    [(None, [1 / 3, 1 / 3, 1 / 3]), ([3.0, 0.0, 1.0], [3 / 4, 0, 1 / 4])],
)
def test_one_of_several_is_applied_as_often_as_its_weight(weights: Any, parts: list[float]) -> None:
    counts = np.bincount(xs(op.OneOf([add(0), add(1), add(2)], weights)).astype(int), minlength=3)
    assert all(within_4_sigma(int(n), part) for n, part in zip(counts, parts, strict=True))


def test_a_soft_choice_at_a_low_temperature_is_a_choice() -> None:
    arms = [add(0), add(1), add(2)]
    drawn = xs(op.SoftChoice(arms, 1e-4, np.log([0.5, 0.2, 0.3])))
    counts = np.bincount(np.round(drawn).astype(int), minlength=3)
    assert all(within_4_sigma(int(n), p) for n, p in zip(counts, (0.5, 0.2, 0.3), strict=True))


def test_a_soft_choice_is_a_convex_mix() -> None:
    drawn = xs(op.SoftChoice([add(0), add(1)], 1.0), 1000)
    assert 0 < drawn.min() < 0.1 and 0.9 < drawn.max() < 1
    # With two arms and temperature 1, the logistic of a logistic number: uniform.
    np.testing.assert_allclose(np.sort(drawn), np.linspace(0, 1, 1000), atol=0.06)


def record_keys(node: str, ids: Any) -> Any:
    from tests import reference

    key = nnx.Rngs(0)["pipeline"]()
    return [reference.record_key(key, node, 0, int(i)) for i in ids]


@pytest.mark.parametrize("index", [0, 1])
def test_a_child_draws_from_the_key_of_its_record_by_its_index(index: int) -> None:
    arms: list[OperatorModule] = [add(0), add(0)]
    arms[index] = Uniform()
    held = {
        "sequence": op.Sequence(arms),
        "one_of": op.OneOf(arms, [1.0 - index, float(index)]),
        "random_apply": op.RandomApply(Uniform(), 1.0),
    }
    for node, operator in held.items():
        own = 0 if node == "random_apply" else index
        keys = record_keys(node, range(4))
        expected = [float(jax.random.uniform(jax.random.fold_in(key, own))) for key in keys]
        np.testing.assert_allclose(xs(operator, 4), expected, rtol=1e-6)


OPERATORS = {
    "sequence": lambda: op.Sequence([Uniform(), op.RandomApply(Uniform(), 0.5)]),
    "one_of": lambda: op.OneOf([Uniform(), Uniform(3.0)], [0.4, 0.6]),
    "soft_choice": lambda: op.SoftChoice([Uniform(), add(2)], 0.7, [0.1, -0.2]),
}


@pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS)
def test_a_record_draws_alike_in_any_batch_order_and_place(make: Any) -> None:
    whole = xs(make(), 12)
    assert len(set(whole.tolist())) > 8
    small = np.concatenate([b["x"] for b in pipe(make(), 12, batch_size=5)])
    np.testing.assert_allclose(small, whole, rtol=1e-6)
    source = MemorySource(
        data={"x": np.zeros(12, np.float32), "id": np.arange(12)}, shuffle=True, rngs=nnx.Rngs(3)
    )
    shuffled = Pipeline(source=source, stages=[make()], batch_size=12, rngs=nnx.Rngs(0)).step()
    np.testing.assert_allclose(shuffled["x"], whole[shuffled["id"]], rtol=1e-6)


# Batches


def test_a_choice_for_a_batch_is_one_choice_and_computes_one_arm() -> None:
    pipeline = pipe(op.PerBatch(op.OneOf([Uniform(), add(5), op.Sequence([add(7)])])), 400, 4)
    batches = [np.asarray(batch["x"]) for batch in pipeline]
    kinds = [5 if (x == 5).all() else 7 if (x == 7).all() else 0 for x in batches]
    assert {kinds.count(kind) > 15 for kind in (0, 5, 7)} == {True}
    assert all(
        (x < 1).all() and len(set(x)) == 4 for x, k in zip(batches, kinds, strict=True) if not k
    )
    text = str(jax.make_jaxpr(lambda x, key: choose(x, key))(jnp.zeros(3), jax.random.key(0)))
    assert text.count("cond[") == 1


def choose(x: Any, key: Any) -> Any:
    stage = op.PerBatch(op.RandomApply(Uniform(), 0.5))
    return stage({"x": x}, key=key, record_keys=jax.random.split(key, 3))["x"]


def test_an_operator_chosen_for_a_batch_draws_what_it_draws_for_its_records() -> None:
    key, keys = jax.random.key(4), jax.random.split(jax.random.key(5), 3)
    batch = {"x": jnp.zeros(3)}
    always = op.RandomApply(Uniform(), 1.0)
    one = op.OneOf([add(1), Uniform()], [0.0, 1.0])
    for choice in (always, one):
        each = choice(batch, record_keys=keys)["x"]
        whole = op.PerBatch(choice)(batch, key=key, record_keys=keys)["x"]
        np.testing.assert_array_equal(each, whole)


def test_a_batch_is_changed_with_the_probability_of_its_choice() -> None:
    stage = op.PerBatch(op.RandomApply(add(1), 0.3))
    one = lambda key: stage({"x": jnp.zeros(1)}, key=key, record_keys=key[None])["x"][0]  # noqa: E731
    changed = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), MANY))
    assert within_4_sigma(int(changed.sum()), 0.3)


# What is left alone


def test_a_field_that_no_arm_changes_may_be_anything() -> None:
    stage = op.OneOf([add(1), op.SoftChoice([Uniform(), add(2)])])
    mask = np.arange(8).reshape(2, 4)
    batch = pipe(stage, 2, mask=mask).step()
    np.testing.assert_array_equal(batch["mask"], mask)


@pytest.mark.parametrize(
    "make",
    [*OPERATORS.values(), lambda: op.PerBatch(op.OneOf([add(1), Uniform()]))],
)
def test_eval_leaves_records_as_they_are(make: Any) -> None:
    pipeline = pipe(make(), 3)
    pipeline.eval()
    assert pipeline.step()["x"].tolist() == [0, 0, 0]
    pipeline.train()
    assert pipeline.step()["x"].any()


def test_eval_leaves_what_does_not_draw_at_work() -> None:
    sequence = op.Sequence([add(1), Uniform(), op.Apply(drawing)])
    pipeline = pipe(sequence, 2)
    assert (pipeline.step()["x"] > 3).all()
    evaluate(pipeline)
    assert pipeline.step()["x"].tolist() == [1, 1]


def drawing(element: Element, *, key: Any) -> Element:
    return element.update_data({"x": element.data["x"] + 2 + jax.random.uniform(key)})


# Gradients and variants


def test_gradients_are_those_of_finite_differences() -> None:
    keys = jax.random.split(jax.random.key(2), 64)
    stage = op.SoftChoice([Uniform(0.7), add(2)], 0.8, [0.3, -0.4])
    graph, state = nnx.split(stage, nnx.Param)
    leaves, structure = jax.tree.flatten(state)
    flat = jnp.concatenate([leaf.reshape(-1) for leaf in leaves])
    assert flat.shape == (4,)

    def loss(flat: Any) -> Any:
        parts = jnp.split(flat, np.cumsum([leaf.size for leaf in leaves])[:-1])
        shaped = [p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)]
        stage = nnx.merge(graph, jax.tree.unflatten(structure, shaped))
        return jnp.mean(jnp.sin(stage({"x": jnp.zeros(64)}, record_keys=keys)["x"]))

    value, slope = jax.jit(loss), jax.jit(jax.grad(loss))(flat)
    for i, step in enumerate(0.01 * np.eye(4, dtype=np.float32)):
        difference = (value(flat + step) - value(flat - step)) / 0.02
        # Float32 and a step of a hundredth: 1e-7 / 0.02 of noise, and 1e-4 of curvature.
        np.testing.assert_allclose(slope[i], difference, atol=2e-4)
        assert abs(slope[i]) > 1e-3


def test_probabilities_and_weights_are_leaves_that_variants_tell_apart() -> None:
    source, one = MemorySource(data={"x": jnp.zeros(100)}), add(1)
    options: dict[str, Any] = {"batch_size": 100, "rngs": nnx.Rngs(0)}
    pipelines = [
        Pipeline(source=source, stages=[op.RandomApply(one, p)], **options) for p in (0.0, 1.0)
    ]
    both = Pipeline.variants(pipelines).step()["x"]
    assert both.mean(1).tolist() == [0, 1]


def test_choices_are_stages_of_a_scan() -> None:
    stage = op.Sequence([op.OneOf([add(1), add(2)]), Uniform()])
    pipeline = pipe(stage, 8, 4)
    stepped = np.concatenate([batch["x"] for batch in pipeline])
    pipeline = pipe(stage, 8, 4)
    scanned = pipeline.scan(lambda batch: batch["x"], length=2)
    np.testing.assert_allclose(np.ravel(scanned), stepped, rtol=1e-6)


def test_an_operator_is_one_of_the_core_too() -> None:
    # Held by no pipeline of the face: `dagrax.pure` maps it with keys of its own.
    pure = dp.Pipeline.linear([op.OneOf([add(1), Uniform()])])
    out = dp.apply(pure, {"x": jnp.zeros(5)}, key=jax.random.key(0))
    assert ((out["x"] == 1) | ((out["x"] > 0) & (out["x"] < 1))).all()
