"""Where a compiled program may not fuse: the same numbers, finished before they are used."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import dagrax.pure as dp
from dagrax.pure._apart import apart, settled
from dagrax.pure._flow import _stream
from tests.platforms import on_a_cpu

OPTIMIZED = True

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
BATCH = 24  # of 24 x 3072 bytes, large enough to be set apart


def darken(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "image": batch["image"].astype(jnp.float32) * np.float32(1 / 255)}


def mirror(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "image": batch["image"][..., ::-1, :]}


PIPELINE: dp.Pipeline[Any, Any] = dp.Pipeline.linear([darken, mirror])


def stream_of(data: Any, order: dp.AbstractOrder | None = None) -> dp.Stream[Any]:
    return dp.Stream(dp.ArraySource(data), order, batch_size=BATCH, remainder="carry")


def scanned(data: Any, reduce: Any, length: int = 3) -> Any:
    stream = stream_of(data, dp.Shuffled(jax.random.key(0)))
    body = lambda carry, batch: (carry, reduce(batch))  # noqa: E731
    return dp.scan(body, None, PIPELINE, stream, stream.start(), length=length)[2]


OFFSET = jnp.asarray(3, jnp.uint32)


# What a reduction reads


def reduced(text: str) -> set[str]:
    """What the numbers that are reduced come from: operations in the same computation."""
    found = set()
    for computation in text.split("\n}\n"):
        made = dict(re.findall(r"(%[\w.-]+) = .*? ([a-z-]+)\(", computation))
        names = re.findall(r" reduce\((%[\w.-]+),", computation)
        found |= {made[name] for name in names}
    return found


@on_a_cpu
@pytest.mark.parametrize("reduce", [jnp.sum, jnp.mean, jnp.max])
@pytest.mark.parametrize("loop", ["scan", "step"])
def test_what_reduces_a_batch_reads_it_and_computes_none_of_it(loop: str, reduce: Any) -> None:
    def program(images: jax.Array, cursor: dp.Cursor) -> Any:
        if loop == "scan":
            return scanned({"image": images}, lambda batch: reduce(batch["image"]))
        stream = stream_of({"image": images}, dp.Shuffled(jax.random.key(0)))
        return reduce(dp.step(PIPELINE, stream, cursor)[1]["image"])

    cursor = dp.Cursor(np.uint32(0), np.uint32(0))
    text = jax.jit(program).lower(jnp.asarray(IMAGES), cursor).compile().as_text() or ""
    assert reduced(text) and reduced(text) <= {"parameter", "get-tuple-element", "while"}


def test_a_program_holds_batches_but_no_copy_of_the_data() -> None:
    data = jax.ShapeDtypeStruct((10**5, 32, 32, 3), jnp.uint8)
    program = jax.jit(lambda x: scanned({"image": x}, lambda batch: batch["image"].sum()))
    memory = program.lower(data).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 16 * 4 * BATCH * 3072 < data.size / 60


@on_a_cpu
@pytest.mark.parametrize("side", ["image", "label"])
def test_a_field_that_nobody_uses_is_not_read(side: str) -> None:
    shapes = {
        "image": jax.ShapeDtypeStruct((40, 32, 32, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((40, 999, 7), jnp.float32),
    }
    program = jax.jit(lambda data: scanned(data, lambda batch: batch[side].max()))
    text = program.lower(shapes).compile().as_text() or ""
    read = {"image": "u8[24,32,32,3]", "label": "f32[24,999,7]"}
    assert {name for name, shape in read.items() if shape in text} == {side}


# The numbers


@pytest.mark.parametrize(
    "dtype", [np.float32, np.int32, np.uint8, np.bool_, np.complex64, jnp.bfloat16, np.float16]
)
@pytest.mark.parametrize("shape", [(24, 9000), (24, 100, 99), (200_000,)])
def test_a_batch_is_handed_on_as_it_is(shape: tuple[int, ...], dtype: Any) -> None:
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, shape)).astype(dtype)
    for run in (apart, jax.jit(apart)):
        kept = run({"x": x, "y": None}, OFFSET)
        assert kept["y"] is None
        assert kept["x"].dtype == dtype
        np.testing.assert_array_equal(kept["x"], x)


def test_keys_numbers_and_small_fields_pass_by() -> None:
    batch = {"keys": jax.random.split(jax.random.key(0), 10**5), "n": 3, "x": jnp.zeros((8, 8, 3))}
    assert "while" not in str(jax.make_jaxpr(apart)(batch, OFFSET))
    assert jax.jit(apart)(batch, OFFSET)["n"] == 3


def test_fields_of_fewer_axes_than_asked_for_pass_by() -> None:
    batch = {"x": jnp.zeros((24, 9000))}
    assert "while" in str(jax.make_jaxpr(lambda x: apart(x, OFFSET))(batch))
    assert "while" not in str(jax.make_jaxpr(lambda x: apart(x, OFFSET, axes=3))(batch))


def test_ids_are_handed_on_as_they_are() -> None:
    ids = jnp.asarray([3, 1, 2**31], jnp.uint32)
    for run in (settled, jax.jit(settled)):
        np.testing.assert_array_equal(run(ids, OFFSET), ids)


@pytest.mark.parametrize("mode", ["reverse", "forward", "twice"])
def test_derivatives_pass_as_they_are(mode: str) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(24, 1000)), jnp.float32)

    def loss(w: jax.Array, kept: bool) -> jax.Array:
        batch = {"x": x * w, "n": jnp.arange(24 * 1000).reshape(24, 1000)}
        batch = apart(batch, OFFSET) if kept else batch
        return jnp.sum(batch["x"] ** 3 * batch["n"].astype(jnp.float32))

    slopes: dict[str, Any] = {
        "reverse": jax.grad,
        "forward": jax.jacfwd,
        "twice": lambda f: jax.grad(jax.grad(f)),
    }
    found, expected = (
        jax.jit(slopes[mode](lambda w, kept=kept: loss(w, kept)))(2.0) for kept in (True, False)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_slope_by_the_data_passes_through_a_scan() -> None:
    images = jnp.asarray(IMAGES, jnp.float32)
    total = lambda x: jnp.sum(scanned({"image": x}, lambda b: (b["image"] ** 2).sum(), 5))  # noqa: E731
    found = jax.jit(jax.grad(total))(images)
    # Five batches of 24 are three epochs of 40 records.
    np.testing.assert_allclose(found, 3 * 2 * images / 255**2, rtol=1e-4)


def test_it_goes_over_an_axis_of_variants() -> None:
    x = jnp.arange(3.0 * 24 * 1000).reshape(3, 24, 1000)
    np.testing.assert_array_equal(jax.jit(jax.vmap(apart, (0, None)))(x, OFFSET), x)
    offsets = jnp.arange(3, dtype=jnp.uint32)
    np.testing.assert_array_equal(jax.jit(jax.vmap(apart))(x, offsets), x)


@pytest.mark.parametrize("numbers", [4, 32 * 32 * 3], ids=["small records", "large records"])
def test_a_check_may_be_made_of_batches_that_are_read_side_by_side(numbers: int) -> None:
    data = np.arange(40 * numbers, dtype=np.float32).reshape(40, numbers)
    stream = stream_of(data, dp.Shuffled(jax.random.key(0)))

    def batch_at(offset: Any) -> Any:
        return stream.take(dp.Cursor(jnp.uint32(0), offset))[1]

    offsets = jnp.arange(0, 30, 10, dtype=jnp.uint32)
    batches = jax.vmap(batch_at)
    error, found = jax.jit(checkify.checkify(batches, errors=checkify.all_checks))(offsets)
    assert error.get() is None
    np.testing.assert_array_equal(found, batches(offsets))


# On an accelerator


@pytest.fixture
def without_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan that finds its places step by step, as a CPU does."""
    monkeypatch.setattr(_stream, "is_worth_a_table", lambda records: False)


def lowered(platform: str) -> str:
    traced: Any = jax.jit(
        lambda x: scanned({"image": x}, lambda batch: batch["image"].sum())
    ).trace(jax.ShapeDtypeStruct(IMAGES.shape, jnp.uint8))
    text: str = traced.lower(lowering_platforms=(platform,)).as_text()
    return text


@pytest.mark.usefixtures("without_a_table")
def test_the_order_stands_behind_a_barrier_on_an_accelerator() -> None:
    text = lowered("cuda")
    (line,) = [x for x in text.splitlines() if "optimization_barrier" in x]
    assert f"tensor<{BATCH}xui32>" in line


@pytest.mark.usefixtures("without_a_table")
def test_on_an_accelerator_nothing_else_is_held_up() -> None:
    assert lowered("cuda").count("stablehlo.while") == 1  # the scan itself
    assert lowered("cpu").count("stablehlo.while") == 5  # and slices, ids, records and batch
    assert "optimization_barrier" not in lowered("cpu")
