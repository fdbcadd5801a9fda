"""How a pipeline is written: the short way, names that are given, and chains under one name."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, NoiseOperator, Pipeline
from tests import plainly
from tests.nnx_zoo import Scale, counting, xs
from tests.paths import by_for, by_scan, by_step
from tests.zoo import Batch, assert_same

DATA = {"x": np.arange(8, dtype=np.float32)}


def double(batch: Batch) -> Batch:
    return {"x": batch["x"] * 2}


def minus(left: Batch, right: Batch) -> Batch:
    return {"x": left["x"] - right["x"]}


# The short way


def test_from_arrays_is_the_short_way() -> None:
    pipeline = Pipeline.from_arrays(DATA, [double], batch_size=3, remainder="drop")
    assert [xs(batch) for batch in pipeline] == [[0, 2, 4], [6, 8, 10]]
    assert [xs(b) for b in Pipeline.from_arrays(DATA, batch_size=4)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_from_arrays_draws_as_the_long_way_does() -> None:
    rngs = nnx.Rngs(3)
    long = Pipeline(
        source=MemorySource(data=DATA, shuffle=True, rngs=rngs),
        stages={"jitter": NoiseOperator(field="x")},
        batch_size=4,
        rngs=rngs,
    )
    short = Pipeline.from_arrays(
        DATA,
        {"jitter": NoiseOperator(field="x")},
        batch_size=4,
        shuffle=True,
        rngs=nnx.Rngs(3),
    )
    assert_same(short.step(), long.step())


# Names


def noisy(batch: Batch, *, record_keys: Any) -> Batch:
    return batch


def test_the_names_of_a_dict_are_those_of_the_nodes_in_its_order() -> None:
    pipeline = Pipeline.from_arrays(DATA, {"z": double, "a": double, "m": double}, batch_size=4)
    assert list(pipeline.nodes) == ["z", "a", "m"]
    assert xs(pipeline.outputs("a")["a"]) == [0, 4, 8, 12]
    assert xs(pipeline.step()) == [0, 8, 16, 24]


def test_a_named_stage_draws_alike_wherever_it_stands() -> None:
    alone = Pipeline.from_arrays(
        DATA, {"jitter": NoiseOperator(field="x")}, batch_size=4, rngs=nnx.Rngs(0)
    )
    behind = Pipeline.from_arrays(
        DATA,
        {"other": NoiseOperator(0.0, field="x"), "jitter": NoiseOperator(field="x")},
        batch_size=4,
        rngs=nnx.Rngs(0),
    )
    assert_same(alone.step(), behind.step())


# Chains


def views(**more: Any) -> Pipeline:
    return Pipeline.from_dag(
        source=counting(8),
        nodes={
            "view_a": [Scale(2.0), NoiseOperator(field="x"), Scale(3.0)],
            "view_b": (Scale(10.0),),
            "plain": [],
            "merge": [minus, double],
            **more,
        },
        edges={"view_a": [], "view_b": ["plain"], "plain": [], "merge": ["view_b", "view_a"]},
        sink="merge",
        batch_size=4,
        rngs=nnx.Rngs(0),
    )


def test_a_chain_is_a_row_of_nodes_under_one_name() -> None:
    pipeline = views()
    assert list(pipeline.nodes) == [
        *("view_a/scale", "view_a/noise", "view_a/scale_1", "view_b/scale", "plain/identity"),
        *("merge/minus", "merge/double"),
    ]
    taps = pipeline.outputs("view_a/scale", "view_a", "view_b", "plain", "merge", "merge/minus")
    assert list(taps) == ["view_a/scale", "view_a", "view_b", "plain", "merge", "merge/minus"]
    assert [xs(taps[name]) for name in ("view_a/scale", "view_b", "plain")] == [
        *([0, 2, 4, 6], [0, 10, 20, 30], [0, 1, 2, 3])
    ]
    np.testing.assert_allclose(taps["merge/minus"]["x"], taps["view_b"]["x"] - taps["view_a"]["x"])
    assert_same(
        pipeline.outputs("view_a")["view_a"], pipeline.outputs("view_a/scale_1")["view_a/scale_1"]
    )
    batch = pipeline.step()
    np.testing.assert_allclose(batch["x"], 2 * taps["merge/minus"]["x"])
    np.testing.assert_allclose(batch["x"], taps["merge"]["x"])


def test_a_stage_of_a_chain_draws_under_its_own_name() -> None:
    row = Pipeline.from_arrays(
        DATA,
        {"view_a/scale": Scale(2.0), "view_a/noise": NoiseOperator(field="x")},
        batch_size=4,
        rngs=nnx.Rngs(0),
    )
    chain = Pipeline.from_arrays(
        DATA,
        {"view_a": [Scale(2.0), NoiseOperator(field="x")]},
        batch_size=4,
        rngs=nnx.Rngs(0),
    )
    assert_same(row.step(), chain.step())
    assert iter(row).get_state() == iter(chain).get_state()


def test_the_stages_of_a_chain_are_replaced_trained_and_saved_by_their_names() -> None:
    pipeline = Pipeline.from_arrays(DATA, {"view": [Scale(2.0), double]}, batch_size=4)
    assert xs(pipeline.step()) == [0, 4, 8, 12]
    pipeline.nodes["view/double"] = lambda batch: {"x": -batch["x"]}
    assert xs(pipeline.step()) == [-8, -10, -12, -14]
    assert list(nnx.state(pipeline, nnx.Param)["nodes"]) == ["view/scale"]
    saved = pipeline.checkpoint()
    pipeline.nodes["view/scale"].weight[...] = jnp.float32(5)
    nnx.update(pipeline, saved)
    assert xs(pipeline.outputs("view")["view"]) == [0, -2, -4, -6]


def test_the_mask_of_a_padded_batch_is_kept_behind_a_chain() -> None:
    pipeline = Pipeline.from_arrays(DATA, {"view": [double]}, batch_size=5, remainder="pad")
    pipeline.step()
    assert pipeline.outputs("view")["view"]["valid"].tolist() == [True, True, True, False, False]


def test_the_core_has_chains_too() -> None:
    pipeline = dp.Pipeline.from_dag(
        nodes={"a": [double, double], "b": []}, edges={"a": [], "b": ["a"]}, sink="b"
    )
    assert list(pipeline.stages) == ["a/double", "a/double_1", "b/identity"]
    assert dp.apply(pipeline, DATA)["x"].tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert list(dp.outputs(pipeline, DATA, ["a", "a/double", "b"])) == ["a", "a/double", "b"]
    alike = dp.Pipeline.from_dag(nodes={"a": [double, double]}, edges={"a": []}, sink="a")
    assert hash(alike.schedule) != hash(pipeline.schedule)


# eval() and train()


class Mean(nnx.Module):
    """The batch less its running mean, as flax holds it."""

    def __init__(self) -> None:
        self.norm = nnx.BatchNorm(1, momentum=0.5, use_scale=False, rngs=nnx.Rngs(0))

    def __call__(self, batch: Batch) -> Batch:
        return {"x": self.norm(batch["x"][:, None])[:, 0]}


def drawn(batch: Batch, *, key: Any) -> Batch:
    return {"x": batch["x"] + 0.125}


def by_blocks(pipeline: Any, count: int) -> Any:
    return [(None, {"x": x}) for ys in pipeline.blocks(lambda b: b, every=1) for x in ys["x"]][
        :count
    ]


@pytest.mark.parametrize("path", [by_step, by_for, by_scan, by_blocks])
def test_in_eval_what_draws_by_deterministic_is_the_identity_also_in_a_chain(path: Any) -> None:
    pipeline = Pipeline.from_arrays(
        DATA,
        {"view": [NoiseOperator(1.0, field="x")], "drawn": drawn},
        batch_size=4,
        rngs=nnx.Rngs(0),
    )
    pipeline.eval()  # type: ignore[no-untyped-call]
    tapped = xs(pipeline.outputs("view")["view"])
    (_, batch), *_ = path(pipeline, 2)
    assert (tapped, xs(batch)) == ([0, 1, 2, 3], [0.125, 1.125, 2.125, 3.125])
    pipeline.train()  # type: ignore[no-untyped-call]
    assert xs(path(pipeline, 2)[0][1]) != xs(batch)


def test_batch_statistics_are_kept_in_training_and_used_in_evaluation() -> None:
    pipeline = Pipeline.from_arrays(DATA, [Mean()], batch_size=4)
    mean = pipeline.nodes["mean"].norm.mean
    pipeline.step()
    assert mean[...] == 0.5 * 1.5
    for _ in pipeline.blocks(lambda batch: batch["x"], every=1):
        assert mean[...] == 0.5 * 0.75 + 0.5 * 5.5
    pipeline.eval()  # type: ignore[no-untyped-call]
    pipeline.scan(lambda batch: batch["x"])
    assert mean[...] == 0.5 * 0.75 + 0.5 * 5.5


def test_a_node_cannot_be_replaced_by_a_chain_or_a_pipeline() -> None:
    made = Pipeline.from_arrays({"x": np.zeros(4)}, {"a": lambda batch: batch}, batch_size=2)
    pipeline: Any = made
    for kind in ([jax.nn.relu], pipeline):
        pipeline.nodes["a"] = kind
        with pytest.raises(
            TypeError, match=r"Node `a` was replaced by one of type (list|Pipeline)"
        ):
            pipeline.step()


def test_shard_and_record_ids_may_be_set_and_are_judged_first() -> None:
    pipeline = Pipeline.from_arrays({"x": np.arange(8.0, dtype=np.float32)}, batch_size=4)
    pipeline.step()
    pipeline.record_ids = "id"
    pipeline.shard = (1, 2)
    assert pipeline.step()["id"].tolist() == [6, 7]
    with pytest.raises(ValueError):
        pipeline.shard = (0, 3)  # which does not divide the batch
    with pytest.raises(ValueError, match="the data already have"):
        pipeline.record_ids = "x"
    assert (pipeline.shard, pipeline.record_ids) == ((1, 2), "id")
    pipeline.shard = pipeline.record_ids = None
    assert pipeline.step()["x"].tolist() == [0, 1, 2, 3]


# What nobody reads

IDLE = """
    import warnings

    import jax.numpy as jnp
    import numpy as np

    import dagrax.pure as dp
    from dagrax.nnx_api import MemorySource, Pipeline

    given = dict(nodes={"a": jnp.abs, "b": jnp.abs}, edges={"a": [], "b": []}, sink="a")

    def batch_of(pipeline):
        pipeline.summary()
        pipeline.scan(lambda batch: batch)
        return pipeline.outputs("b", batch=pipeline.step())["b"].tolist()

    def source():
        return MemorySource(data=np.array([1.0, -2.0], np.float32))
"""
READ = """
    with warnings.catch_warnings(record=True) as told:
        print(batch_of({}))
    for one in told:
        print(f"{one.filename}:{one.lineno}: {one.message}")
"""


def test_a_node_that_does_not_lead_to_the_sink_is_told_once_where_the_pipeline_is_made() -> None:
    ways = (
        "Pipeline.from_dag(source=source(), batch_size=2, **given)",
        "Pipeline(source=source(), batch_size=2, stages=dp.Pipeline.from_dag(**given))",
    )
    for read in plainly.read([[IDLE], *([READ.replace("{}", way)] for way in ways)]):
        assert read == (
            "[1.0, 2.0]\n"
            "here.py:3: The node `b` does not lead to the sink `a`, and runs for `outputs` alone. "
            "`edges` maps each node to the nodes that it reads: are they the other way round?"
        )
