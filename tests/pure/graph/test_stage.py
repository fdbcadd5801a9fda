import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from tests import reference
from tests.plainly import told

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


@pytest.mark.parametrize("declared", ["keyword only", "with a default"])
def test_a_stage_that_declares_key_gets_one_for_the_batch(declared: str) -> None:
    def strict(batch: Any, *, key: Any) -> Any:
        return words(key)

    def loose(batch: Any, key: Any = None) -> Any:
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


def test_item_31_a_positional_parameter_is_an_input_whatever_its_name() -> None:
    def attend(query: Any, key: Any, value: Any) -> Any:
        return query + 10 * key + 100 * value

    nodes: dict[str, Any] = {"a": plus, "b": Scale(jnp.float32(2)), "merge": attend}
    edges = {"a": [], "b": [], "merge": ["a", "b", "a"]}
    pipeline = dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink="merge")
    batch = jnp.arange(3.0)
    expected = (batch + 1) * 101 + 20 * batch
    for key in (None, KEY):
        assert dp.apply(pipeline, batch, key=key).tolist() == expected.tolist()


def test_item_31_a_key_that_stands_where_an_input_stands_is_told_how_it_is_asked_for() -> None:
    with pytest.raises(ValueError) as error:
        dp.Pipeline.from_dag(nodes={"noise": loud}, edges={"noise": []}, sink="noise")
    assert str(error.value) == (
        "The graph cannot be built:\n  - node `noise` is called with 1 input (the source), but its "
        "signature is (batch, key); a random key is asked for by keyword: write `*, key`; change "
        "its parameters or its entry in `edges`."
    )


def loud(batch: Any, key: Any) -> Any:
    return batch


@pytest.mark.parametrize(
    "stage",
    [
        lambda mlp: dp.per_record(mlp),
        lambda mlp: jax.vmap(mlp),
        lambda mlp: eqx.filter_vmap(mlp),
        lambda mlp: jax.jit(jax.vmap(mlp)),
        lambda mlp: functools.partial(jax.vmap(mlp)),
    ],
    ids=["per_record", "vmap", "filter_vmap", "jit of vmap", "partial of vmap"],
)
def test_item_30_a_layer_that_may_take_a_key_is_a_stage(stage: Any) -> None:
    mlp = eqx.nn.MLP(2, 3, 4, 1, key=KEY)
    pipeline, batch = dp.Pipeline.linear([stage(mlp)]), jnp.ones((4, 2))
    for key in (None, KEY):
        actual = dp.apply(pipeline, batch, key=key)
        np.testing.assert_allclose(actual, jax.vmap(mlp)(batch), rtol=1e-6)


def test_a_layer_that_draws_is_given_the_key_of_its_record() -> None:
    drop = dp.Pipeline.linear([dp.per_record(eqx.nn.Dropout(0.5))])
    kept = dp.apply(drop, jnp.ones((8, 50)), key=KEY)
    assert set(np.unique(kept)) == {0, 2}
    assert len(np.unique(kept, axis=0)) == 8


def test_item_34_an_error_for_want_of_a_key_says_how_it_is_given() -> None:
    def noisy(batch: Any, record_keys: Any = None) -> Any:
        if record_keys is None:
            raise ValueError("record_keys= is wanted")
        return batch

    with pytest.raises(ValueError) as error:
        run(noisy, node="noise")
    assert (
        "This happened in node `noise` (noisy), which was given f32[3], and no key: pass "
        "key=jax.random.key(0)."
    ) in error.value.__notes__


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


# Rows of stages


def test_a_row_of_no_stages_is_the_identity() -> None:
    assert dp.apply(dp.Pipeline.linear([]), jnp.arange(3)).tolist() == [0, 1, 2]
    assert dp.Pipeline.linear({}).schedule.sink == "identity"


def test_item_42_a_row_in_a_dict_has_its_names_so_that_a_stage_draws_alike_in_any_row() -> None:
    both = dp.Pipeline.linear({"first": noise, "second": noise})
    alone = dp.Pipeline.linear({"second": noise})
    assert both.schedule.order == ("first", "second")
    batch = jnp.zeros(3)
    first = dp.outputs(both, batch, ("first",), key=KEY)["first"]
    second = dp.apply(both, batch, key=KEY) - first
    np.testing.assert_allclose(second, dp.apply(alone, batch, key=KEY), atol=1e-6)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (
            3,
            "Node `row` is 3 of type int, which cannot be called; pass a function, or give its "
            "class a `__call__`.",
        ),
        (
            {i: jnp.ones(1000) for i in range(100)},
            "Node `row` is of type dict, which cannot be called; a node is one stage, or a list of "
            "stages: give these a node of their own.",
        ),
    ],
)
def test_item_35_what_is_no_stage_is_told_in_a_line(node: Any, text: str) -> None:
    calls = told(SETUP, [f"dp.Pipeline.linear({{'row': {node_text(node)}}})"])
    assert list(calls.values()) == [("TypeError", text)]


SETUP = "import jax.numpy as jnp, dagrax.pure as dp; plus = lambda b: b + 1"


def node_text(node: Any) -> str:
    if isinstance(node, list):
        return "[plus] * 100"
    return "{i: jnp.ones(1000) for i in range(100)}" if isinstance(node, dict) else repr(node)
