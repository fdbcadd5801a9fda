"""Write `docs/gallery.md` and its sheets: what each operator makes of one photograph.

An operator stands here as it is written in a program, and is run through the public face, by a
fixed seed. `make gallery` runs it; nothing here knows how an operator works.
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image

from dagrax.nnx_api import operators as op

FOLDER = Path(__file__).parents[1] / "docs"
HEIGHT, WIDTH = 96, 128
DRAWS, SEED = 3, 5
GAP, LINE, CELL, COLOURS = 4, 14, WIDTH + 28, 192
INTRODUCTION = """\
# Gallery

Each operator that works on images, on one photograph that ships inside scikit-learn, as `make
gallery` draws it. Those that draw random numbers stand in a row behind it, by three draws.
[operators.md](operators.md) is the chapter."""
BATCH = [("china.jpg", 0.5), ("flower.jpg", 0.5), ("china.jpg", 0.0), ("flower.jpg", 1.0)]
ROOF = [(36, 13), (63, 26), (58, 31), (14, 29), (14, 25)]
BOXES = [[13.0, 42.0, 66.0, 53.0]]
KEYPOINTS = [[38.0, 7.0], [7.0, 60.0], [70.0, 57.0]]
SOMETHING = 'Apply(lambda x: x.update_data({"image": x.data["image"][..., ::-1]}))'

# A title, what is shown, and the operators of a sheet, each as it is written.
SHEETS: dict[str, tuple[str, str, list[str]]] = {
    "geometry": (
        "Geometry",
        "One draw moves the image, the outline of its mask, a box (yellow) and keypoints (red).",
        [
            "CenterCrop((64, 96))",
            'Pad((6, 12), mode="reflect")',
            "Resize((64, 128))",
            "RandomFlip()",
            "RandomRot90()",
            "RandomCrop((64, 96))",
            "RandomResizedCrop((72, 96))",
            "RandomRotation(30.0)",
            "RandomTranslation(0.25, 0.25)",
            "RandomAffine(20.0, (0.1, 0.1), (0.7, 1.3), 15.0)",
            "RandomPerspective(0.5)",
            "RandomElastic(80.0, 5.0)",
            'Warp([RandomFlip(), RandomRotation(30.0), RandomCrop(80)], mode="edge")',
        ],
    ),
    "colour": (
        "Colour",
        "Those that draw nothing once, the others by three draws.",
        [
            "Brightness(0.25)",
            "Contrast(2.0)",
            "Saturation(2.5)",
            "Hue(0.33)",
            "Gamma(0.5)",
            "Sharpness(4.0)",
            "RandomBrightness(0.4)",
            "RandomContrast(0.9)",
            "RandomSaturation(1.0)",
            "RandomHue(0.5)",
            "RandomGamma(0.8)",
            "RandomSharpness(1.0)",
            "ColorJitter(0.3, 0.5, 0.5, 0.2)",
            "RandomGrayscale(0.5)",
        ],
    ),
    "levels": (
        "Levels and channels",
        "What is below 0 is shown black, what is above 1 white.",
        [
            "Grayscale()",
            "Invert()",
            "Solarize(0.5)",
            "Posterize(2)",
            "Equalize()",
            "AutoContrast()",
            "Normalize(0.5, 0.25)",
            "BrightnessOperator(-0.3)",
            "ToUint8()",
            "ToFloat()",
        ],
    ),
    "noise": (
        "Blur, noise and erasing",
        "Noise is another one for each record.",
        [
            "GaussianBlur(2.0)",
            "RandomGaussianBlur((0.1, 3.0))",
            "GaussianNoise(0.15)",
            "NoiseOperator(0.15)",
            "SaltAndPepper(0.1)",
            "PoissonNoise(20.0)",
            "CoarseDropout(5, (16, 20), 0.5)",
            "RandomErasing(0.8, (0.05, 0.3), value=(0.9, 0.2, 0.2))",
        ],
    ),
    "choice": (
        "Choice and policies",
        "Operators that hold others, and the policies that draw their operators themselves.",
        [
            SOMETHING,
            "Sequence([RandomFlip(), ColorJitter(0.2, 0.4)])",
            "RandomApply(Invert(), 0.5)",
            "OneOf([Invert(), GaussianBlur(3.0), Solarize(0.5)])",
            "PerBatch(OneOf([Invert(), GaussianBlur(3.0), Solarize(0.5)]))",
            "SoftChoice([Invert(), GaussianBlur(3.0), Hue(0.5)], 0.5)",
            "RandAugment(2, 15)",
            "TrivialAugment()",
            "AugMix(severity=8)",
        ],
    ),
    "mixing": (
        "Mixing",
        "A batch of four records, and what becomes of it.",
        ["MixUp(label=None)", "CutMix(label=None)"],
    ),
}


def photograph(name: str, left: float = 0.5) -> np.ndarray:
    """A photograph as floats in [0, 1], cropped to four by three."""
    whole = Image.fromarray(load_sample_image(name))
    width = whole.height * WIDTH // HEIGHT
    start = round(left * (whole.width - width))
    part = whole.crop((start, 0, start + width, whole.height))
    return np.asarray(part.resize((WIDTH, HEIGHT)), np.float32) / 255


def record() -> dict[str, np.ndarray]:
    """A temple: its image, the mask of its roof, a box round a floor, keypoints at its ends."""
    mask = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(mask).polygon(ROOF, fill=1)
    return {
        "image": photograph("china.jpg"),
        "mask": np.asarray(mask, np.int32),
        "boxes": np.asarray(BOXES, np.float32),
        "keypoints": np.asarray(KEYPOINTS, np.float32),
    }


def made(code: str) -> nnx.Module:
    """The operator of a line of code, in which names are those of the operators."""
    return eval(code, {name: getattr(op, name) for name in dir(op)})


def applied(code: str, record: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What an operator makes of a record, in as many draws as there are to show."""
    operator = made(code)
    batch = {name: np.stack([x] * DRAWS) for name, x in record.items()}
    if isinstance(operator, op.RandomRot90):  # it takes squares
        batch = op.CenterCrop(HEIGHT)(batch)
    if isinstance(operator, op.ToFloat):
        batch = op.ToUint8()(batch)
    return rows(operator, batch)[: DRAWS if is_random(operator) else 1]


