import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from tests import reference

KEY = jax.random.key(3)


class Scale(eqx.Module):
    by: jax.Array

    def __call__(self, batch: Any) -> Any:
        return batch * self.by


class HSVJitter(Scale): ...


class CropOperator(Scale): ...


def noise(batch: Any, *, record_keys: Any) -> Any:
    return batch + jax.vmap(jax.random.uniform)(record_keys)


def plus(batch: Any, amount: float = 1.0) -> Any:
    return batch + amount


def words(key: jax.Array) -> Any:
    return jax.random.key_data(key)


def run(stage: Any, *, key: jax.Array | None = None, node: str = "s") -> Any:
    pipeline = dp.Pipeline.from_dag(nodes={node: stage}, edges={node: []}, sink=node)
    return dp.apply(pipeline, jnp.arange(3.0), key=key)


# What a stage may be


@pytest.mark.parametrize(
    "stage",
    [
        plus,
        lambda batch: batch + 1,
        functools.partial(plus, amount=1.0),
        jax.tree_util.Partial(plus, amount=1.0),
        jax.tree_util.Partial(jnp.add, jnp.ones(())),
        jax.jit(plus),
        dp.per_record(plus),
        dp.per_record(jax.tree_util.Partial(jnp.add, jnp.ones(()))),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_any_callable_is_a_stage(stage: Any) -> None:
    assert run(stage).tolist() == [1, 2, 3]


def test_only_the_arrays_of_stages_are_leaves() -> None:
    pipeline = dp.Pipeline.linear(
        [Scale(jnp.float32(3)), plus, dp.per_record(Scale(jnp.float32(2)))]
    )
    assert sorted(leaf.tolist() for leaf in jax.tree.leaves(pipeline)) == [2, 3]


# Keys


@pytest.mark.parametrize("declared", ["keyword only", "positional"])
def test_a_stage_that_declares_key_gets_one_for_the_batch(declared: str) -> None:
    def strict(batch: Any, *, key: Any) -> Any:
        return words(key)

    def loose(batch: Any, key: Any) -> Any:
        return words(key)

    expected = words(reference.batch_key(KEY, "s", 0, 0))
    np.testing.assert_array_equal(
        run(strict if declared == "keyword only" else loose, key=KEY), expected
    )


def test_a_stage_that_declares_record_keys_gets_one_for_each_record() -> None:
    def stage(batch: Any, *, record_keys: Any) -> Any:
        return jax.vmap(words)(record_keys)

    expected = [words(reference.record_key(KEY, "s", 0, i)) for i in range(3)]
    np.testing.assert_array_equal(run(stage, key=KEY), np.stack(expected))


def test_a_stage_may_declare_both() -> None:
    def stage(batch: Any, *, key: Any, record_keys: Any) -> Any:
        return words(key), jax.vmap(words)(record_keys)

    one, many = run(stage, key=KEY)
    np.testing.assert_array_equal(one, words(reference.batch_key(KEY, "s", 0, 0)))
    np.testing.assert_array_equal(many[2], words(reference.record_key(KEY, "s", 0, 2)))


def test_raw_keys_are_keys() -> None:
    raw = jax.random.key_data(KEY)
    assert run(noise, key=raw).tolist() == run(noise, key=KEY).tolist()


def test_per_record_gives_a_function_of_one_record_its_own_key() -> None:
    seen = []

    def jitter(record: Any, *, key: Any) -> Any:
        seen.append(record.shape)
        return words(key)

    expected = [words(reference.record_key(KEY, "s", 0, i)) for i in range(3)]
    np.testing.assert_array_equal(run(dp.per_record(jitter), key=KEY), np.stack(expected))
    assert seen == [()]


def test_per_record_maps_a_function_without_a_key_and_asks_for_none() -> None:
    assert run(dp.per_record(lambda record: record * 2)).tolist() == [0, 2, 4]


def test_per_record_takes_one_record_of_each_predecessor() -> None:
    nodes = {"a": plus, "b": dp.per_record(lambda record, batch: jnp.stack([record, batch]))}
    pipeline = dp.Pipeline.from_dag(nodes=nodes, edges={"a": [], "b": ["a", "a"]}, sink="b")
    assert dp.apply(pipeline, jnp.arange(2.0)).tolist() == [[1, 1], [2, 2]]


def test_stages_without_draws_need_no_key() -> None:
    assert run(plus).tolist() == run(plus, key=KEY).tolist()


def amplified(batch: Any, amount: float, *, record_keys: Any) -> Any:
    return batch + amount * jax.vmap(jax.random.uniform)(record_keys)


@pytest.mark.parametrize("partial", [functools.partial, jax.tree_util.Partial])
def test_a_partial_that_draws_gets_its_keys(partial: Any) -> None:
    expected = np.arange(3.0) + 2.0 * (np.asarray(run(noise, key=KEY)) - np.arange(3.0))
    np.testing.assert_allclose(run(partial(amplified, amount=2.0), key=KEY), expected, rtol=1e-5)


# Names


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        (Scale(jnp.float32(1)), "scale"),
        (HSVJitter(jnp.float32(1)), "hsv_jitter"),
        (CropOperator(jnp.float32(1)), "crop"),
        (plus, "plus"),
        (jax.jit(plus), "plus"),
        (functools.partial(plus, amount=2.0), "plus"),
        (jax.tree_util.Partial(plus, amount=2.0), "plus"),
        (dp.per_record(plus), "plus"),
        (dp.per_record(HSVJitter(jnp.float32(1))), "hsv_jitter"),
        (lambda batch: batch, "lambda"),
    ],
)
def test_a_stage_is_named_after_its_type(stage: Any, name: str) -> None:
    assert dp.Pipeline.linear([stage]).schedule.order == (name,)


def test_stages_of_one_type_are_counted() -> None:
    scale = Scale(jnp.float32(1))
    assert dp.Pipeline.linear([scale, plus, scale, scale]).schedule.order == (
        "scale", "plus", "scale_1", "scale_2",
    )  # fmt: skip


def test_a_stage_put_in_between_renames_none_of_another_type() -> None:
    scale = Scale(jnp.float32(1))
    before = dp.Pipeline.linear([scale, scale]).schedule.order
    after = dp.Pipeline.linear([plus, scale, plus, scale, plus]).schedule.order
    assert [name for name in after if "plus" not in name] == list(before)


def test_a_counted_name_that_another_type_has_is_counted_on() -> None:
    def plus_1(batch: Any) -> Any:
        return batch

    assert dp.Pipeline.linear([plus, plus, plus_1]).schedule.order == ("plus", "plus_1", "plus_1_1")


# Errors


def broken(batch: Any) -> Any:
    raise KeyError("lens")


class Broken(Scale):
    def __call__(self, batch: Any) -> Any:
        return broken(batch)


@pytest.mark.parametrize(
    ("stage", "name"),
    [(broken, "broken"), (Broken(jnp.float32(1)), "Broken"), (dp.per_record(broken), "broken")],
)
def test_an_error_inside_a_stage_names_its_node(stage: Any, name: str) -> None:
    with pytest.raises(KeyError, match="lens") as error:
        run(stage, node="crop")
    assert (
        f"This happened in node `crop` ({name}), which was given f32[3]."
    ) in error.value.__notes__


def test_a_key_with_a_default_of_its_own_is_no_random_key() -> None:
    def column(batch: Any, *, key: str = "x") -> Any:
        return {key: batch}

    assert list(run(column, node="column")) == ["x"]
