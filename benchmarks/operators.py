"""Operators, each beside the fastest way to the same in JAX, and beside libraries for CPUs.

A record at a time, mapped over a batch in one jitted program: 128 images of 64x64x3, or 32 of
224x224x3 where it says so, floats. The alternatives are written by hand in plain JAX, in
`peers/images_by_hand.py`, or those of dm-pix and augmax where they have the same function. Where
nothing is random, their results are compared before; keys are the same for all.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from peers import images_by_hand as hand
from peers import images_on_cpus as on_cpus
from rounds import Bound, Report, measure

from dagrax.nnx_api import operators as op
from dagrax.pure import ops

SMALL, LARGE = (128, 64, 64, 3), (32, 224, 224, 3)
WAVES, TOKENS, LABELS, FEATURES = (64, 16_000), (256, 512), (256, 16), (4096, 64)
MEAN, STD = np.array([0.4, 0.5, 0.6], np.float32), np.array([0.2, 0.3, 0.2], np.float32)
Function = Callable[..., Any]
part = functools.partial
PEERS = ("dm-pix", "augmax", "albumentations", "kornia", "torch", "opencv-python-headless")
PIX, AUGMAX = on_cpus.installed("dm_pix"), on_cpus.installed("augmax")


class Row(NamedTuple):
    """An operator, or a function of a record, and what else has its result, by name.

    Without `random` a function takes the record alone, otherwise a key as well.
    """

    name: str
    own: Any
    others: Mapping[str, Function | None]
    random: bool = False
    shape: tuple[int, ...] = SMALL


def same(name: str, own: Any, hand: Function, pix: Function | None = None, **more: Any) -> Row:
    """A row in which nothing is random."""
    return Row(name, own, {"by hand": hand, "dm-pix": pix}, **more)


def drawn(name: str, own: Any, hand: Function, **others: Any) -> Row:
    """A row of an operator that draws."""
    shape = others.pop("shape", SMALL)
    return Row(name, own, {"by hand": hand, **others}, True, shape)


def pix(name: str, *arguments: Any, random: bool = False) -> Function | None:
    """A function of dm-pix, of a record, or of a record and a key."""
    if PIX is None:
        return None
    function = getattr(PIX, name)
    return (
        (lambda x, k: function(k, x, *arguments)) if random else lambda x: function(x, *arguments)
    )


def augmax(name: str, *arguments: Any) -> Function | None:
    """A transform of augmax, of a record and a key."""
    if AUGMAX is None:
        return None
    chain = AUGMAX.Chain(getattr(AUGMAX, name)(*arguments))
    return lambda x, key: chain(key, x)


def changed(function: Function, low: float, high: float) -> Function:
    """A function of a record and a number, as one of a record and a key."""
    return lambda x, key: function(x, hand.uniform(key, low, high))


def colour() -> list[Row]:
    adjusted = [
        same("Brightness", op.Brightness(0.2), lambda x: hand.brightness(x, 0.2)),
        same("Contrast", op.Contrast(1.3), lambda x: hand.contrast(x, 1.3)),
        same("Saturation", op.Saturation(0.6), lambda x: hand.saturation(x, 0.6)),
        same("Hue", op.Hue(0.2), lambda x: hand.hue(x, 0.2), pix("adjust_hue", 0.2)),
        same("Gamma", op.Gamma(1.7), lambda x: hand.gamma(x, 1.7), pix("adjust_gamma", 1.7)),
        same("Sharpness", op.Sharpness(1.8), lambda x: hand.sharpness(x, 1.8)),
        drawn("RandomBrightness", op.RandomBrightness(0.2), changed(hand.brightness, -0.2, 0.2)),
        drawn("RandomContrast", op.RandomContrast(0.2), changed(hand.contrast, 0.8, 1.2)),
        drawn("RandomSaturation", op.RandomSaturation(0.2), changed(hand.saturation, 0.8, 1.2)),
        drawn("RandomHue", op.RandomHue(0.1), changed(hand.hue, -0.1, 0.1)),
        drawn("RandomGamma", op.RandomGamma(0.3), changed(hand.gamma, 0.7, 1.3)),
        drawn("RandomSharpness", op.RandomSharpness(0.5), changed(hand.sharpness, 0.5, 1.5)),
    ]
    jitter = op.ColorJitter(0.2, 0.2, 0.2, 0.1)
    grey = pix("rgb_to_grayscale")
    levelled = [
        drawn("ColorJitter", jitter, hand.jitter),
        drawn("ColorJitter at 224", jitter, hand.jitter, shape=LARGE),
        same("Grayscale", op.Grayscale(), hand.grey, grey),
        drawn("RandomGrayscale", op.RandomGrayscale(0.2), hand.some_grey),
        same("rgb_to_hsv", ops.rgb_to_hsv, hand.hsv, pix("rgb_to_hsv")),
        same("hsv_to_rgb", ops.hsv_to_rgb, hand.rgb, pix("hsv_to_rgb")),
        same("rgb_to_yuv", ops.rgb_to_yuv, lambda x: x @ hand.YUV),
        same("Invert", op.Invert(), lambda x: 1 - x),
        same("Solarize", op.Solarize(0.6), lambda x: jnp.where(x >= 0.6, 1 - x, x)),
        same("Posterize", op.Posterize(3), lambda x: hand.posterize(x, 3)),
        same("Equalize", op.Equalize(), hand.equalize),
        same("AutoContrast", op.AutoContrast(), hand.autocontrast),
        same("Normalize", op.Normalize(MEAN, STD), lambda x: (x - MEAN) / STD),
        same("ToUint8", op.ToUint8(), hand.to_uint8),
    ]
    return adjusted + levelled


def blur_and_noise() -> list[Row]:
    def blur(x: Any, sigma: Any) -> Any:
        return hand.gaussian_blur(x, sigma, 8)

    return [
        same("GaussianBlur", op.GaussianBlur(1.2), lambda x: hand.gaussian_blur(x, 1.2, 5)),
        drawn("RandomGaussianBlur", op.RandomGaussianBlur((0.1, 2.0)), changed(blur, 0.1, 2.0)),
        same("box_blur", lambda x: ops.box_blur(x, 2), part(hand.blurred, weights=[0.2] * 5)),
        same(
            "motion_blur",
            lambda x: ops.motion_blur(x, 7, 30.0),
            lambda x: hand.motion_blur(x, 7, 30.0),
        ),
        drawn("GaussianNoise", op.GaussianNoise(0.1), lambda x, k: x + hand.noise(x, k)),
        drawn("speckle", keyed(ops.speckle, 0.1), lambda x, k: x * (1 + hand.noise(x, k))),
        drawn("SaltAndPepper", op.SaltAndPepper(0.1), part(hand.salt_and_pepper, amount=0.1)),
        drawn("PoissonNoise", op.PoissonNoise(50.0), part(hand.poisson, peak=50.0)),
        drawn("CoarseDropout", op.CoarseDropout(4, 12), part(hand.dropout, holes=4, side=12)),
        drawn("RandomErasing", op.RandomErasing(0.5), hand.erasing),
    ]


def geometry() -> list[Row]:
    flips = {
        "dm-pix": pix("random_flip_left_right", random=True),
        "augmax": augmax("HorizontalFlip"),
    }
    crop, affine = op.RandomCrop(64, padding=4), affine_warp()
    motions = [op.RandomFlip(), op.RandomRotation(15.0), op.RandomTranslation(0.1, 0.1)]
    elastic = {"dm-pix": pix("elastic_deformation", 8.0, 4.0, random=True)}
    return [
        drawn("RandomFlip", op.RandomFlip(0.5), hand.flip, **flips),
        drawn("RandomFlip at 224", op.RandomFlip(0.5), hand.flip, shape=LARGE, **flips),
        drawn("RandomRot90", op.RandomRot90(), hand.turned),
        drawn("RandomCrop", crop, part(hand.crop, size=64, padding=4)),
        same("CenterCrop", op.CenterCrop(48), lambda x: x[8:56, 8:56]),
        same("Pad", op.Pad(4), lambda x: jnp.pad(x, ((4, 4), (4, 4), (0, 0)))),
        same("Resize", op.Resize(48), lambda x: jax.image.resize(x, (48, 48, 3), "linear")),
        drawn("RandomResizedCrop", op.RandomResizedCrop(48), part(hand.resized_crop, size=48)),
        drawn(
            "RandomResizedCrop at 224",
            op.RandomResizedCrop(160),
            part(hand.resized_crop, size=160),
            shape=LARGE,
        ),
        drawn(
            "RandomRotation",
            op.RandomRotation(15.0),
            part(hand.rotation, degrees=15.0),
            augmax=augmax("Rotate", (-15, 15)),
        ),
        drawn("RandomTranslation", op.RandomTranslation(0.1, 0.1), hand.translation),
        drawn("RandomAffine", affine, hand.affine),
        drawn("RandomAffine at 224", affine, hand.affine, shape=LARGE),
        drawn(
            "RandomPerspective", op.RandomPerspective(0.4), part(hand.perspective, distortion=0.4)
        ),
        drawn("Warp of a flip, a turn and a move", op.Warp(motions), hand.turned_and_moved),
        drawn(
            "RandomElastic",
            op.RandomElastic(8.0, 4.0),
            part(hand.elastic, alpha=8.0, sigma=4.0),
            **elastic,
        ),
    ]


def records() -> list[Row]:
    wave = {"shape": WAVES}
    features = {"shape": FEATURES}
    masked = keyed(ops.mask_tokens, 0.15, 3, vocabulary=1000)
    return [
        same("gain", lambda x: ops.gain(x, 6.0), lambda x: x * 10 ** (6 / 20), **wave),
        drawn("noise_at_snr", keyed(ops.noise_at_snr, 10.0), hand.noisy, **wave),
        same(
            "time_shift",
            lambda x: ops.time_shift(x, 99),
            lambda x: jnp.pad(x[:-99], (99, 0)),
            **wave,
        ),
        same("spectrogram", ops.spectrogram, hand.frames, **wave),
        same(
            "mel_spectrogram",
            lambda x: ops.mel_spectrogram(x, 16_000, 64),
            lambda x: hand.mel_frames(x, 16_000, 64),
            **wave,
        ),
        drawn("mask_tokens", masked, hand.masked, shape=TOKENS),
        same(
            "one_hot",
            lambda x: ops.one_hot(x, 999),
            lambda x: jax.nn.one_hot(x, 999),
            shape=LABELS,
        ),
        same(
            "standardize",
            lambda x: ops.standardize(x, 0.5, 2.0),
            lambda x: (x - 0.5) / 2,
            **features,
        ),
        same(
            "quantile_clip",
            lambda x: ops.quantile_clip(x, 0.1, 0.9),
            lambda x: jnp.clip(x, 0.1, 0.9),
            **features,
        ),
        drawn("feature_dropout", keyed(ops.feature_dropout, 0.1), hand.dropped, **features),
    ]


def choice() -> list[Row]:
    arms = [op.Brightness(0.2), op.Invert(), op.Solarize(0.6), op.GaussianBlur(1.2)]
    return [
        drawn("RandomApply", op.RandomApply(op.GaussianBlur(1.2), 0.3), hand.some_blurred),
        drawn("OneOf", op.OneOf(arms), hand.one_of),
        drawn("SoftChoice", op.SoftChoice(arms), hand.mixture),
        drawn("MixUp", op.MixUp(1.0, label=None), hand.mixup),
        drawn("CutMix", op.CutMix(1.0, label=None), hand.cutmix),
    ]


def chains() -> list[Row]:
    mixed = [op.MixUp(1.0, label=None), op.CutMix(1.0, label=None)]
    return [
        *[
            drawn(f"crop, flip, jitter at {shape[1]}", chain(shape), hand_chain(shape), shape=shape)
            for shape in ((128, 32, 32, 3), LARGE)
        ],
        drawn("RandAugment at 224", op.RandAugment(), hand.rand_augment, shape=LARGE),
        drawn("TrivialAugment", op.TrivialAugment(), hand.operated),
        drawn("AugMix", op.AugMix(), hand.aug_mix),
        drawn("mixup, cutmix", mixed, lambda x, k: hand.cutmix(hand.mixup(x, k), k)),
    ]


def chain(shape: Sequence[int]) -> list[Any]:
    """Crop to 7/8, flip, jitter of brightness and contrast."""
    return [op.RandomCrop(shape[1] * 7 // 8), op.RandomFlip(0.5), op.ColorJitter(0.2, 0.2)]


def hand_chain(shape: Sequence[int]) -> Function:
    return part(hand.chain, size=shape[1] * 7 // 8)


def affine_warp() -> op.RandomAffine:
    return op.RandomAffine(15.0, translate=(0.1, 0.1), scale=(0.8, 1.2), shear=5.0)


def keyed(function: Function, *arguments: Any, **more: Any) -> Function:
    """A function of `dagrax.pure.ops` that draws, of a record and a key."""
    return lambda x, key: function(x, *arguments, **more, key=key)


# Runs


def beside_jax(report: Report, title: str, rows: Sequence[Row]) -> None:
    """A table of operators, with the bound for the worst."""
    lines: list[list[Any]] = []
    for row in rows:
        runs = contestants(row)
        ms = {name: x.median * 1e3 for name, x in measure(runs, report.rounds).items()}
        own = ms.pop("dagrax")
        best = min(ms, key=lambda name: ms[name])
        lines.append([row.name, own, best, ms[best], own / ms[best]])
    worst = max(line[-1] for line in lines)
    bound = Bound(f"{title.lower()}: an operator / the best in JAX, the worst", 1.1, worst)
    heads = ["", "ms a batch", "the best in JAX", "its ms", "dagrax / it"]
    report.table(title, heads, lines, [bound])


def contestants(row: Row) -> dict[str, Callable[[], Any]]:
    """Calls of all that a row compares, whose results are alike."""
    rng = np.random.default_rng(0)
    whole = row.shape in (TOKENS, LABELS)
    data = rng.integers(0, 999, row.shape) if whole else rng.random(row.shape)
    x = jnp.asarray(data, jnp.int32 if whole else jnp.float32)
    keys = jax.random.split(jax.random.key(0), len(x))
    others = {name: jax.jit(mapped(row, other)) for name, other in row.others.items() if other}
    runs = {name: part(program, x, keys) for name, program in others.items()}
    runs["dagrax"] = own(row, x, keys)
    if not row.random:
        right = np.asarray(runs["dagrax"](), np.float32)
        for name, run in runs.items():
            apart = np.abs(np.asarray(run(), np.float32).reshape(right.shape) - right)
            assert apart.mean() < 1e-3 * max(1, np.abs(right).mean()), f"{name}: {row.name}"
    return runs


def own(row: Row, x: Any, keys: Any) -> Callable[[], Any]:
    """What dagrax does with a batch."""
    stages = row.own if isinstance(row.own, list) else [row.own]
    if isinstance(stages[0], nnx.Module):
        return staged(stages, x, keys)
    return part(jax.jit(mapped(row, row.own)), x, keys)


def staged(stages: Sequence[Any], x: Any, keys: Any) -> Callable[[], Any]:
    """A batch after some operators, each with keys of its own; what they hold is an argument."""
    graph, state = nnx.split(nnx.List(stages))
    held, structure = jax.tree.flatten(state)  # as a pipeline calls its stages

    @jax.jit
    def run(held: Any, x: Any, keys: Any) -> Any:
        batch = {"image": x}
        for number, stage in enumerate(nnx.merge(graph, jax.tree.unflatten(structure, held))):
            of_stage = jax.vmap(jax.random.fold_in, (0, None))(keys, number) if number else keys
            if isinstance(stage, op.MixUp | op.CutMix):
                batch = stage(batch, key=jax.random.key(number), record_keys=of_stage)
            else:
                batch = stage(batch, **{"record_keys": of_stage} if stage.draws() else {})
        return batch["image"]

    return part(run, held, x, keys)


def mapped(row: Row, function: Function) -> Function:
    """A function of a record, mapped over a batch; one of a batch as it is."""
    if function in (hand.mixup, hand.cutmix) or row.name == "mixup, cutmix":
        return function
    return jax.vmap(function) if row.random else lambda x, keys: jax.vmap(function)(x)


def beside_cpus(report: Report) -> None:
    """The chain at 64, and affine warps at 224, beside libraries for CPUs."""
    lines: list[list[Any]] = []
    affine = affine_warp()
    for title, stages, shape, peers in (
        ("crop, flip, jitter at 64", chain(SMALL), SMALL, on_cpus.chain(SMALL[1] * 7 // 8)),
        ("RandomAffine at 224", [affine], LARGE, on_cpus.affine()),
    ):
        batch = np.random.default_rng(0).random(shape, np.float32)
        x, keys = jnp.asarray(batch), jax.random.split(jax.random.key(0), len(batch))
        runs = {name: peer(batch) for name, peer in peers.items()}
        runs["dagrax"] = staged(stages, x, keys)
        ms = {name: x.median * 1e3 for name, x in measure(runs, report.rounds).items()}
        lines += [[title, name, ms[name], ms["dagrax"] / ms[name]] for name in ms]
    ratios = {(line[0], line[1]): line[-1] for line in lines}
    bounds = [
        Bound(f"{title} / {peer}, 2 threads", at_most, ratios[title, peer])
        for title, peer, at_most in (
            ("crop, flip, jitter at 64", "OpenCV with NumPy", 1 / 1.5),
            ("RandomAffine at 224", "kornia", 1.0),
        )
        if (title, peer) in ratios
    ]
    heads = ["", "by", "ms a batch", "dagrax / it"]
    report.table(f"Beside libraries for CPUs, {on_cpus.THREADS} threads each", heads, lines, bounds)


def main() -> None:
    report = Report("operators", str(__doc__), rounds=15, peers=PEERS)
    report.say(str(__doc__))
    for title, rows in {
        "Colour": colour(),
        "Blur, noise and rectangles": blur_and_noise(),
        "Geometry": geometry(),
        "Records that are no images": records(),
        "Choice and mixing": choice(),
        "Chains": chains(),
    }.items():
        beside_jax(report, title, rows)
    beside_cpus(report)
    report.save()


if __name__ == "__main__":
    main()
