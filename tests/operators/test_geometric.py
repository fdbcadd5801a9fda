"""Geometric operators in pipelines: one draw moves a whole record, and Warp samples it once."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import MemorySource, OperatorModule, Pipeline
from dagrax.nnx_api import operators as op
from dagrax.nnx_api.operators._geometric import AbstractGeometric
from dagrax.pure import ops

from .photographs import apart, photograph, whole_pixels

SIDE = 32
RECORDS = 12
GONE: list[list[float]] = [
    [0, 4, 0, 20],
    [7, 32, 21, 32],
    [32, 0, 32, 32],
    [0] * 4,
    [9] * 4,
]  # of area 0


def _floats(rows: list[list[float]]) -> np.ndarray:
    return np.asarray(rows, np.float32)


def records() -> dict[str, np.ndarray]:
    """Photographs whose second channel is the column of a pixel, the third its row."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    image = np.stack([photograph(1, SIDE, SIDE)[..., 0], x, y], -1)
    return {
        "image": np.stack([image] * RECORDS),
        "mask": np.tile((x // 4 + 8 * (y // 4)).astype(np.int32), (RECORDS, 1, 1)),
        "boxes": np.tile(_floats([[8, 12, 14, 20], [0, 0, 32, 32], *GONE]), (RECORDS, 1, 1)),
        "keypoints": np.tile(_floats([[14, 12], [17, 19], [15.25, 16.5]]), (RECORDS, 1, 1)),
        "label": np.arange(RECORDS),
    }


def run(
    operator: OperatorModule, data: Mapping[str, np.ndarray], *, batch_size: int = RECORDS
) -> dict[str, np.ndarray]:
    """What becomes of the records, with the keys that a pipeline of this seed gives them."""
    keys = jax.vmap(lambda record: jax.random.fold_in(jax.random.key(0), record))
    apply = jax.jit(lambda batch, keys: operator(batch, record_keys=keys))
    if not operator.draws():
        return jax.tree.map(np.asarray, jax.jit(lambda batch: operator(batch))(dict(data)))  # type: ignore[no-any-return]
    return jax.tree.map(np.asarray, apply(dict(data), keys(jnp.arange(RECORDS))))  # type: ignore[no-any-return, no-untyped-call]


MOVERS = {
    "RandomFlip": op.RandomFlip(0.5),
    "vertical": op.RandomFlip(0.5, "vertical"),
    "RandomRot90": op.RandomRot90(),
    "RandomCrop": op.RandomCrop((30, 31), 3, fill=-1.0),
    "CenterCrop": op.CenterCrop((29, 30)),
    "Pad": op.Pad(((1, 2), (3, 0)), mode="reflect"),
    "Resize": op.Resize((64, 48)),
    "RandomResizedCrop": op.RandomResizedCrop((40, 36), (0.8, 1.0)),
    "RandomRotation": op.RandomRotation(25.0),
    "RandomTranslation": op.RandomTranslation(0.1, 0.2),
    "RandomAffine": op.RandomAffine(20.0, (0.1, 0.1), (0.9, 1.3), (-10.0, 10.0, -5.0, 5.0)),
    "RandomPerspective": op.RandomPerspective(0.2),
    "RandomElastic": op.RandomElastic(20.0, 5.0),
}
MOVERS["Warp"] = op.Warp(
    [op.RandomFlip(), op.RandomRotation(20.0), op.RandomCrop(28, 2), op.Resize((40, 44))]
)


@pytest.mark.parametrize("name", MOVERS)
def test_one_draw_moves_the_whole_record(name: str) -> None:
    operator, data = MOVERS[name], records()
    moved = run(operator, data)
    images, points = moved["image"], moved["keypoints"]
    height, width = images.shape[1:3]
    found = np.stack([_read(image, at) for image, at in zip(images, points, strict=True)])
    inside = np.all((points > 1) & (points < np.asarray([width - 2, height - 2])), -1)
    assert inside.mean() > 0.8
    # Where the record is moved by a line, a place is found to 1e-4 of a pixel. A perspective is
    # none between pixels, nor is an elastic field; both bend little.
    near = {"RandomPerspective": 0.02, "RandomElastic": 0.2}.get(name, 1e-4)
    assert apart(found[inside][:, 1:], data["keypoints"][inside]) < near
    # The class of a mask tells its place to four pixels.
    rows, columns = np.round(points[..., 1]).astype(int), np.round(points[..., 0]).astype(int)
    for record in range(RECORDS):
        classes = moved["mask"][record][rows[record] % height, columns[record] % width]
        before = np.round(data["keypoints"][record]).astype(int)
        expected = data["mask"][record][before[:, 1], before[:, 0]]
        assert np.mean((classes == expected) | ~inside[record]) >= 2 / 3
    boxes = moved["boxes"]
    assert boxes.min() >= 0
    assert (boxes.max((0, 1)) <= np.asarray([width, height, width, height]) + 1e-4).all()
    assert (boxes[:, 0, 2:] > boxes[:, 0, :2]).all()
    assert (boxes[:, 2:, 2:] >= boxes[:, 2:, :2]).all()
    assert (area(boxes)[:, 2:] == 0).all()
    assert np.array_equal(moved["label"], data["label"])


def area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)  # type: ignore[no-any-return]


def _read(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    # Linear between pixels, as the places are.
    x, y = np.clip(points.T, 0, np.asarray(image.shape[1::-1])[:, None] - 1.001)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = (x - column)[:, None], (y - row)[:, None]
    above = image[row, column] * (1 - across) + image[row, column + 1] * across
    below = image[row + 1, column] * (1 - across) + image[row + 1, column + 1] * across
    return above * (1 - down) + below * down  # type: ignore[no-any-return]


# --- What is drawn


def matrices(
    operator: AbstractGeometric, count: int, size: tuple[int, int] = (32, 32)
) -> np.ndarray:
    """The matrices of many draws for an image of `size`."""
    keys = jax.random.split(jax.random.key(1), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: operator.motion(size, key).matrix))(keys))


