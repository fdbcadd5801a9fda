"""Operators of colour, blur and noise do what their functions do, with magnitudes that learn."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import checkify

import dagrax.pure as dp
from dagrax.nnx_api import Element, MemorySource, OperatorModule, Pipeline
from dagrax.nnx_api import operators as op
from dagrax.pure import ops
from dagrax.pure.ops._draws import about, between, ranks
from tests.operators.pictures import floats, photograph

MEAN, STD = np.array([0.4, 0.5, 0.6], np.float32), np.array([0.2, 0.3, 0.4], np.float32)

# Each operator as it is written, and what it does to an image: with a key, if it draws.
PLAIN: dict[str, tuple[OperatorModule, Callable[..., Any]]] = {
    "brightness": (op.Brightness(0.3), lambda x: ops.adjust_brightness(x, 0.3)),
    "contrast": (op.Contrast(1.5), lambda x: ops.adjust_contrast(x, 1.5)),
    "saturation": (op.Saturation(0.5), lambda x: ops.adjust_saturation(x, 0.5)),
    "hue": (op.Hue(0.2), lambda x: ops.adjust_hue(x, 0.2)),
    "gamma": (op.Gamma(2.0), lambda x: ops.adjust_gamma(x, 2.0)),
    "sharpness": (
        op.Sharpness(3.0, clip=False),
        lambda x: ops.adjust_sharpness(x, 3.0, clip=False),
    ),
    "grayscale": (op.Grayscale(), ops.rgb_to_grayscale),
    "invert": (op.Invert(), ops.invert),
    "solarize": (op.Solarize(0.6), lambda x: ops.solarize(x, 0.6)),
    "posterize": (op.Posterize(2), lambda x: ops.posterize(x, 2)),
    "equalize": (op.Equalize(), ops.equalize),
    "auto_contrast": (op.AutoContrast(), ops.autocontrast),
    "normalize": (op.Normalize(MEAN, STD), lambda x: ops.normalize(x, MEAN, STD)),
    "to_uint8": (op.ToUint8(), lambda x: np.round(x * 255)),
    "gaussian_blur": (op.GaussianBlur(1.2), lambda x: ops.gaussian_blur(x, 1.2)),
}
RANDOM: dict[str, tuple[OperatorModule, Callable[..., Any]]] = {
    "random_brightness": (
        op.RandomBrightness(0.5),
        lambda x, key: ops.adjust_brightness(x, uniform(key, -0.5, 0.5)),
    ),
    "random_contrast": (
        op.RandomContrast(0.5),
        lambda x, key: ops.adjust_contrast(x, uniform(key, 0.5, 1.5)),
    ),
    "random_saturation": (
        op.RandomSaturation(0.5),
        lambda x, key: ops.adjust_saturation(x, uniform(key, 0.5, 1.5)),
    ),
    "random_hue": (op.RandomHue(0.5), lambda x, key: ops.adjust_hue(x, uniform(key, -0.5, 0.5))),
    "random_gamma": (
        op.RandomGamma(0.5),
        lambda x, key: ops.adjust_gamma(x, uniform(key, 0.5, 1.5)),
    ),
    "random_sharpness": (
        op.RandomSharpness(0.5),
        lambda x, key: ops.adjust_sharpness(x, uniform(key, 0.5, 1.5)),
    ),
    "color_jitter": (
        op.ColorJitter(0.2, 0.3, 0.4, 0.1),
        lambda x, key: ops.color_jitter(x, 0.2, 0.3, 0.4, 0.1, key=key),
    ),
    "random_grayscale": (
        op.RandomGrayscale(0.5),
        lambda x, key: jnp.where(
            jax.random.uniform(key) < 0.5, ops.rgb_to_grayscale(x, keep_channels=True), x
        ),
    ),
    "random_gaussian_blur": (
        op.RandomGaussianBlur((0.5, 1.0)),
        lambda x, key: ops.gaussian_blur(x, uniform(key, 0.5, 1.0), 4),
    ),
    "gaussian_noise": (op.GaussianNoise(0.1), lambda x, key: ops.gaussian_noise(x, 0.1, key=key)),
    "salt_and_pepper": (op.SaltAndPepper(0.1), lambda x, key: ops.salt_and_pepper(x, 0.1, key=key)),
    "poisson_noise": (op.PoissonNoise(50.0), lambda x, key: ops.poisson_noise(x, 50.0, key=key)),
    "coarse_dropout": (
        op.CoarseDropout(2, (2, 3), (0.1, 0.2, 0.3)),
        lambda x, key: ops.coarse_dropout(x, 2, (2, 3), (0.1, 0.2, 0.3), key=key),
    ),
    "random_erasing": (
        op.RandomErasing(0.9, (0.1, 0.2), (0.5, 2.0)),
        lambda x, key: ops.random_erase(x, 0.9, (0.1, 0.2), (0.5, 2.0), key=key),
    ),
}
EVERY = PLAIN | RANDOM
SIZE = (18, 21)


def uniform(key: Any, low: float, high: float) -> Any:
    return jax.random.uniform(key, minval=low, maxval=high)


def images(count: int = 5, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Pieces of a photograph."""
    whole, (height, width) = floats(photograph(1)), size
    return np.stack([whole[2 * at : 2 * at + height, at : at + width] for at in range(count)])


