"""Graphs that fit, what is found of them, and what the check costs."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree, Shaped, UInt8
from typing_extensions import TypedDict

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, NoiseOperator, Pipeline
from tests.contracts import (
    DATA,
    Affine,
    Arrays,
    Boxes,
    Crop,
    Flip,
    Halves,
    Images,
    Nested,
    Open,
    Two,
    Views,
    Weighted,
    free,
    gives,
    graph,
    grey,
    halve,
    images,
    linear,
    merge,
    merge_all,
    one,
    stream,
    takes,
    views,
)

U8 = {"image": np.zeros((8, 4, 6, 3), np.uint8), "label": DATA["label"]}


class Doubled(TypedDict):
    image: Float[Array, "batch*2 h w c"]
    label: Int[Array, "batch*2"]


class Integers(TypedDict):
    image: UInt8[Array, "batch h w c"]
    label: Int[Array, "batch"]


class Broadcast(TypedDict):
    a: Float[Array, "batch #n"]
    b: Float[Array, "batch n"]


class Variadic(TypedDict):
    a: Float[Array, "batch *shape"]
    b: Int[Array, "batch *shape"]


class Backwards(TypedDict):
    small: Float[Array, "batch h//2"]
    large: Float[Array, "batch h"]


class Keyed(TypedDict):
    keys: Key[Array, "batch"]


def weigh(batch: Images) -> Weighted:
    return {**batch, "weight": batch["label"].astype(jnp.float32)}


def unweigh(batch: Weighted) -> Images:
    return {"image": batch["image"], "label": batch["label"]}


def twice(batch: Images) -> Doubled:
    image, label = (jnp.concatenate([x, x]) for x in (batch["image"], batch["label"]))
    return {"image": image, "label": label}


def as_float(batch: Integers) -> Images:
    return {**batch, "image": batch["image"].astype(jnp.float32) / 255}


def pair(left: Images, right: Images) -> Two[Images]:
    return Two(left, right)


def add(image: Float[Array, "batch *shape"], bias: Float[Array, "#batch *#shape"]) -> Any:
    return image + bias


def noisy(batch: Images, *, key: PRNGKeyArray, record_keys: dp.RecordKeys) -> Images:
    return batch


def plain(batch: "Images") -> "Images | None":
    return batch


HALVED = {"images": ["halve"], "halve": [], "merge": ["images", "images"]}
RIGHT: dict[str, tuple[dp.Pipeline, dp.Stream | None]] = {
    "contracts on every node": (linear(images, halve, images), None),
    "contracts on some nodes": (linear(free, images, lambda batch: batch, images), None),
    "no contracts": (linear(free, lambda batch: batch["image"], jnp.tanh), None),
    "a stage at two nodes with different sizes": (
        linear(halve, halve, images),
        stream({"image": np.zeros((8, 8, 12, 3), np.float32), "label": DATA["label"]}),
    ),
    "a merge of equal branches": (graph(HALVED, images=images, halve=halve, merge=merge), None),
    "a merge of many": (
        graph(
            {"images": [], "merge_all": ["images"] * 3},
            images=images,
            merge_all=merge_all,
        ),
        None,
    ),
    "a stage that adds a field": (linear(weigh), None),
    "a stage that drops a field": (linear(weigh, unweigh), None),
    "an optional field that is missing": (linear(takes(Weighted)), None),
    "an optional field that is there": (linear(weigh, takes(Weighted)), None),
    "other fields let through": (linear(takes(Open)), None),
    "other fields of one kind": (linear(takes(Arrays)), None),
    "other fields to a stage, one to the next": (linear(takes(Open), grey), None),
    "another number of rows": (linear(twice), None),
    "integers until they are cast": (linear(takes(Integers), as_float, images), stream(U8)),
    "a NamedTuple": (linear(views, takes(Views), lambda v: v.left), None),
    "a generic NamedTuple": (
        graph({"a": [], "pair": ["a", "a"]}, a=images, pair=pair),
        None,
    ),
    "a dataclass": (
        linear(gives(Boxes, lambda b: Boxes(jnp.zeros((4, 7, 4)), b["label"])), takes(Boxes)),
        None,
    ),
    "a nested batch": (
        linear(gives(Nested, lambda b: {"images": b, "meta": {"id": b["label"]}}), takes(Nested)),
        None,
    ),
    "a bare array": (
        linear(lambda b: b["image"], takes(Float[Array, "batch h w c"])),
        None,
    ),
    "a PyTree of arrays": (linear(takes(PyTree[Shaped[Array, "batch ..."]])), None),
    "a PyTree of one structure": (
        linear(
            gives(
                PyTree[Float[Array, "batch ?n"], "T"],
                lambda b: [jnp.zeros((4, 2)), jnp.zeros((4, 3))],
            )
        ),
        None,
    ),
    "a list, a tuple, a dict": (
        linear(
            gives(list[Int[Array, "batch"]], lambda b: [b["label"]]),
            gives(tuple[Int[Array, "batch"], Any], lambda x: (x[0], 3)),
            gives(tuple[Shaped[Array, "..."], ...], lambda x: x),
            gives(dict[str, Int[Array, "batch"]], lambda x: {"a": x[0]}),
        ),
        None,
    ),
    "one of two": (linear(takes(Images | Integers)), stream(U8)),
    "one of two dtypes": (
        linear(lambda b: b["image"], takes(Float[Array, "b ..."] | UInt8[Array, "b ..."])),
        stream(U8),
    ),
    "variadic axes": (
        linear(gives(Variadic, lambda b: {"a": b["image"], "b": b["image"].astype(jnp.int32)})),
        None,
    ),
    "axes that broadcast": (
        linear(gives(Broadcast, lambda b: {"a": jnp.zeros((4, 1)), "b": jnp.zeros((4, 3))})),
        None,
    ),
    "variadic axes that broadcast": (
        graph(
            {"image": [], "bias": [], "add": ["image", "bias"]},
            image=lambda b: b["image"],
            bias=lambda b: jnp.zeros((1, 4, 1, 3)),
            add=add,
        ),
        None,
    ),
    "a computed axis before the one it needs": (
        linear(
            gives(Backwards, lambda b: {"small": jnp.zeros((4, 2)), "large": jnp.zeros((4, 5))})
        ),
        None,
    ),
    "an anonymous axis and a documented one": (
        linear(lambda b: b["image"], takes(Float[Array, "batch _ width=6 ..."])),
        None,
    ),
    "an axis by an attribute": (linear(Crop(3, 3)), None),
    "a graph-wide axis": (linear(images, noisy, images, dims=["h", "w"]), None),
    "a graph-wide axis of a size": (linear(images, dims={"h": 4, "batch": 4}), None),
    "an eqx.Module, an nnx.Module, an operator, a function of one record": (
        linear(Affine(), Flip(), dp.per_record(one), NoiseOperator(), images),
        None,
    ),
    "a marked batch": (linear(images), stream(DATA, 3, "pad")),
    "a batch larger than the data": (linear(images), stream(DATA, 30)),
    "a method": (linear(Affine().__call__), None),
    "annotations as strings": (linear(plain), None),
    "annotations that say nothing of arrays": (
        linear(takes(Literal["image"]), gives(Halves | Any)),
        None,
    ),
    "keys as data": (
        linear(gives(Keyed, lambda b: {"keys": jax.random.split(jax.random.key(0), 4)})),
        None,
    ),
}


@pytest.mark.parametrize("right", RIGHT)
def test_a_graph_that_fits_passes_and_runs(right: str) -> None:
    pipeline, other = RIGHT[right]
    at = other or stream()
    found = dp.check(pipeline, at)
    _, batch = dp.step(pipeline, at, at.start(), key=jax.random.key(0))
    expected = jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), batch)
    actual = jax.tree.map(lambda x: (x.shape, x.dtype), found[pipeline.schedule.sink])
    assert actual == expected


def test_the_outputs_of_all_nodes_are_found() -> None:
    found = dp.check(graph({"spare": [], "halve": []}, spare=grey, halve=halve), stream())
    f32, i32 = np.dtype("float32"), np.dtype("int32")
    assert found == {
        "spare": {"grey": jax.ShapeDtypeStruct((4, 4, 6), f32)},
        "halve": {
            "image": jax.ShapeDtypeStruct((4, 2, 3, 3), f32),
            "label": jax.ShapeDtypeStruct((4,), i32),
        },
    }


def test_a_source_states_its_spec() -> None:
    at = stream(DATA, 3, "pad")
    record = {
        "image": jax.ShapeDtypeStruct((4, 6, 3), np.dtype("float32")),
        "label": jax.ShapeDtypeStruct((), np.dtype("int32")),
    }
    assert at.source.element_spec == record
    assert MemorySource(data=DATA).element_spec == record
    assert at.batch_spec == {
        **jax.tree.map(lambda x: jax.ShapeDtypeStruct((3, *x.shape), x.dtype), record),
        "valid": jax.ShapeDtypeStruct((3,), np.dtype("bool")),
    }


def test_a_check_reads_no_data_and_changes_no_state() -> None:
    stage = Affine()
    before = jax.tree.map(np.asarray, nnx.state(stage))
    specs = eqx.filter_eval_shape(stream)
    assert set(dp.check(linear(stage), specs)) == {"affine"}
    jax.tree.map(np.testing.assert_array_equal, nnx.state(stage), before)


def test_an_annotation_that_cannot_be_read_is_warned_of() -> None:
    stage = gives("Unknown")
    with pytest.warns(UserWarning) as caught:
        dp.check(linear(stage), stream())
    assert str(caught[0].message) == (
        "The annotation of `return` in gives.<locals>.stage cannot be read (name 'Unknown' is not "
        "defined), so it is not checked; define or import what it names at the top level of its "
        "module, outside `if TYPE_CHECKING`."
    )


@pytest.mark.parametrize("policy", ["partial", "drop", "carry"])
def test_both_nnx_constructors_check(policy: dp.Remainder) -> None:
    def wrong(batch: Images) -> Halves:
        return batch

    message = (
        "The graph cannot be built:\n"
        '  - node `wrong` output `image`: expected Float[Array, "batch h//2 w//2 c"], got '
        "f32[4,4,6,3] (batch=4, h=4, w=6, c=3). Its axis `h//2` is 4, not 2. Its axis `w//2` is "
        "6, not 3."
    )
    rest: Any = {
        "source": MemorySource(data=DATA),
        "batch_size": 4,
        "rngs": nnx.Rngs(0),
        "remainder": policy,
    }
    with pytest.raises(ValueError) as error:
        Pipeline(stages=[wrong], **rest)
    assert str(error.value) == message
    with pytest.raises(ValueError) as error:
        Pipeline.from_dag(nodes={"wrong": wrong}, edges={"wrong": []}, sink="wrong", **rest)
    assert str(error.value) == message


def test_the_check_may_be_repeated_after_a_change() -> None:
    pipeline = Pipeline(
        source=MemorySource(data=DATA), stages=[Affine()], batch_size=4, rngs=nnx.Rngs(0)
    )
    assert pipeline.check() == {"affine": stream().batch_spec}
    pipeline.nodes["affine"] = Affine(axis=1)
    with pytest.raises(ValueError, match="It has 3 axes where 4 are expected"):
        pipeline.check()


def test_the_error_of_a_stage_is_the_cause() -> None:
    with pytest.raises(ValueError) as error:
        dp.check(linear(lambda batch: batch["no"]), stream())
    assert isinstance(error.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("dims", "kind", "message"),
    [
        (
            "time",
            TypeError,
            "dims is 'time' of type str; expected a list of axis names, [\"time\"], or a dict of "
            'sizes, {"time": 128}.',
        ),
        (["h w"], ValueError, "dims names an axis 'h w'; expected one name, such as \"time\"."),
    ],
)
def test_wrong_dims_are_refused(dims: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        dp.Pipeline.linear([images], dims=dims)
    assert str(error.value) == message


def test_contradicting_declarations_are_refused() -> None:
    rest: Any = {"source": MemorySource(data=DATA), "batch_size": 4, "rngs": nnx.Rngs(0)}
    with pytest.raises(ValueError) as error:
        Pipeline(stages=linear(images, dims={"h": 4}), dims={"h": 5}, **rest)
    assert str(error.value) == (
        "dims gives the axis `h` the size 5, but the graph was made with h=4; leave one of them "
        "out."
    )
    Pipeline(stages=linear(images, dims={"h": 4}), dims=["h", "w"], **rest)


# Cost


def test_a_stage_with_a_contract_compiles_to_the_same_program() -> None:
    def bare(batch: Any) -> Any:
        return {**batch, "image": batch["image"] * 2}

    def stated(batch: Images) -> Images:
        return {**batch, "image": batch["image"] * 2}

    def program(stage: Any) -> str:
        pipeline = dp.Pipeline.from_dag(nodes={"n": stage}, edges={"n": []}, sink="n")
        at = stream()
        dp.check(pipeline, at)
        lowered = jax.jit(lambda at, cursor: dp.step(pipeline, at, cursor)).lower(at, at.start())
        return lowered.as_text()

    assert program(bare) == program(stated)


def test_a_hundred_nodes_are_checked_with_a_hundred_contracts() -> None:
    visits: list[int] = []

    def counted(batch: Images) -> Images:
        visits.append(1)
        return batch

    found = dp.check(linear(*[counted] * 100), stream())
    assert (len(found), len(visits)) == (100, 100)