def test_a_crop_reaches_all_81_places_of_a_padded_image_alike() -> None:
    places = -matrices(op.RandomCrop(32, 4), 40_500)[:, :2, 2].astype(int) + 4
    counts = np.bincount(places[:, 0] * 9 + places[:, 1], minlength=81)
    assert counts.shape == (81,)
    assert (np.abs(counts - 500) < 5 * np.sqrt(500)).all()  # 81 counts, each of 500 +- 22


def test_flips_and_turns_are_as_likely_as_they_say() -> None:
    flipped = matrices(op.RandomFlip(0.3), 10_000)[:, 0, 0] < 0
    assert abs(flipped.sum() - 3000) < 4 * np.sqrt(10_000 * 0.3 * 0.7)
    turned = matrices(op.RandomRot90(), 10_000)
    counts = np.unique(turned[:, 0, 0] * 2 + turned[:, 0, 1], return_counts=True)[1]
    assert counts.shape == (4,)
    assert (np.abs(counts - 2500) < 4 * np.sqrt(10_000 * 3 / 16)).all()
    for p in (0.0, 1.0):
        assert ((matrices(op.RandomFlip(p), 1000)[:, 0, 0] < 0) == bool(p)).all()


def test_an_affine_draw_fills_its_limits_and_leaves_none() -> None:
    size, centre = (37, 52), np.asarray([25.5, 18.0, 1.0])
    turned = matrices(op.RandomAffine((-10.0, 40.0), (0.25, 0.5), (0.5, 2.0)), 2000, size)
    factor = np.sqrt(np.linalg.det(turned[:, :2, :2]))
    degrees = np.rad2deg(np.arctan2(turned[:, 0, 1], turned[:, 0, 0]))
    moved = (turned @ centre - centre)[:, :2]
    sheared = matrices(op.RandomAffine(shear=(-20.0, 30.0, 5.0, 10.0)), 2000, size)
    x, y = (np.rad2deg(np.arctan(sheared[:, i, 1 - i])) for i in (0, 1))
    for found, low, high in (
        (degrees, -10, 40),
        (factor, 0.5, 2),
        (moved[:, 0], -13, 13),
        (moved[:, 1], -18.5, 18.5),
        (x, -20, 30),
        (y, 5, 10),
    ):
        edge = (high - low) / 100
        assert low - 1e-3 <= found.min() < low + edge
        assert high - edge < found.max() <= high + 1e-3
        # Uniform: the mean of 2000 within 4 sigma.
        assert abs(found.mean() - (low + high) / 2) < 4 * (high - low) / np.sqrt(12 * 2000)


