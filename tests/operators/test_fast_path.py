"""A chain of operators costs what a function written by hand costs, in every way of running it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dagrax.nnx_api import MemorySource, OperatorModule, Pipeline
from dagrax.nnx_api import operators as op
from dagrax.pure import ops
from tests.counting import counted, programs
from tests.nnx_api.test_floor import instructions, text_of
from tests.reference import record_key

OPTIMIZED = True

RECORDS, SIZE = 24, 20
IMAGES = np.random.default_rng(0).uniform(size=(RECORDS, SIZE, SIZE, 3)).astype(np.float32)


def pipeline_of(stages: Any, batch_size: int = 8, data: Any = None) -> Pipeline:
    source = MemorySource(data={"image": IMAGES} if data is None else data)
    return Pipeline(source=source, stages=stages, batch_size=batch_size, rngs=nnx.Rngs(0))


def three(range: float = 0.3) -> list[OperatorModule]:
    return [op.RandomCrop(16, 2), op.RandomFlip(0.5), op.RandomBrightness(range)]


# The program


def by_hand(images: Any, seed: Any, p: Any, range: Any) -> Any:
    """Crop, flip and brightness of each image, as one would write them with `jax.random` alone."""

    def one(image: Any, number: Any) -> Any:
        keys = [
            record_key(seed, name, 0, number)
            for name in ("random_crop", "random_flip", "random_brightness")
        ]
        top, left = jax.random.randint(keys[0], (2,), 0, SIZE + 4 - 16 + 1)
        image = jnp.pad(image, ((2, 2), (2, 2), (0, 0)))
        image = jax.lax.dynamic_slice(image, (top, left, 0), (16, 16, 3))
        image = jnp.where(jax.random.uniform(keys[1]) < p, image[:, ::-1], image)
        image = image + range * jax.random.uniform(keys[2], minval=-1, maxval=1)
        return jnp.clip(image, 0, 1)

    return jax.vmap(one)(images, jnp.arange(len(images), dtype=jnp.uint32))


def test_three_operators_are_compiled_to_what_is_written_by_hand() -> None:
    pipeline = pipeline_of(three())
    with programs() as new:
        found = pipeline({"image": IMAGES})
    (ours,) = (x for x in new if f"f32[{RECORDS},16,16,3]" in text_of(x))
    arguments = IMAGES, nnx.Rngs(0).pipeline(), jnp.float32(0.5), jnp.float32(0.3)
    hand: Any = jax.jit(by_hand).lower(*arguments).compile()
    np.testing.assert_allclose(found["image"], hand(*arguments), atol=1e-6)
    assert instructions(text_of(ours)) <= instructions(hand.as_text())
    cost, right = ours.cost_analysis(), hand.cost_analysis()
    assert cost["bytes accessed"] <= 1.02 * right["bytes accessed"]
    assert cost["flops"] <= 1.02 * right["flops"]


def test_a_program_that_does_more_would_be_seen() -> None:
    def twice(images: Any, *rest: Any) -> Any:
        return by_hand(jnp.sort(images, 1), *rest)

    arguments = IMAGES, jax.random.key(0), jnp.float32(0.5), jnp.float32(0.3)
    plain: Any
    more: Any
    plain, more = (jax.jit(x).lower(*arguments).compile() for x in (by_hand, twice))
    assert instructions(more.as_text()) > instructions(plain.as_text())
    assert more.cost_analysis()["bytes accessed"] > 1.02 * plain.cost_analysis()["bytes accessed"]


# Epochs, variants


def test_operators_are_traced_once_however_many_epochs() -> None:
    pipeline = pipeline_of([*three(), op.RandomApply(op.Invert(), 0.5)])
    seen: list[np.ndarray] = [np.asarray(batch["image"]) for batch in pipeline]
    pipeline.nodes["random_brightness"].range[...] = jnp.float32(0.1)
    with counted() as counts:
        for _ in range(3):
            seen += [np.asarray(batch["image"]) for batch in pipeline]
    assert counts.traced == counts.compiled == []
    assert len(seen) == 12
    assert pipeline.cursor == (4, 0)
    assert not np.array_equal(seen[3], seen[6])  # an epoch is not drawn as the one before


def test_64_strengths_in_one_program_are_each_what_it_is_alone() -> None:
    strengths = np.linspace(0, 0.5, 64, dtype=np.float32)
    alone = pipeline_of([op.RandomBrightness(0.1, clip=False)], 4, {"image": IMAGES[:4, :3, :5]})
    pipelines = []
    for strength in strengths:
        pipelines.append(nnx.clone(alone))  # which takes less time than building each
        pipelines[-1].source = alone.source
        pipelines[-1].nodes["random_brightness"].range[...] = jnp.float32(strength)
    together = np.asarray(Pipeline.variants(pipelines).step()["image"])
    assert len(np.unique(together[:, 0, 0, 0, 0])) == 64
    for strength, own in zip(strengths, together, strict=True):
        alone.seek(epoch=0)
        alone.nodes["random_brightness"].range[...] = jnp.float32(strength)
        np.testing.assert_allclose(alone.step()["image"], own, atol=1e-6)


# Eval, keys

EVERY_RANDOM = {
    **{name: getattr(op, f"Random{name}")(0.3) for name in ("Brightness", "Contrast", "Hue")},
    **{name: getattr(op, f"Random{name}")(0.3) for name in ("Saturation", "Gamma", "Sharpness")},
    "ColorJitter": op.ColorJitter(0.2, 0.2, 0.2, 0.2),
    "Grayscale": op.RandomGrayscale(1.0),
    "Flip": op.RandomFlip(1.0),
    "Rot90": op.RandomRot90(),
    "Crop": op.RandomCrop(SIZE, 4),
    "ResizedCrop": op.RandomResizedCrop(SIZE),
    "Rotation": op.RandomRotation(30.0),
    "Translation": op.RandomTranslation(0.3, 0.3),
    "Affine": op.RandomAffine(10.0, (0.1, 0.1), (0.5, 1.5), 10.0),
    "Perspective": op.RandomPerspective(0.5),
    "Elastic": op.RandomElastic(30.0, 3.0),
    "Warp": op.Warp([op.RandomFlip(1.0), op.RandomRotation(20.0)]),
    "GaussianBlur": op.RandomGaussianBlur((1.0, 2.0)),
    "GaussianNoise": op.GaussianNoise(0.1),
    "NoiseOperator": op.NoiseOperator(0.1),
    "SaltAndPepper": op.SaltAndPepper(0.5),
    "PoissonNoise": op.PoissonNoise(10.0),
    "CoarseDropout": op.CoarseDropout(2, 5),
    "Erasing": op.RandomErasing(1.0),
    "Apply": op.Apply(lambda element, *, key: element.update_data({"image": 0 * IMAGES[0]})),
    "RandomApply": op.RandomApply(op.Invert(), 1.0),
    "OneOf": op.OneOf([op.Invert(), op.GaussianBlur(2.0)]),
    "Sequence": op.Sequence([op.RandomFlip(1.0), op.RandomBrightness(0.5)]),
    "PerBatch": op.PerBatch(op.OneOf([op.Invert(), op.GaussianBlur(2.0)])),
    "SoftChoice": op.SoftChoice([op.Invert(), op.GaussianBlur(2.0)]),
    "RandAugment": op.RandAugment(),
    "TrivialAugment": op.TrivialAugment(),
    "AugMix": op.AugMix(),
    "MixUp": op.MixUp(label=None),
    "CutMix": op.CutMix(label=None),
}


def test_in_eval_every_operator_that_draws_is_the_identity() -> None:
    shown = {type(operator).__name__ for operator in EVERY_RANDOM.values()}
    every = {name: kind for name, kind in vars(op).items() if isinstance(kind, type)}
    drawing = {
        name
        for name, kind in every.items()
        if name in ("MixUp", "CutMix", "PerBatch", "Apply", "Sequence", "Warp")
        or (issubclass(kind, OperatorModule) and "key" in kind.apply.__annotations__)
    }
    assert shown == drawing
    pipeline = pipeline_of(EVERY_RANDOM)
    pipeline.eval()  # type: ignore[no-untyped-call]
    found = pipeline.step()["image"]
    np.testing.assert_allclose(found, IMAGES[:8], atol=1e-6)
    for operator in EVERY_RANDOM.values():
        operator.train()


def test_a_draw_is_that_of_seed_node_epoch_and_record() -> None:
    pipeline = pipeline_of([op.RandomBrightness(0.3)])
    pipeline.seek(epoch=2, offset=5)
    found = np.asarray(pipeline.step()["image"])
    seed = nnx.Rngs(0).pipeline()
    for row, record in ((0, 5), (7, 12)):
        key = record_key(seed, "random_brightness", 2, record)
        delta = jax.random.uniform(key, (), jnp.float32, -0.3, 0.3)
        right = ops.adjust_brightness(IMAGES[record], delta)
        np.testing.assert_allclose(found[row], right, atol=1e-6)


def test_a_key_that_is_used_again_draws_the_same() -> None:
    key = jax.random.key(3)
    found = op.GaussianNoise(0.1)({"image": IMAGES[:2]}, record_keys=jnp.stack([key, key]))["image"]
    noise = np.asarray(found - IMAGES[:2])
    np.testing.assert_allclose(noise[0], noise[1], atol=1e-6)
    assert np.abs(noise).max() > 0.1