def fielded(operators: dict[str, Any]) -> dict[str, Any]:
    """The operators, each on the field that bears its name."""
    for name, operator in operators.items():
        operator.fields = ((name, "image"),)
    return operators


@pytest.fixture
def own_fields() -> Any:
    yield fielded({name: operator for name, (operator, _) in EVERY.items()})
    own: Any
    for own, _ in EVERY.values():
        own.fields = None
        own.train()


def test_an_operator_does_what_its_function_does() -> None:
    batch = images(3)
    keys = jax.random.split(jax.random.key(0), len(batch))

    @jax.jit
    def both() -> dict[str, Any]:
        plain = {
            name: (operator({"image": batch})["image"], jax.vmap(function)(batch))
            for name, (operator, function) in PLAIN.items()
        }
        drawn = {
            name: (
                operator({"image": batch}, record_keys=keys)["image"],
                jax.vmap(lambda x, key, f=function: f(x, key))(batch, keys),
            )
            for name, (operator, function) in RANDOM.items()
        }
        return plain | drawn

    for name, (found, right) in both().items():
        found = found.astype(jnp.float32)
        assert np.abs(found - right).max() < 2e-6, name
        assert found.shape != batch.shape or np.abs(found - batch).max() > 0.05, name


class Backwards(dp.AbstractOrder):
    """The last record first."""

    def length(self, size: int) -> int:
        return size

    def ids(self, positions: Any, epoch: Any, size: Any) -> Any:
        return np.uint32(size - 1) - positions


def test_one_record_draws_alike_in_every_batch(own_fields: dict[str, OperatorModule]) -> None:
    stages = {name: own_fields[name] for name in RANDOM}
    data = {**dict.fromkeys(stages, images(6)), "number": np.arange(6)}
    found = []
    for batch_size, order in ((2, dp.Sequential()), (3, Backwards())):
        source = MemorySource(data=data, order=order)
        pipeline = Pipeline(source=source, stages=stages, batch_size=batch_size, rngs=nnx.Rngs(0))
        batches = list(pipeline)
        rows = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        places = np.argsort(rows.pop("number"))
        found.append({name: row[places] for name, row in rows.items()})
    for name, row in found[0].items():
        assert np.allclose(row, found[1][name], atol=1e-6), name
        assert np.abs(row - images(6)).max() > 0.01, name


def test_those_that_draw_leave_images_as_they_are_in_eval(own_fields: dict[str, Any]) -> None:
    batch = {name: images(2) for name in RANDOM}
    for name in RANDOM:
        own_fields[name].eval()
        assert np.array_equal(own_fields[name](batch)[name], batch[name]), name
    for name in PLAIN:
        assert not own_fields[name].draws()
        own_fields[name].eval()  # nothing to turn off
    assert np.array_equal(own_fields["invert"]({"invert": images(2)})["invert"], 1 - images(2))


def test_images_alone_are_touched_and_all_of_them_by_one_draw() -> None:
    data = {
        "left": images(2),
        "right": images(2),
        "mask": np.ones((2, *SIZE), np.int32),
        "image": images(2),
    }
    operator = op.RandomBrightness(0.4, fields={"left": "image", "right": "image", "mask": "mask"})
    keys = jax.random.split(jax.random.key(0), 2)
    found = operator(data, record_keys=keys)
    assert np.array_equal(found["left"], found["right"])
    assert not np.array_equal(found["left"], data["left"])
    assert np.array_equal(found["mask"], data["mask"])
    assert np.array_equal(found["image"], data["image"])


def test_uint8_stays_exact_and_goes_to_floats_and_back() -> None:
    batch = np.stack([photograph(0)[:6, :9], photograph(1)[:6, :9]])
    assert np.array_equal(op.ToUint8()(op.ToFloat()({"image": batch}))["image"], batch)
    assert op.ToFloat()({"image": batch})["image"].dtype == jnp.float32
    assert np.array_equal(op.Invert()({"image": batch})["image"], 255 - batch)
    assert np.array_equal(op.Posterize(4)({"image": batch})["image"], batch & 0xF0)
    right = np.where(batch >= 128, 255 - batch, batch)
    assert np.array_equal(op.Solarize(128)({"image": batch})["image"], right)
    keys = jax.random.split(jax.random.key(0), 2)
    found = op.CoarseDropout(1, 2, 9)({"image": batch}, record_keys=keys)["image"]
    assert found.dtype == jnp.uint8
    assert ((found != batch).any(-1).sum((1, 2)) == 4).all()