def test_a_perspective_moves_corners_inwards_by_half_the_distortion_at_most() -> None:
    corners = np.asarray([(0, 0), (51, 0), (51, 36), (0, 36)], np.float64)
    mapped = np.asarray(matrices(op.RandomPerspective(0.5), 1000, (37, 52)), np.float64)
    ends = np.einsum("nij,kj->nki", mapped, np.concatenate([corners, np.ones((4, 1))], 1))
    inwards = (ends[..., :2] / ends[..., 2:] - corners) * np.where(corners > 0, -1, 1)
    assert inwards.min() > -1e-3
    for axis, side in enumerate((51, 36)):
        assert 0.24 * side < inwards[..., axis].max() < 0.25 * side + 1e-3


def test_a_resized_crop_takes_a_part_of_its_scale_and_ratio_from_inside() -> None:
    operator = op.RandomResizedCrop((10, 20), (0.1, 0.6), (0.5, 2.0))
    mapped = matrices(operator, 2000, (37, 52))
    width, height = 20 / mapped[:, 0, 0], 10 / mapped[:, 1, 1]
    left = 0.5 - (mapped[:, 0, 2] + 0.5) / mapped[:, 0, 0]
    top = 0.5 - (mapped[:, 1, 2] + 0.5) / mapped[:, 1, 1]
    share, ratio = width * height / (37 * 52), width / height
    for low, found, high in ((0.1, share, 0.6), (0.5, ratio, 2.0)):
        assert low - 1e-4 < found.min() < low * 1.03
        assert high * 0.95 < found.max() < high + 1e-3
    assert min(left.min(), top.min()) > -1e-3
    assert (left + width).max() < 52 + 1e-3
    assert (top + height).max() < 37 + 1e-3
    # None of the ten fits: the largest of the nearest ratio, in the middle.
    mapped = matrices(op.RandomResizedCrop(10, (1.0, 1.0), (3.0, 3.0)), 4, (37, 52))
    assert apart(10 / mapped[:, 0, 0], 52 * np.ones(4)) < 1e-4
    assert apart(10 / mapped[:, 1, 1], 52 / 3 * np.ones(4)) < 1e-4


@pytest.mark.parametrize("name", ["RandomCrop", "RandomAffine", "Warp"])
def test_a_draw_belongs_to_its_record_whatever_the_batch(name: str) -> None:
    operator, data = MOVERS[name], records()
    keys = jax.random.split(jax.random.key(2), RECORDS)
    apply = jax.jit(lambda batch, keys: operator(batch, record_keys=keys))
    together = apply(data, keys)
    assert len({image.tobytes() for image in np.asarray(together["image"])}) > 1
    some = np.asarray([7, 3, 5])
    part = apply({field: value[some] for field, value in data.items()}, keys[some])
    for field, value in part.items():
        # Draws are the same; a cosine of one record may be rounded otherwise than that of several,
        # and 1e-5 of a pixel more is 3e-4 at an edge where 31 meets 0.
        same = np.isclose(value, together[field][some], rtol=0, atol=1e-3)
        assert same.mean() > 0.999 if field == "mask" else same.all(), field


# --- In eval


