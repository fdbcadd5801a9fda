"""Keys of `fast_key`: what they are, that `jax.random` takes them, and how random they are."""

import functools
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.random import define_prng_impl

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, NoiseOperator, Pipeline
from dagrax.pure._random import _fast_key
from tests.plainly import told
from tests.reference import stable_hash

KEY = dp.fast_key(7)
ZEROS = jnp.zeros((12, 5))
WORDS = jax.random.key_data


# The generator


@pytest.mark.parametrize(
    ("key", "counter", "block"),
    [
        ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFD36D048, 0x2D17272C)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xBA3E4725, 0xF27D669E)),
    ],
)
def test_it_is_the_published_threefry_of_13_rounds(
    key: tuple[int, int], counter: tuple[int, int], block: tuple[int, int]
) -> None:
    # From `kat_vectors` of Random123, the authors' own implementation.
    first, second = counter
    found = _fast_key.threefry(jnp.uint32(key), jnp.uint32(first), np.uint32(second))
    assert (int(found[0]), int(found[1])) == block


def test_the_numbers_do_not_change_from_release_to_release() -> None:
    key = dp.fast_key(0)
    assert jax.random.bits(key, (3,)).tolist() == [2635882182, 4259163451, 552437156]
    assert WORDS(jax.random.fold_in(key, 3)).tolist() == [2689957242, 13762866]
    assert WORDS(jax.random.split(key, 1)).tolist() == [[1499741821, 3448488817]]
    assert WORDS(dp.fast_key(2**32 - 1)).tolist() == [0, 2**32 - 1]


@pytest.mark.parametrize("width", [8, 16])
def test_narrow_numbers_are_the_low_bits_of_wide_ones(width: int) -> None:
    bits = jax.random.bits(KEY, (100,), f"uint{width}")
    assert bits.dtype == f"uint{width}"
    np.testing.assert_array_equal(bits, np.asarray(jax.random.bits(KEY, (100,))) % 2**width)


def test_wide_numbers_are_whole_blocks() -> None:
    with jax.enable_x64(True):
        wide = np.asarray(jax.random.bits(KEY, (100,), "uint64"))
        large = WORDS(jax.random.key(2**40 + 3, impl=jax.random.key_impl(KEY)))
        same = jax.random.bits(dp.fast_key(7), (100,), "uint32")
    np.testing.assert_array_equal(wide >> 32, jax.random.bits(KEY, (100,)))
    np.testing.assert_array_equal(same, jax.random.bits(KEY, (100,)))
    assert len({*(wide % 2**32)}) == 100
    assert large.tolist() == [256, 3]


# A key like any other


@pytest.mark.parametrize("shape", [(), (0,), (12,), (3, 4)])
def test_draws_depend_on_nothing_but_the_key(shape: tuple[int, ...]) -> None:
    keys = jax.random.split(KEY, 5)
    batch = jax.jit(jax.vmap(lambda key: jax.random.bits(key, shape)))(keys)
    for key, bits in zip(keys, batch, strict=True):
        np.testing.assert_array_equal(bits, jax.random.bits(key, shape))
        np.testing.assert_array_equal(bits.reshape(-1), jax.random.bits(key, (12,))[: bits.size])


def test_folding_and_splitting_depend_on_nothing_but_the_key() -> None:
    keys = jax.random.split(KEY, (2, 3))
    folded = jax.jit(jax.vmap(jax.vmap(jax.random.fold_in), in_axes=(0, None)))
    found = folded(keys, jnp.arange(3))
    np.testing.assert_array_equal(
        WORDS(found[1, 2]), WORDS(jax.random.fold_in(jax.random.split(KEY, 6)[5], 2))
    )
    _, scanned = jax.lax.scan(lambda _, i: (None, jax.random.fold_in(KEY, i)), None, jnp.arange(3))
    for i, key in enumerate(scanned):
        np.testing.assert_array_equal(WORDS(key), WORDS(jax.random.fold_in(KEY, i)))