# Order


def test_jitter_is_its_four_functions_in_an_order_that_is_drawn() -> None:
    image = images(1, (12, 15))[0]
    reach = np.array([0.3, 0.4, 0.5, 0.2], np.float32)
    functions = (
        lambda x, at: ops.adjust_brightness(x, at),
        lambda x, at: ops.adjust_contrast(x, 1 + at),
        lambda x, at: ops.adjust_saturation(x, 1 + at),
        lambda x, at: ops.adjust_hue(x, at),
    )

    @jax.jit
    def expected(key: Any) -> Any:
        moves, places = jax.random.uniform(key, (2, 4))
        found = image
        for function in jnp.argsort(places):
            at = (reach * (2 * moves - 1))[function]
            found = jax.lax.switch(function, functions, found, at)
        return found

    keys = jax.random.split(jax.random.key(3), 40)
    jitter = jax.jit(jax.vmap(lambda key: ops.color_jitter(image, *reach, key=key)))
    right = jax.jit(jax.vmap(expected))(keys)
    assert np.abs(jitter(keys) - right).max() < 2e-6
    some = jax.jit(
        jax.vmap(lambda key: ops.color_jitter(image, None, 0.4, None, 0.2, key=key, clip=False))
    )(keys)
    assert len(np.unique(np.asarray(some)[:, 0, 0], axis=0)) == 40
    plain = jax.jit(lambda key: ops.color_jitter(2 * image, key=key, clip=False))(keys[0])
    assert np.array_equal(plain, 2 * image)
    one = jax.jit(lambda key: ops.color_jitter(image[..., :1], *reach, key=key))(keys[0])
    assert one.shape == (12, 15, 1)


def test_every_order_is_as_likely_as_the_others() -> None:
    draws = jax.random.uniform(jax.random.key(1), (10_000, 4))
    found = np.asarray(jax.jit(jax.vmap(ranks))(draws))
    share, deviation = 1 / 24, np.sqrt(1 / 24 * 23 / 24 / 10_000)
    for order in itertools.permutations(range(4)):
        assert abs((found == order).all(1).mean() - share) < 4 * deviation
    assert ranks(jnp.zeros(3)).tolist() == [0, 1, 2]


def test_magnitudes_are_drawn_evenly_between_their_bounds() -> None:
    keys = jax.random.split(jax.random.key(2), 10_000)
    span = jnp.array([0.5, 2.0])
    found = jax.jit(jax.vmap(lambda key: (about(1.0, span[0], key=key), between(span, key=key))))(
        keys
    )
    for drawn, low, high in zip(found, (0.5, 0.5), (1.5, 2.0), strict=True):
        assert low <= drawn.min() < drawn.max() <= high
        assert abs(drawn.mean() - (low + high) / 2) < 4 * (high - low) / np.sqrt(12 * 10_000)


def test_grey_comes_as_often_as_it_should() -> None:
    image = images(1, (1, 1))[0]
    grey = jax.vmap(lambda key: ops.random_grayscale(image, 0.3, key=key))
    found = jax.jit(grey)(jax.random.split(jax.random.key(4), 10_000))
    share = (found[..., 0] == found[..., 1]).mean()
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 10_000)


# Gradients


def test_gradients_in_every_magnitude_are_those_of_finite_differences() -> None:
    # In float64. What counts pixels or levels has steps, between which both are zero.
    steps = {"posterize", "solarize", "salt_and_pepper", "random_grayscale"}
    expected_only = {"poisson_noise"}  # of counts, which have steps, the derivative is expected
    with jax.enable_x64(True):
        apart = np.random.default_rng(0).uniform(0, 0.05, (*SIZE, 3))  # no two values alike
        image = jnp.asarray(images(1)[0] * 0.5 + 0.2 + apart)
        weights = jnp.linspace(-1, 1, image.size).reshape(image.shape)
        learnable = {name: x for name, (x, _) in EVERY.items() if jax.tree.leaves(nnx.state(x))}
        graph = {name: nnx.split(x)[0] for name, x in learnable.items()}
        state = {
            name: jax.tree.map(lambda x: x.astype(jnp.float64), nnx.split(x, nnx.Param)[1])
            for name, x in learnable.items()
        }

        def losses(state: Any) -> dict[str, Any]:
            found = {}
            for name in learnable:
                operator = nnx.merge(graph[name], state[name])
                out = operator.on_record(Element({"image": image}), jax.random.key(8)).data["image"]
                found[name] = jnp.sum(weights[..., : out.shape[2]] * out)
            return found

        values = jax.jit(losses)
        slopes = jax.jit(jax.grad(lambda state: sum(losses(state).values())))(state)
        tree: Any
        leaves, tree = jax.tree.flatten(state)
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state)]
        flat = jax.tree.leaves(slopes)
        for number, (leaf, slope, path) in enumerate(zip(leaves, flat, paths, strict=True)):
            name = path[0].key
            for at in np.ndindex(leaf.shape):
                moved = [
                    values(
                        tree.unflatten(
                            [*leaves[:number], leaf.at[at].add(step), *leaves[number + 1 :]]
                        )
                    )[name]
                    for step in (1e-6, -1e-6)
                ]
                right = float(moved[0] - moved[1]) / 2e-6
                assert name in expected_only or abs(float(slope[at]) - right) < 1e-5 * max(
                    1, abs(right)
                ), path
            if name in steps:
                assert not slope.any(), path
            elif name != "random_erasing":
                assert slope.any(), path