def test_in_eval_a_record_stays_but_for_its_size() -> None:
    data = records()
    for name, operator in MOVERS.items():
        if not operator.draws() or name in ("RandomCrop", "RandomResizedCrop", "Warp"):
            continue
        still = nnx.clone(operator)
        still.eval()  # type: ignore[no-untyped-call]
        assert all(value is data[field] for field, value in still(data).items()), name


def test_in_eval_a_crop_is_the_middle_and_a_resized_crop_the_whole() -> None:
    image = photograph()
    batch = {"image": image[None]}

    def still(operator: OperatorModule) -> np.ndarray:
        operator.eval()  # type: ignore[no-untyped-call]
        return np.asarray(jax.jit(lambda batch: operator(batch)["image"])(batch))[0]  # type: ignore[no-any-return]

    for padding in (0, 4, ((0, 5), (3, 0))):
        assert np.array_equal(still(op.RandomCrop((37, 52), padding)), image)
    assert np.array_equal(still(op.RandomCrop((20, 31), 4)), image[8:28, 10:41])
    expected = ops.pad(image, ((2, 1), (0, 0)))
    assert np.array_equal(still(op.RandomCrop((40, 52), 2)), expected)
    assert apart(still(op.RandomResizedCrop(24)), ops.resize(image, 24)) < 1e-6
    turn = op.RandomRotation(30.0)
    warp = op.Warp([op.RandomFlip(1.0), turn, op.RandomCrop((20, 31), 4)])
    assert np.array_equal(still(warp), image[8:28, 10:41])
    warp.train()  # type: ignore[no-untyped-call]
    turn.eval()  # type: ignore[no-untyped-call]  # one alone: the flip still flips
    flipped = warp(batch, record_keys=jax.random.split(jax.random.key(0), 1))["image"][0]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(image[:, ::-1], ((4, 4), (4, 4), (0, 0))), (20, 31), (0, 1)
    )
    alike = (windows.transpose(0, 1, 3, 4, 2) == np.asarray(flipped)).all((2, 3, 4))
    assert np.count_nonzero(alike) == 1


# --- Which fields


def test_fields_are_moved_as_what_they_are_said_to_be() -> None:
    image, mask = photograph()[None], (whole_pixels(1)[None, ..., 0] > 90)
    fields = {"x": "image", "seg": "mask", "image": None}
    moved = op.RandomFlip(1.0, fields=fields)(  # type: ignore[arg-type]
        {"x": image, "seg": mask, "image": image, "mask": mask},
        record_keys=jax.random.split(jax.random.key(0), 1),
    )
    assert np.array_equal(moved["x"], image[:, :, ::-1])
    assert np.array_equal(moved["seg"], mask[:, :, ::-1])
    assert np.array_equal(moved["image"], image)
    assert np.array_equal(moved["mask"], mask)


def test_what_lies_outside_is_filled_image_and_mask_apart() -> None:
    data = {"image": whole_pixels()[None], "mask": np.ones((1, 37, 52), np.uint8)}
    padded = op.Pad(1, fill=(1, 2, 3), mask_fill=255)(data)
    assert np.asarray(padded["image"])[0, 0, 0].tolist() == [1, 2, 3]
    assert int(padded["mask"][0, 0, 0]) == 255


def test_a_warp_samples_once_what_its_operators_do_one_by_one() -> None:
    data = records()
    parts = [op.CenterCrop((28, 30)), op.Pad(2)]
    one_by_one = data
    for part in parts:
        one_by_one = run(part, one_by_one)
    together = run(op.Warp(parts), data)
    assert apart(together["keypoints"], one_by_one["keypoints"]) < 1e-4
    assert apart(together["boxes"][:, 0], one_by_one["boxes"][:, 0]) < 1e-4
    # Margins show what the window cut off: there is one resampling, of the image itself.
    assert np.array_equal(together["image"][:, 2:-2, 2:-2], one_by_one["image"][:, 2:-2, 2:-2])
    assert np.array_equal(together["image"][0, 1, 2:-2], data["image"][0, 1, 1:31])


