"""What an expert would write in plain JAX for an operator: functions of one image and a key.

They do what the operators of dagrax do, in the most obvious way that is fast; `jax.vmap` maps them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy import ndimage

LUMA = jnp.array([0.299, 0.587, 0.114])
YUV = jnp.array([[0.299, -0.1471, 0.615], [0.587, -0.2889, -0.515], [0.114, 0.436, -0.1]])
Function = Callable[[Any, Any], Any]


def clipped(x: Any) -> Any:
    return jnp.clip(x, 0, 1)


def uniform(key: Any, low: float = 0.0, high: float = 1.0) -> Any:
    return jax.random.uniform(key, (), minval=low, maxval=high)


# Tone and colour


def brightness(x: Any, delta: Any) -> Any:
    return clipped(x + delta)


def contrast(x: Any, factor: Any) -> Any:
    mean = (x @ LUMA).mean()
    return clipped(mean + factor * (x - mean))


def saturation(x: Any, factor: Any) -> Any:
    grey = (x @ LUMA)[..., None]
    return clipped(grey + factor * (x - grey))


def hsv(x: Any) -> Any:
    red, green, blue = x[..., 0], x[..., 1], x[..., 2]
    value = x.max(-1)
    chroma = value - x.min(-1)
    safe = jnp.where(chroma == 0, 1, chroma)
    at = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = jnp.where(chroma == 0, 0, at / 6 % 1)
    return jnp.stack([hue, chroma / jnp.where(value == 0, 1, value), value], -1)


def rgb(x: Any) -> Any:
    hue, share, value = x[..., :1], x[..., 1:2], x[..., 2:]
    k = (jnp.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    return value - value * share * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)


def hue(x: Any, turn: Any) -> Any:
    moved = hsv(x)
    return clipped(rgb(moved.at[..., 0].set((moved[..., 0] + turn) % 1)))


def gamma(x: Any, power: Any) -> Any:
    return clipped(jnp.power(jnp.maximum(x, 0), power))


def sharpness(x: Any, factor: Any) -> Any:
    kernel = jnp.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    height, width = x.shape[0] - 2, x.shape[1] - 2
    smooth = sum(
        kernel[i, j] * x[i : i + height, j : j + width] for i in range(3) for j in range(3)
    )
    smooth = x.at[1:-1, 1:-1].set(smooth)
    return clipped(smooth + factor * (x - smooth))


def posterize(x: Any, bits: int) -> Any:
    step = 2 ** (8 - bits)
    return jnp.floor(jnp.round(clipped(x) * 255) / step) * step / 255


def equalize(x: Any) -> Any:
    def channel(values: Any) -> Any:
        counts = jnp.bincount(values.ravel(), length=256)
        step = (counts.sum() - counts[255 - jnp.argmax(counts[::-1] > 0)]) // 255
        table = (jnp.cumsum(counts) - counts + step // 2) // jnp.maximum(step, 1)
        return jnp.where(step > 0, jnp.clip(table, 0, 255), jnp.arange(256))[values]

    whole = jnp.round(clipped(x) * 255).astype(jnp.int32)
    return jax.vmap(channel, 2, 2)(whole).astype(x.dtype) / 255


def autocontrast(x: Any) -> Any:
    low, high = x.min((0, 1)), x.max((0, 1))
    return jnp.where(high > low, (x - low) / jnp.where(high > low, high - low, 1), x)


def jitter(x: Any, key: Any, fixed: bool = False) -> Any:
    """Four changes, in an order by chance: the four of each place are computed, and one taken."""
    keys = jax.random.split(key, 5)
    changes: Sequence[Callable[[Any], Any]] = (
        lambda x: brightness(x, uniform(keys[0], -0.2, 0.2)),
        lambda x: contrast(x, uniform(keys[1], 0.8, 1.2)),
        lambda x: saturation(x, uniform(keys[2], 0.8, 1.2)),
        lambda x: hue(x, uniform(keys[3], -0.1, 0.1)),
    )
    order = jnp.arange(4) if fixed else jax.random.permutation(keys[4], 4)
    for place in range(4):
        x = changes[place](x) if fixed else jax.lax.switch(order[place], changes, x)
    return x


def grey(x: Any) -> Any:
    return (x @ LUMA)[..., None]


def some_grey(x: Any, key: Any) -> Any:
    return jnp.where(jax.random.bernoulli(key, 0.2), grey(x), x)


def to_uint8(x: Any) -> Any:
    return jnp.round(clipped(x) * 255).astype(jnp.uint8)


# Blur, noise, rectangles


def _reflected(x: Any, radius: int) -> Any:
    return jnp.pad(x, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")


def blurred(x: Any, weights: Any) -> Any:
    """By sums of slices, the rows first."""
    taps, (height, width, _) = len(weights), x.shape
    x = _reflected(x, taps // 2)
    x = sum(weights[tap] * x[tap : tap + height] for tap in range(taps))
    return sum(weights[tap] * x[:, tap : tap + width] for tap in range(taps))


def gaussian_blur(x: Any, sigma: Any, radius: int) -> Any:
    weights = jnp.exp(-0.5 * (jnp.arange(-radius, radius + 1) / sigma) ** 2)
    return blurred(x, weights / weights.sum())


def motion_blur(x: Any, length: int, degrees: Any) -> Any:
    """By sums of points of the image, each looked up."""
    along, turn = jnp.arange(length) - (length - 1) / 2, jnp.deg2rad(degrees)
    radius = length // 2
    steps = jnp.arange(-radius, radius + 1)
    down = jnp.maximum(1 - jnp.abs(-along * jnp.sin(turn) - steps[:, None]), 0)
    right = jnp.maximum(1 - jnp.abs(along * jnp.cos(turn) - steps[:, None]), 0)
    kernel = down @ right.T / length
    planes = jnp.moveaxis(_reflected(x, radius), 2, 0)[:, None]
    moved = jax.lax.conv_general_dilated(planes, kernel[None, None], (1, 1), "VALID")
    return jnp.moveaxis(moved[:, 0], 0, 2)


def noise(x: Any, key: Any) -> Any:
    return 0.1 * jax.random.normal(key, x.shape)


def poisson(x: Any, key: Any, peak: Any) -> Any:
    return jax.random.poisson(key, x * peak).astype(x.dtype) / peak


def salt_and_pepper(x: Any, key: Any, amount: Any) -> Any:
    drawn = jax.random.uniform(key, (*x.shape[:2], 1))
    return jnp.where(drawn < amount / 2, 1, jnp.where(drawn < amount, 0, x))


def dropout(x: Any, key: Any, holes: int, side: int) -> Any:
    places = jax.random.randint(key, (holes, 2), 0, jnp.array(x.shape[:2]) - side + 1)
    rows, columns = jnp.arange(x.shape[0])[:, None], jnp.arange(x.shape[1])[None]
    hit = jnp.zeros(x.shape[:2], bool)
    for top, left in places:
        hit |= (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return jnp.where(hit[..., None], 0, x)


def erasing(x: Any, key: Any) -> Any:
    one, two = jax.random.split(key)
    height, width, _ = x.shape
    share, shape, y, z = jax.random.uniform(one, (4, 10))
    area = height * width * (0.02 + 0.31 * share)
    shape = jnp.exp(jnp.log(0.3) + jnp.log(11.0) * shape)
    sides = jnp.round(jnp.sqrt(jnp.stack([area * shape, area / shape])))
    fits = (sides[0] <= height) & (sides[1] <= width)
    h, w = sides[:, jnp.argmax(fits)]
    top, left = jnp.floor(y[0] * (height - h + 1)), jnp.floor(z[0] * (width - w + 1))
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None]
    hit = (rows >= top) & (rows < top + h) & (columns >= left) & (columns < left + w)
    return jnp.where((hit & fits.any() & (uniform(two) < 0.5))[..., None], 0, x)


# Geometry


def flip(x: Any, key: Any) -> Any:
    return jnp.where(jax.random.bernoulli(key), x[:, ::-1], x)


def turned(x: Any, key: Any) -> Any:
    k = jax.random.randint(key, (), 0, 4)
    return jax.lax.switch(k, [lambda x, k=k: jnp.rot90(x, k) for k in range(4)], x)


def crop(x: Any, key: Any, size: int, padding: int = 0) -> Any:
    x = jnp.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    place = jax.random.randint(key, (2,), 0, jnp.array(x.shape[:2]) - size + 1)
    return jax.lax.dynamic_slice(x, (*place, 0), (size, size, x.shape[2]))


def warped(x: Any, matrix: Any) -> Any:
    """Each pixel from where the matrix takes it, by `map_coordinates`, channel by channel."""
    grid = jnp.meshgrid(*map(jnp.arange, x.shape[1::-1]), indexing="xy")
    across, down, depth = jnp.tensordot(matrix, jnp.stack([*grid, jnp.ones_like(grid[0])]), 1)
    return looked_up(x, down / depth, across / depth)


def looked_up(x: Any, rows: Any, columns: Any) -> Any:
    one = lambda plane: ndimage.map_coordinates(plane, [rows, columns], 1, "constant")  # noqa: E731
    return jax.vmap(one, 2, 2)(x)


def centred(matrix: Any, shape: Sequence[int]) -> Any:
    """A matrix of two axes, inverted, about the centre of an image."""
    centre = (jnp.array(shape[1::-1]) - 1) / 2
    inverse = jnp.linalg.inv(matrix)
    whole = jnp.concatenate([inverse, (centre - inverse @ centre)[:, None]], 1)
    return jnp.concatenate([whole, jnp.array([[0.0, 0.0, 1.0]])])


def rotation(x: Any, key: Any, degrees: float) -> Any:
    turn = jnp.deg2rad(uniform(key, -degrees, degrees))
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    return warped(x, centred(jnp.array([[cosine, sine], [-sine, cosine]]), x.shape))


def translation(x: Any, key: Any) -> Any:
    move = jax.random.uniform(key, (2,), minval=-0.1, maxval=0.1) * jnp.array(x.shape[1::-1])
    return warped(x, jnp.eye(3).at[:2, 2].add(-move))


def turned_and_moved(x: Any, key: Any) -> Any:
    """A flip, a turn and a move as one matrix."""
    keys = jax.random.split(key, 3)
    turn = jnp.deg2rad(uniform(keys[0], -15.0, 15.0))
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    side = jnp.where(jax.random.bernoulli(keys[1]), -1.0, 1.0)
    matrix = jnp.array([[side, 0], [0, 1.0]]) @ jnp.array([[cosine, sine], [-sine, cosine]])
    move = jax.random.uniform(keys[2], (2,), minval=-0.1, maxval=0.1) * jnp.array(x.shape[1::-1])
    whole = centred(matrix, x.shape)
    return warped(x, whole.at[:2, 2].add(-whole[:2, :2] @ move))


def affine(x: Any, key: Any) -> Any:
    turn, scale, shear, right, down = jax.random.uniform(key, (5,), minval=-1)
    turn, shear = jnp.deg2rad(15 * turn), jnp.tan(jnp.deg2rad(5 * shear))
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    matrix = jnp.array([[cosine, sine], [-sine, cosine]]) @ jnp.array([[1.0, shear], [0.0, 1.0]])
    whole = centred(matrix * (1 + 0.2 * scale), x.shape)
    move = jnp.stack([right * x.shape[1], down * x.shape[0]]) * 0.1
    return warped(x, whole.at[:2, 2].add(-whole[:2, :2] @ move))


def perspective(x: Any, key: Any, distortion: float) -> Any:
    corner = jnp.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    last = jnp.array(x.shape[1::-1]) - 1
    source = corner * last
    target = source + distortion / 2 * last * (1 - 2 * corner) * jax.random.uniform(key, (4, 2))
    one, none = jnp.ones((4, 1)), jnp.zeros((4, 3))
    straight = jnp.concatenate([target, one], 1)
    rows = [
        jnp.concatenate([straight, none, -source[:, :1] * target], 1),
        jnp.concatenate([none, straight, -source[:, 1:] * target], 1),
    ]
    found = jnp.linalg.solve(jnp.concatenate(rows), source.T.ravel())
    return warped(x, jnp.append(found, 1.0).reshape(3, 3))


def resized_crop(x: Any, key: Any, size: int) -> Any:
    height, width, channels = x.shape
    share, shape, place = jax.random.uniform(key, (3, 10))
    area = height * width * (0.08 + 0.92 * share)
    shape = jnp.exp(jnp.log(3 / 4) + jnp.log(16 / 9) * shape)
    sides = jnp.sqrt(jnp.stack([area / shape, area * shape]))
    whole = jnp.array([height, width])
    fits = (sides <= whole[:, None]).all(0)
    box = jnp.where(fits.any(), sides[:, jnp.argmax(fits)], whole)
    scale = size / box
    start = (whole - box) * place[:2]
    return jax.image.scale_and_translate(
        x, (size, size, channels), (0, 1), scale, -start * scale, "linear"
    )


def elastic(x: Any, key: Any, alpha: float, sigma: float) -> Any:
    noise = jax.random.uniform(key, (2, *x.shape[:2]), minval=-1)
    reach = jnp.arange(-int(4 * sigma), int(4 * sigma) + 1)
    weights = jnp.exp(-0.5 * (reach / sigma) ** 2)
    smooth = jax.vmap(lambda row: jnp.convolve(row, weights / weights.sum(), "same"))
    right, down = (alpha * smooth(smooth(plane).T).T for plane in noise)
    grid = jnp.meshgrid(*map(jnp.arange, x.shape[:2]), indexing="ij")
    return looked_up(x, grid[0] + down, grid[1] + right)


# Records that are no images


def noisy(x: Any, key: Any) -> Any:
    drawn = jax.random.normal(key, x.shape)
    return x + drawn * jnp.sqrt((x**2).sum() / (drawn**2).sum() / 10)


def frames(x: Any) -> Any:
    x = jnp.pad(x, 200, mode="reflect")
    window = 0.5 - 0.5 * jnp.cos(2 * jnp.pi * jnp.arange(400) / 400)
    at = jnp.arange(0, len(x) - 399, 200)[:, None] + jnp.arange(400)
    return (jnp.abs(jnp.fft.rfft(x[at] * window)) ** 2).T


def mel_frames(x: Any, rate: int, bands: int) -> Any:
    """The power of each frame by triangles, evenly spaced on the mel scale."""
    ends = 2595 * jnp.log10(1 + jnp.array([0.0, rate / 2]) / 700)
    centres = 700 * (10 ** (jnp.linspace(*ends, bands + 2) / 2595) - 1)
    bins = jnp.arange(201) * rate / 400
    rising = (bins - centres[:-2, None]) / (centres[1:-1] - centres[:-2])[:, None]
    falling = (centres[2:, None] - bins) / (centres[2:] - centres[1:-1])[:, None]
    return jnp.maximum(jnp.minimum(rising, falling), 0) @ frames(x)


def masked(x: Any, key: Any) -> Any:
    one, two, three = jax.random.split(key, 3)
    chosen, part = jax.random.uniform(one, x.shape) < 0.15, jax.random.uniform(two, x.shape)
    random = jax.random.randint(three, x.shape, 0, 1000)
    shown = jnp.where(part < 0.8, 3, jnp.where(part < 0.9, random, x))
    return jnp.where(chosen, shown, x), jnp.where(chosen, x, -100)


def dropped(x: Any, key: Any) -> Any:
    return jnp.where(jax.random.uniform(key, x.shape) < 0.1, 0, x)


# Choice, a batch, chains


def _arms(x: Any) -> list[Any]:
    return [brightness(x, 0.2), 1 - x, jnp.where(x >= 0.6, 1 - x, x), gaussian_blur(x, 1.2, 5)]


def some_blurred(x: Any, key: Any) -> Any:
    return jnp.where(jax.random.bernoulli(key, 0.3), gaussian_blur(x, 1.2, 5), x)


def one_of(x: Any, key: Any) -> Any:
    return jax.lax.select_n(jax.random.randint(key, (), 0, 4), *_arms(x))


def mixture(x: Any, key: Any) -> Any:
    parts = jax.nn.softmax(jax.random.gumbel(key, (4,)))
    return sum(part * arm for part, arm in zip(parts, _arms(x), strict=True))


def chain(x: Any, key: Any, size: int) -> Any:
    """A crop, a flip, and brightness and contrast in an order by chance."""
    keys = jax.random.split(key, 5)
    x = flip(crop(x, keys[0], size), keys[1])
    delta, factor = uniform(keys[2], -0.2, 0.2), uniform(keys[3], 0.8, 1.2)
    one = contrast(brightness(x, delta), factor)
    return jnp.where(jax.random.bernoulli(keys[4]), one, brightness(contrast(x, factor), delta))


def mixup(x: Any, keys: Any) -> Any:
    share = jax.vmap(lambda key: jax.random.beta(key, 1.0, 1.0))(keys)[:, None, None, None]
    return x * share + jnp.roll(x, 1, 0) * (1 - share)


def cutmix(x: Any, keys: Any) -> Any:
    def hole(key: Any) -> Any:
        one, two = jax.random.split(key)
        half = jnp.floor(0.5 * jnp.sqrt(1 - jax.random.beta(one, 1.0, 1.0)) * x.shape[1])
        row, column = jnp.floor(jax.random.uniform(two, (2,)) * x.shape[1])
        rows, columns = jnp.arange(x.shape[1])[:, None], jnp.arange(x.shape[2])[None]
        rows = (rows >= row - half) & (rows < row + half)
        return rows & (columns >= column - half) & (columns < column + half)

    return jnp.where(jax.vmap(hole)(keys)[..., None], jnp.roll(x, 1, 0), x)


def rand_augment(x: Any, key: Any) -> Any:
    """Two of fourteen operations."""
    for own in jax.random.split(key):
        x = operated(x, own)
    return x


def aug_mix(x: Any, key: Any) -> Any:
    """An image mixed with three chains of one to three operations."""
    for_parts, for_share, *chains = jax.random.split(key, 5)
    parts = jax.random.dirichlet(for_parts, jnp.ones(3))
    share = jax.random.beta(for_share, 1.0, 1.0)
    mixed = jnp.zeros_like(x)
    for part, own in zip(parts, chains, strict=True):
        for_depth, *keys = jax.random.split(own, 4)
        depth, changed = jax.random.randint(for_depth, (), 1, 4), x
        for step, one in enumerate(keys):
            changed = jnp.where(step < depth, operated(changed, one), changed)
        mixed += part * changed
    return (1 - share) * x + share * mixed


def operated(x: Any, key: Any) -> Any:
    """One of fourteen operations: under `vmap` a switch computes all of them for each record."""
    which, turn = jax.random.split(key)
    sign = jnp.where(jax.random.bernoulli(turn), 1.0, -1.0)
    angle = jnp.deg2rad(9.0) * sign
    turning = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
    shear, pixels, blend = 0.09 * sign, 0.136 * x.shape[0] * sign, 1 + 0.27 * sign
    operations: Sequence[Callable[[Any], Any]] = (
        lambda x: x,
        lambda x: warped(x, jnp.eye(3).at[0, 1].set(-shear)),
        lambda x: warped(x, jnp.eye(3).at[1, 0].set(-shear)),
        lambda x: warped(x, jnp.eye(3).at[0, 2].set(-pixels)),
        lambda x: warped(x, jnp.eye(3).at[1, 2].set(-pixels)),
        lambda x: warped(x, centred(turning, x.shape)),
        lambda x: clipped(x * blend),
        lambda x: saturation(x, blend),
        lambda x: contrast(x, blend),
        lambda x: sharpness(x, blend),
        lambda x: posterize(x, 7),
        lambda x: jnp.where(x >= 0.7, 1 - x, x),
        autocontrast,
        equalize,
    )
    return jax.lax.switch(jax.random.randint(which, (), 0, 14), operations, x)