def rows(operator: Any, batch: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """The records of a batch that an operator was applied to."""
    key, count = jax.random.key(SEED), len(batch["image"])
    keys = {"key": key, "record_keys": jax.random.split(key, count)}
    own = {name: keys[name] for name in inspect.signature(operator).parameters if name in keys}
    run = nnx.jit(lambda operator, batch: operator(batch, **own))
    found = jax.tree.map(np.asarray, run(operator, batch))
    return [{name: x[at] for name, x in found.items()} for at in range(count)]


def is_random(operator: Any) -> bool:
    """Whether an operator draws."""
    return "record_keys" in inspect.signature(operator).parameters


def picture(record: dict[str, np.ndarray]) -> Image.Image:
    """A record as it is seen: its image, with the outline of its mask, boxes and keypoints."""
    image = record["image"]
    levels = image if image.dtype == np.uint8 else np.uint8(np.clip(image, 0, 1) * 255 + 0.5)
    shown = Image.fromarray(np.repeat(levels, 3 // levels.shape[2], 2))
    draw = ImageDraw.Draw(shown)
    if "mask" in record:
        draw.point(list(outline(record["mask"])), (0, 255, 255))
    for x0, y0, x1, y1 in record.get("boxes", []):
        draw.rectangle((round(x0), round(y0), round(x1) - 1, round(y1) - 1), outline=(255, 230, 0))
    for x, y in record.get("keypoints", []):
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), (255, 0, 0), (255, 255, 255))
    return shown


def outline(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """The pixels (x, y) of a mask that have a neighbour outside of it."""
    inside = np.pad(mask > 0, 1)
    around = [np.roll(inside, by, axis) for by in (-1, 1) for axis in (0, 1)]
    for y, x in np.argwhere(inside & ~np.all(around, 0)):
        yield int(x) - 1, int(y) - 1


def blocks(name: str, operators: list[str]) -> Iterator[tuple[str, list[Image.Image]]]:
    """The captions of a sheet, and the pictures below each."""
    if name == "mixing":
        batch = {"image": np.stack([photograph(*own) for own in BATCH])}
        before = [{"image": image} for image in batch["image"]]
        yield "the batch", [picture(one) for one in before]
        for code in operators:
            yield code, [picture(one) for one in rows(made(code), batch)]
        return
    original = record()
    before = original if name == "geometry" else {"image": original["image"]}
    yield "the photograph", [picture(before)]
    for code in operators:
        found = [picture(one) for one in applied(code, before)]
        yield code, found if len(found) == 1 else [picture(before), *found]


def sheet(shown: Iterator[tuple[str, list[Image.Image]]]) -> Image.Image:
    """Captions over pictures in a row; what is short stands side by side."""
    lines: list[list[tuple[str, list[Image.Image]]]] = [[]]
    for block in shown:
        if sum(len(own) for _, own in lines[-1]) + len(block[1]) > DRAWS + 1:
            lines.append([])
        lines[-1].append(block)
    heights = [LINE + max(x.height for _, own in line for x in own) + GAP for line in lines]
    whole = Image.new("RGB", ((DRAWS + 1) * CELL + GAP, sum(heights) + GAP), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(10)
    top = GAP
    for line, height in zip(lines, heights, strict=True):
        left = GAP
        for caption, pictures in line:
            draw.text((left, top), caption, "black", font)
            for one in pictures:
                whole.paste(one, (left, top + LINE))
                left += CELL
        top += height
    return whole.quantize(COLOURS, dither=Image.Dither.NONE)


def page() -> str:
    """The page: a sheet under each title, and what its operators say of themselves."""
    parts = [INTRODUCTION]
    for name, (title, told, operators) in SHEETS.items():
        table = "\n".join(["| as written | what it does |", "|---|---|", *map(row, operators)])
        parts.append(f"## {title}\n\n{told}\n\n![{title}](gallery/{name}.png)\n\n{table}")
    return "\n\n".join(parts) + "\n"


def row(code: str) -> str:
    """A row of a table: an operator as it is written, and how its docstring begins."""
    first, _, _ = str(inspect.getdoc(type(made(code)))).partition("\n\n")
    return f"| `{code}` | {' '.join(first.split())} |"


def write(folder: Path) -> None:
    """The page and its sheets."""
    (folder / "gallery").mkdir(parents=True, exist_ok=True)
    for name, (_, _, operators) in SHEETS.items():
        sheet(blocks(name, operators)).save(folder / "gallery" / f"{name}.png", optimize=True)
    (folder / "gallery.md").write_text(page())


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