@pytest.mark.parametrize(
    "draw",
    [
        jax.random.uniform,
        jax.random.normal,
        jax.random.bernoulli,
        lambda key: jax.random.normal(key, (3,), jnp.bfloat16),
        lambda key: jax.random.randint(key, (3,), 0, 9),
        lambda key: jax.random.permutation(key, 5),
        lambda key: jax.random.gamma(key, 2.0, (3,)),
        lambda key: jax.random.categorical(key, jnp.zeros(4)),
    ],
)
def test_distributions_take_it(draw: Callable[[jax.Array], jax.Array]) -> None:
    found = jax.jit(draw)(KEY)
    np.testing.assert_array_equal(found, draw(jax.random.clone(KEY)))
    assert bool(jnp.isfinite(found.astype(jnp.float32)).all())


def test_gradients_pass_beside_it() -> None:
    loss = lambda scale, key: scale * jax.random.normal(key)  # noqa: E731
    np.testing.assert_array_equal(jax.grad(loss)(2.0, KEY), jax.random.normal(KEY))


def test_a_key_returns_from_its_words() -> None:
    again = jax.random.wrap_key_data(WORDS(KEY), impl=jax.random.key_impl(KEY))
    assert again.dtype == KEY.dtype
    np.testing.assert_array_equal(jax.random.bits(again), jax.random.bits(KEY))


NAME = "threefry2x32-13"


def test_item_37_jax_knows_the_generator_by_its_name() -> None:
    assert jax.random.key_impl(KEY) == NAME
    assert jax.random.key(7, impl=NAME).dtype == KEY.dtype
    np.testing.assert_array_equal(WORDS(jax.random.key(7, impl=NAME)), WORDS(KEY))
    np.testing.assert_array_equal(
        WORDS(jax.random.wrap_key_data(WORDS(KEY), impl=NAME)), WORDS(KEY)
    )


BY_NAME = """
import jax, jax.numpy as jnp
words = jnp.asarray([0, 7], jnp.uint32)
import dagrax.pure as dp
"""
CALLS = [
    f'1 / bool((jax.random.wrap_key_data(words, impl="{NAME}") == dp.fast_key(7)).all())',
    'jax.random.poisson(jax.random.wrap_key_data(words, impl="threefry2x32"), 3.0)',
]


def test_item_37_importing_the_core_is_enough_to_name_it() -> None:
    assert told(BY_NAME, CALLS) == {call: ("nothing", "") for call in CALLS}


@pytest.mark.parametrize("named", [True, False], ids=["a template", "no template"])
def test_item_37_orbax_restores_a_fast_key_and_the_model_beside_it(
    tmp_path: Path, named: bool
) -> None:
    import orbax.checkpoint as ocp  # slow to import, and asked for by flax alone

    tree = {"seed": KEY, "seeds": jax.random.split(KEY, 3), "w": jnp.arange(4.0)}
    with ocp.StandardCheckpointer() as saver:
        saver.save(tmp_path / "saved", tree)
    template = jax.tree.map(ocp.utils.to_shape_dtype_struct, tree) if named else None
    with ocp.StandardCheckpointer() as restorer:
        found = restorer.restore(tmp_path / "saved", template)
    np.testing.assert_array_equal(found["w"], tree["w"])
    for name in ("seed", "seeds"):
        assert found[name].dtype == KEY.dtype
        np.testing.assert_array_equal(WORDS(found[name]), WORDS(tree[name]))


def test_a_second_copy_of_the_module_makes_keys_that_draw_alike() -> None:
    other = runpy.run_path(str(_fast_key.__file__))["fast_key"](7)
    assert other.dtype == KEY.dtype
    keys = dp.Pipeline.linear([lambda batch, *, record_keys: record_keys])
    own, others = (dp.apply(keys, ZEROS, key=key) for key in (KEY, other))
    assert others.dtype == other.dtype
    np.testing.assert_array_equal(WORDS(own), WORDS(others))


# In a pipeline