# --- In pipelines


def test_operators_of_a_pipeline_are_variants_with_gradients() -> None:
    data = {"image": jnp.asarray(records()["image"])}

    def pipe(degrees: float) -> Pipeline:
        stages = [op.RandomFlip(), op.RandomRotation(degrees), op.RandomCrop(24, 2)]
        return Pipeline(
            source=MemorySource(data=data), stages=stages, batch_size=4, rngs=nnx.Rngs(0)
        )

    strengths = [0.0, 10.0, 20.0]
    together = Pipeline.variants([pipe(degrees) for degrees in strengths]).step()["image"]
    for one, degrees in zip(together, strengths, strict=True):
        assert apart(one, pipe(degrees).step()["image"]) < 1e-4


LEARNT = {
    "RandomRotation": (op.RandomRotation(25.0), ("degrees",)),
    "RandomTranslation": (op.RandomTranslation(0.1, 0.2), ("x", "y")),
    "RandomAffine": (
        op.RandomAffine(20.0, (0.1, 0.1), (0.9, 1.3), (-10.0, 10.0)),
        ("degrees", "translate", "scale", "shear"),
    ),
    "RandomPerspective": (op.RandomPerspective(0.2), ("distortion",)),
    "RandomElastic": (op.RandomElastic(20.0, 3.0), ("alpha", "sigma")),
    "RandomResizedCrop": (op.RandomResizedCrop((9, 8), (0.3, 0.8)), ("scale", "ratio")),
    "Warp": (op.Warp([op.RandomFlip(), op.RandomRotation(25.0)]), ()),
}


@pytest.mark.parametrize("name", LEARNT)
def test_every_magnitude_and_the_image_have_gradients(name: str) -> None:
    operator, magnitudes = LEARNT[name]
    graph, params, rest = nnx.split(operator, nnx.Param, ...)  # type: ignore[misc]
    y, x = np.mgrid[:15, :14]
    image = np.sin(0.3 * x + 0.2 * y)[None, ..., None] + np.zeros((2, 1, 1, 1))
    leaves, tree = jax.tree.flatten(params)
    assert not magnitudes or len(leaves) == len(magnitudes)

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(3), 2)
        weights = np.random.default_rng(0).normal(size=(2, 15, 14, 1))

        def loss(leaves: list[jax.Array], image: jax.Array) -> jax.Array:
            own = nnx.merge(graph, jax.tree.unflatten(tree, leaves), rest)
            moved = own({"image": image}, record_keys=keys)["image"]
            return jnp.vdot(moved, weights[:, : moved.shape[1], : moved.shape[2]])

        value = jax.jit(jax.value_and_grad(loss, (0, 1)))
        point = [*(np.asarray(leaf, np.float64) for leaf in leaves), image]

        def at(place: int, step: np.ndarray) -> float:
            moved = [x + step if own == place else x for own, x in enumerate(point)]
            return float(value(moved[:-1], moved[-1])[0])

        gradients = [np.asarray(x) for x in jax.tree.leaves(value(point[:-1], image)[1])]
        for place, gradient in enumerate(gradients):
            way = np.random.default_rng(place).normal(size=gradient.shape)
            difference = (at(place, 1e-6 * way) - at(place, -1e-6 * way)) / 2e-6
            along = float(np.vdot(gradient, way))
            assert along == pytest.approx(difference, rel=1e-3, abs=1e-6), place
            assert along != 0 or name == "Warp"  # of whose magnitudes one is a probability


def test_a_perspective_of_one_pixel_is_of_numbers() -> None:
    batch = {"image": np.full((3, 1, 1, 1), 0.5, np.float32)}
    keys = jax.random.split(jax.random.key(0), 3)
    moved = op.RandomPerspective(0.5, mode="edge")(batch, record_keys=keys)["image"]
    np.testing.assert_allclose(moved, batch["image"], atol=1e-6)