# At run time


KEY = jax.random.key(0)
CLIPPED: dict[str, Callable[..., jax.Array]] = {
    "adjust_brightness": lambda x, **more: ops.adjust_brightness(x, 0.1, **more),
    "adjust_contrast": lambda x, **more: ops.adjust_contrast(x, 1.1, **more),
    "adjust_saturation": lambda x, **more: ops.adjust_saturation(x, 1.1, **more),
    "adjust_hue": lambda x, **more: ops.adjust_hue(x, 0.1, **more),
    "adjust_sharpness": lambda x, **more: ops.adjust_sharpness(x, 1.1, **more),
    "color_jitter": lambda x, **more: ops.color_jitter(x, 0.1, key=KEY, **more),
    "gaussian_noise": lambda x, clip=True: ops.gaussian_noise(x, 0.1, clip, key=KEY),
    "speckle": lambda x, clip=True: ops.speckle(x, 0.1, clip, key=KEY),
}


@pytest.mark.parametrize("name", CLIPPED)
def test_an_image_in_0_to_255_is_clipped_and_refused_where_checks_are_asked_for(name: str) -> None:
    image = jnp.full((2, 3, 3), 127.5, jnp.float32)
    assert CLIPPED[name](image).max() <= 1
    said = (
        f"{name} takes an image in [0, 1], but was given values from 127.5 to 127.5; divide it "
        "before: image / 255, or pass clip=False."
    )
    for given, told in ((image, said), (image / 255, None), (image * jnp.nan, None)):
        with ops.checking():
            error, _ = jax.jit(checkify.checkify(CLIPPED[name]))(given)
        found = error.get()
        assert (found is None) if told is None else said in str(found)


@pytest.mark.parametrize("name", CLIPPED)
def test_an_image_that_is_not_clipped_may_have_any_range(name: str) -> None:
    image = np.full((2, 3, 3), 127.5, np.float32)
    assert CLIPPED[name](image, clip=False).mean() > 99


@pytest.mark.parametrize("name", CLIPPED)
def test_nothing_looks_at_the_range_in_a_program_that_is_not_checked(name: str) -> None:
    image = np.full((2, 3, 3), 127.5, np.float32)
    program = str(jax.make_jaxpr(CLIPPED[name])(image))
    assert "reduce_min" not in program
    assert "-0.5:f32" not in program


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: ops.adjust_gamma(x, x[0, 0, 0] - 1), "adjust_gamma takes a gamma of at least 0"),
        (
            lambda x: ops.equalize(x * 255),
            "equalize takes an image in [0, 1], but was given values",
        ),
        (
            lambda x: ops.to_uint8(x / (x - x)),
            "to_uint8 takes an image in [0, 1], but was given values",
        ),
        (
            lambda x: ops.to_uint8(jnp.log(-x)),
            "to_uint8 takes an image in [0, 1], but was given NaN.",
        ),
        (lambda x: ops.gaussian_blur(x, -x.max(), 2), "gaussian_blur takes a sigma of at least 0"),
        (lambda x: ops.adjust_hue(x, jnp.log(-x.max())), "adjust_hue was given NaN as turn"),
        (lambda x: ops.normalize(x, 0.0, x.min() * 0), "normalize takes a positive std"),
        (
            lambda x: ops.erase(x, jnp.int32(99 * x.max()), 0, 1, 0),
            "erase takes a rectangle within",
        ),
    ],
)
def test_a_checked_program_refuses(call: Callable[..., Any], said: str) -> None:
    image = np.full((2, 3, 3), 0.5, np.float32)
    with ops.checking():
        error, _ = jax.jit(checkify.checkify(call))(image)
    assert said in str(error.get())
    assert not jax.make_jaxpr(call)(image).effects  # with one, JAX takes ten times as long to call