def noisy_pipeline(seed: int) -> Pipeline:
    source = MemorySource(
        MemorySourceConfig(shuffle=True),
        data={"image": ZEROS},
        rngs=nnx.Rngs(shuffle=dp.fast_key(1)),
    )
    rngs = nnx.Rngs(pipeline=dp.fast_key(seed))
    return Pipeline(source=source, stages=[NoiseOperator(0.1)], batch_size=4, rngs=rngs)


def images(batches: Any) -> Any:
    return np.concatenate([np.asarray(batch["image"]) for batch in batches])


def test_for_scan_and_the_pure_core_draw_alike() -> None:
    expected = images(noisy_pipeline(0))
    assert len(np.unique(expected)) == 60
    scanned = noisy_pipeline(0).scan(lambda batch: batch, length=3)["image"]
    np.testing.assert_allclose(scanned.reshape(12, 5), expected, rtol=1e-5)

    noise = dp.per_record(lambda record, *, key: record + 0.1 * jax.random.normal(key, (5,)))
    pure = dp.Pipeline.from_dag(nodes={"noise": noise}, edges={"noise": []}, sink="noise")
    order = dp.Shuffled(nnx.Rngs(shuffle=dp.fast_key(1)).shuffle())
    stream = dp.Stream(dp.ArraySource(ZEROS), order, batch_size=4)
    key = nnx.Rngs(pipeline=dp.fast_key(0)).pipeline()
    batches = [batch for _, batch in dp.epoch(pure, stream, stream.start(), key=key)]
    np.testing.assert_allclose(np.concatenate(batches), expected, rtol=1e-5)


def test_it_survives_split_checkpoint_and_variants() -> None:
    expected = [images([noisy_pipeline(seed).step()]) for seed in (0, 1)]
    np.testing.assert_array_equal(
        images([nnx.merge(*nnx.split(noisy_pipeline(0))).step()]), expected[0]
    )
    restored = noisy_pipeline(0)
    restored.step()
    nnx.update(restored, noisy_pipeline(0).checkpoint())
    np.testing.assert_array_equal(images([restored.step()]), expected[0])
    variants = Pipeline.variants([noisy_pipeline(0), noisy_pipeline(1)])
    np.testing.assert_allclose(variants.step()["image"], np.stack(expected), rtol=1e-5)
    with pytest.raises(ValueError, match="another seed"):
        iter(noisy_pipeline(1)).set_state(iter(noisy_pipeline(0)).get_state())


def test_a_fingerprint_tells_the_kinds_of_key_apart() -> None:
    stream = dp.Stream(dp.ArraySource(np.zeros(4)), batch_size=2)
    pipeline = dp.Pipeline.linear([lambda batch: batch])
    marks = [
        dp.fingerprint(pipeline, stream, key)["seed"]
        for key in (dp.fast_key(0), jax.random.key(0), dp.fast_key(0))
    ]
    assert marks[0] == marks[2] != marks[1]


# How random it is: the same statistics, at the same level, for JAX's generator and for this one,
# of the streams that records, epochs, nodes and seeds make of it. A weak generator fails each.


def _weak_bits(key: Any, width: int, shape: tuple[int, ...]) -> Any:
    counter = jax.lax.iota(np.uint32, int(np.prod(shape))).reshape(shape)
    return (counter + key[0]) * np.uint32(0x9E3779B1) ^ key[1]


def _weak_fold(key: Any, data: Any) -> Any:
    return jnp.stack([(data + key[0]) * np.uint32(0x85EBCA6B), key[1] + data])


WEAK: Any = define_prng_impl(
    key_shape=(2,),
    seed=lambda seed: jnp.stack([seed.astype(np.uint32), np.uint32(1)]),
    split=lambda key, shape: jax.vmap(_weak_fold, in_axes=(None, 0))(key, ids(*shape)),
    random_bits=_weak_bits,
    fold_in=_weak_fold,
    name="weak",
    tag="weak",
)
SEEDS: dict[str, Callable[[int], jax.Array]] = {
    "threefry": jax.random.key,
    "fast": dp.fast_key,
    "weak": lambda seed: jax.random.key(np.uint32(seed), impl=WEAK),
}
GOOD = ["threefry", "fast"]
SIZE = 2**17

fold = jax.random.fold_in
folds = jax.jit(jax.vmap(fold, in_axes=(None, 0)))
each_folded = jax.jit(jax.vmap(fold, in_axes=(0, None)))


@functools.partial(jax.jit, static_argnums=1)
def words(keys: jax.Array, count: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.bits(key, (count,)))(keys)


def ids(count: int) -> jax.Array:
    return jnp.arange(count, dtype=jnp.uint32)


@functools.cache
def streams(kind: str) -> dict[str, Any]:
    """Words in the orders in which a pipeline meets them."""
    node = fold(SEEDS[kind](7), stable_hash("record:noise"))
    epoch = fold(node, 0)
    records = folds(epoch, ids(SIZE))
    many_epochs = each_folded(folds(node, ids(SIZE // 4)), 3)
    nodes = each_folded(each_folded(folds(SEEDS[kind](7), ids(SIZE // 4)), 0), 3)
    impl: Any = jax.random.key_impl(node)
    seeds = jax.vmap(lambda seed: jax.random.key(seed, impl=impl))(ids(SIZE))
    first = np.asarray(words(records, 8))
    found = {
        "first word of each record": first[:, 0],
        "records, eight words each": first[: SIZE // 8].reshape(-1),
        "words, transposed": np.asarray(words(records[:256], SIZE // 256)).T.reshape(-1),
        "epochs, four words each": np.asarray(words(many_epochs, 4)).reshape(-1),
        "nodes, four words each": np.asarray(words(nodes, 4)).reshape(-1),
        "seeds": np.asarray(words(seeds, 1))[:, 0],
        "one key": np.asarray(words(records[3:4], SIZE))[0],
        "keys of records": np.asarray(WORDS(records[: SIZE // 2])).reshape(-1),
    }
    return {name: np.ascontiguousarray(x) for name, x in found.items()}


def chi_square(counts: Any) -> float:
    """How far the counts are from equal, in standard deviations."""
    expected = counts.sum() / counts.size
    degrees = counts.size - 1
    return float((((counts - expected) ** 2 / expected).sum() - degrees) / np.sqrt(2 * degrees))


def repeats(x: Any) -> int:
    """How many of the numbers were there before."""
    ordered = np.sort(x)
    return int((ordered[1:] == ordered[:-1]).sum())


def bits_of(x: Any) -> Any:
    return np.unpackbits(x.view(np.uint8).reshape(-1, 4), axis=1)


def byte_counts(x: Any) -> Iterator[float]:
    for shift in (0, 8, 16, 24):
        yield chi_square(np.bincount(x >> shift & 255, minlength=256))


def bit_counts(x: Any) -> Iterator[float]:
    yield from (bits_of(x).sum(0) - len(x) / 2) / np.sqrt(len(x) / 4)


def runs(x: Any) -> Iterator[float]:
    turns = bits_of(x[1:] ^ x[:-1]).sum(0)
    yield from (turns - (len(x) - 1) / 2) / np.sqrt((len(x) - 1) / 4)


def serial(x: Any) -> Iterator[float]:
    for shift in (0, 12, 25):
        part = x >> shift & 127
        pairs = part[:-1:2] << 7 | part[1::2]
        yield chi_square(np.bincount(pairs, minlength=2**14))


def lagged_bits(x: Any) -> Iterator[float]:
    for lag in (1, 2, 3, 4, 8, 256, 1024, 3072):
        both = np.bitwise_count(x[lag:] ^ x[:-lag]).sum(dtype=np.int64)
        yield (both - 16 * (len(x) - lag)) / np.sqrt(8 * (len(x) - lag))


def lagged_numbers(x: Any) -> Iterator[float]:
    centred = (x / 2**32 - 0.5) * np.sqrt(12)
    for lag in (1, 2, 3, 4, 8, 256, 1024, 3072):
        yield centred[lag:] @ centred[:-lag] / np.sqrt(len(x) - lag)


def hamming_weights(x: Any) -> Iterator[float]:
    weights = np.bitwise_count(x).astype(np.float64)
    low = np.clip(weights, 11, 21).astype(np.int64) - 11
    yield (((weights - 16) ** 2 / 8).mean() - 1) * np.sqrt(len(x) / 2)
    pairs = np.bincount(low[:-1:2] * 11 + low[1::2], minlength=121).reshape(11, 11)
    expected = pairs.sum(1, keepdims=True) * pairs.sum(0, keepdims=True) / pairs.sum()
    yield (((pairs - expected) ** 2 / np.maximum(expected, 1)).sum() - 100) / np.sqrt(200)


def birthday_spacings(x: Any) -> Iterator[float]:
    # As in Marsaglia's Diehard: 512 birthdays in 2**24 days, about Poisson(2) equal spacings.
    for shift in (0, 4, 8):
        days = np.sort((x >> shift & 0xFFFFFF).reshape(-1, 512), axis=1)
        spacings = np.sort(np.diff(days.astype(np.int64), axis=1), axis=1)
        equal = (np.diff(spacings, axis=1) == 0).sum()
        yield (equal - 2 * len(days)) / np.sqrt(2 * len(days))


def collisions(x: Any) -> Iterator[float]:
    for shift in (0, 4, 8):
        cells = 2.0**24
        expected = len(x) - cells * -np.expm1(len(x) * np.log1p(-1 / cells))
        yield (repeats(x >> shift & 0xFFFFFF) - expected) / np.sqrt(expected)


def kolmogorov_smirnov(x: Any) -> Iterator[float]:
    ranks = np.sort(x / 2**32) - (np.arange(len(x)) + 0.5) / len(x)
    # Of Kolmogorov's distribution 2.7 and 0.28 leave out less than one in 10**5 at each end.
    statistic = np.abs(ranks).max() * np.sqrt(len(x))
    yield 0.0 if 0.28 < statistic < 2.7 else np.inf


STATISTICS: list[Callable[[Any], Iterator[float]]] = [
    byte_counts,
    bit_counts,
    runs,
    serial,
    lagged_bits,
    lagged_numbers,
    hamming_weights,
    birthday_spacings,
    collisions,
    kolmogorov_smirnov,
]
# Of a good generator about one in a million of such numbers is larger, and here are about 900.
LIMIT = 5.0


def worst(statistic: Callable[[Any], Iterator[float]], kind: str) -> dict[str, float]:
    """By stream, the largest deviation in standard deviations."""
    return {name: max(map(abs, statistic(x))) for name, x in streams(kind).items()}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda x: x.__name__)
def test_streams_look_random(statistic: Callable[[Any], Iterator[float]], kind: str) -> None:
    assert {n: z for n, z in worst(statistic, kind).items() if not z < LIMIT} == {}


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda x: x.__name__)
def test_the_statistics_reject_a_weak_generator(
    statistic: Callable[[Any], Iterator[float]],
) -> None:
    assert max(worst(statistic, "weak").values()) > 2 * LIMIT


def test_one_key_repeats_its_numbers_as_often_as_chance_does() -> None:
    for kind, low, high in (("threefry", 80, 180), ("fast", 80, 180), ("weak", 0, 0)):
        found = repeats(np.asarray(words(SEEDS[kind](3)[None], 2**20))[0])
        assert low <= found <= high  # 128 are expected; a generator that is a bijection has none


def avalanche(kind: str, flipped: str) -> tuple[float, float]:
    """The largest deviation from one half of an output bit, and from equal of an output byte."""
    count = 2**15
    base = folds(SEEDS[kind](5), ids(count))
    impl = jax.random.key_impl(base)
    counters = jnp.arange(count, dtype=jnp.uint32) % 64

    @jax.jit
    def output(data: jax.Array, counters: jax.Array) -> jax.Array:
        keys = jax.random.wrap_key_data(data, impl=impl)
        if flipped == "key of draws":
            return jax.vmap(lambda key: jax.random.bits(key, (2,)))(keys)
        return WORDS(jax.vmap(fold)(keys, counters))

    data = WORDS(base)
    before = np.asarray(output(data, counters))
    largest = [0.0, 0.0]
    for bit in range(32) if flipped == "number folded in" else range(64):
        mask = np.uint32(2 ** (bit % 32)) * np.eye(2, dtype=np.uint32)[bit // 32]
        after = (
            output(data, counters ^ np.uint32(2**bit))
            if flipped == "number folded in"
            else output(data ^ mask[None], counters)
        )
        for change in (before ^ np.asarray(after)).T.copy():
            share = (bits_of(change).sum(0) - count / 2) / np.sqrt(count / 4)
            largest[0] = max(largest[0], float(np.abs(share).max()))
            largest[1] = max(largest[1], *map(abs, byte_counts(change)))
    return largest[0], largest[1]


@pytest.mark.parametrize("flipped", ["key of draws", "key folded into", "number folded in"])
@pytest.mark.parametrize("kind", GOOD)
def test_one_flipped_bit_changes_each_bit_of_the_output_half_the_time(
    kind: str, flipped: str
) -> None:
    assert max(avalanche(kind, flipped)) < LIMIT + 0.5  # of some 5000 numbers
    assert max(avalanche("weak", flipped)) > 10 * LIMIT


@pytest.mark.parametrize("kind", GOOD)
def test_no_two_of_a_million_records_share_a_key(kind: str) -> None:
    node = fold(SEEDS[kind](0), stable_hash("record:noise"))
    epochs = folds(node, ids(8))
    keys = np.asarray(WORDS(jax.jit(jax.vmap(folds, in_axes=(0, None)))(epochs, ids(2**17))))
    both = keys.astype(np.uint64)
    whole = (both[..., 0] << np.uint64(32) | both[..., 1]).reshape(-1)
    assert repeats(whole) == 0
    for half in keys.reshape(-1, 2).T:
        assert 80 <= repeats(half) <= 180  # 128 are expected


def neighbours(kind: str) -> dict[str, jax.Array]:
    """Keys of 256 records, epochs, nodes or seeds in a row, and of what splits give."""
    node = fold(SEEDS[kind](7), 9)
    seeds = jnp.stack([SEEDS[kind](seed) for seed in range(256)])
    return {
        "records": folds(fold(node, 0), ids(256)),
        "epochs": each_folded(folds(node, ids(256)), 3),
        "nodes": each_folded(each_folded(folds(SEEDS[kind](7), ids(256)), 0), 3),
        "seeds": seeds,
        "split": jax.random.split(node, 256),
    }


@pytest.mark.parametrize("kind", GOOD)
def test_neighbouring_streams_are_uncorrelated(kind: str) -> None:
    for name, keys in neighbours(kind).items():
        largest, spread = correlations(keys)
        assert largest < LIMIT + 0.5, name  # of 32640 pairs
        assert abs(spread) < LIMIT, name
    largest, spread = correlations(neighbours("weak")["records"])
    assert largest > 2 * LIMIT
    assert abs(spread) > 2 * LIMIT


def correlations(keys: jax.Array) -> tuple[float, float]:
    """The largest of all pairs of streams, and the sum of their squares, in deviations."""
    count = 1024
    numbers = (np.asarray(words(keys, count)) / 2**32 - 0.5) * np.sqrt(12)
    z = (numbers @ numbers.T / np.sqrt(count))[np.triu_indices(len(numbers), 1)]
    return float(np.abs(z).max()), float(((z**2).mean() - 1) * np.sqrt(z.size / 2))


def test_draws_folds_and_splits_of_one_key_have_nothing_in_common() -> None:
    drawn = np.asarray(words(KEY[None], 2**14))[0]
    folded = np.asarray(WORDS(folds(KEY, ids(2**14))))
    split = np.asarray(WORDS(jax.random.split(KEY, 2**14)))
    every = [drawn, *folded.T, *split.T]
    for i, x in enumerate(every):
        for y in every[:i]:
            z = (np.bitwise_count(x ^ y).sum(dtype=np.int64) - 2**18) / np.sqrt(2**17)
            assert abs(z) < LIMIT
