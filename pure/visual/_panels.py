"""What each field of some records is to the eye: an image, what lies over one, lines, or words.

Told by dtype, shape and, where these leave it open, name; arrays are NumPy's, nothing is drawn.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Num

from .._text import array_text

Kind: TypeAlias = Literal["image", "mask", "boxes", "points", "lines", "words"]
Pixels: TypeAlias = Num[np.ndarray, "..."]
Range: TypeAlias = tuple[float, float]

_CHANNELS = (1, 3, 4)
_SHORTEST = 16  # floats that are a line, and no row of numbers
_WIDEST = 8  # lines in one panel
_LONGER = 4  # times as long as it has channels is a wave
_MARKS = 24  # numbers of a row that are written out
_LABELS = 32  # of small whole numbers beside a picture, which are classes


class Over(NamedTuple):
    """What lies over an image: a mask, boxes or points, of each record."""

    kind: Kind
    field: str
    arrays: np.ndarray


class Panel(NamedTuple):
    """A field of all records as it is drawn, or those of words together: `told` is what the eye
    must know of it; `scale` its least and its most number, where these are drawn as the ends."""

    kind: Kind
    field: str
    told: str
    arrays: np.ndarray
    words: Sequence[Sequence[str]] = ()
    over: tuple[Over, ...] = ()
    scale: Range | None = None

    @property
    def ratio(self) -> float:
        """The height of an image, for a width of 1."""
        height, width = self.arrays.shape[1:3]
        ratio: float = height / max(width, 1)
        return ratio


def panels(fields: Mapping[str, np.ndarray], many: int, rows: int) -> list[Panel]:
    """The panels of the first so many records of a batch of `rows`, images first and words last.

    `fields` are its arrays by the paths of their fields. Each panel has a scale of its own.
    """
    kinds = _kinds(fields, rows)
    of = {kind: [field for field, k in kinds.items() if k == kind] for kind in set(kinds.values())}
    images = [_image(field, fields[field][:many]) for field in of.get("image", ())]
    words, alone, lies = of.get("words", []), list[Panel](), list[tuple[Over, list[str]]]()
    for kind in ("mask", "boxes", "points"):
        for field in of.get(kind, ()):
            over = Over(kind, field, fields[field][:many])
            if under := _under(over, images):
                lies.append((over, under))
            elif kind == "mask":
                alone.append(_alone(over))
            else:
                words = [*words, field]
    found = [
        panel._replace(over=tuple(over for over, under in lies if panel.field in under))
        for panel in images
    ]
    found += [*alone, *(_lines(field, fields[field][:many]) for field in of.get("lines", ()))]
    if words := sorted(words, key=_naturally):
        said = [[_said(field, fields[field], row, rows) for field in words] for row in range(many)]
        found.append(Panel("words", "", "", np.empty(0), said))
    return found


def compared(columns: Sequence[Sequence[Panel]]) -> list[list[Panel]]:
    """The panels of columns, those of a field on one scale, pixels from 0 to 1 on it.

    The first column of a field tells the scale.
    """
    ranges: dict[tuple[str, ...], list[Range]] = {}
    for panel in (panel for column in columns for panel in column):
        if panel.scale is not None:
            ranges.setdefault(_comparable(panel), []).append(panel.scale)
    told: set[tuple[str, ...]] = set()
    found: list[list[Panel]] = []
    for column in columns:
        found.append([])
        for panel in column:
            if panel.scale is not None:
                own = _comparable(panel)
                panel = _rescaled(panel, ranges[own], is_first=own not in told)
                told.add(own)
            found[-1].append(panel)
    return found


def _comparable(panel: Panel) -> tuple[str, ...]:
    kind = panel.arrays.dtype.kind
    return panel.kind, panel.field, "whole numbers" if kind in "bui" else "floats"


def _rescaled(panel: Panel, ranges: Sequence[Range], *, is_first: bool) -> Panel:
    least, most = min(low for low, _ in ranges), max(high for _, high in ranges)
    said = ""
    if panel.kind == "lines":
        if any(own != (least, most) for own in ranges):
            said = f"drawn from {least:.3g} to {most:.3g} in all columns"
    elif least < -0.001 or most > 1.001:
        all_of = f" in all columns of {_comparable(panel)[-1]}" if len(ranges) > 1 else ""
        said = f"{least:.3g} … {most:.3g} is drawn as 0 … 1{all_of}"
    else:
        least, most = 0.0, 1.0
    if panel.kind == "image":
        panel = panel._replace(arrays=_pixels(panel.arrays, least, most))
    told = f"{panel.told}, {said}" if said and is_first else panel.told
    return panel._replace(told=told, scale=(least, most))


def lying(found: Sequence[Panel]) -> list[str]:
    """What lies over which images: `mask i32[8,8] over image`."""
    under: dict[str, list[str]] = {}
    for panel in found:
        for over in panel.over:
            told = f"{over.field} {array_text(str(over.arrays.dtype), over.arrays.shape[1:])}"
            under.setdefault(told, []).extend(
                [panel.field or "value"] * (panel.field != over.field)
            )
    return [f"{told} over {', '.join(names)}" for told, names in under.items() if names]


def _naturally(field: str) -> list[tuple[int, str]]:
    # x_2 before x_10
    parts = re.split(r"(\d+)", field)
    return [(int(x), "") if x.isdigit() else (-1, x) for x in parts]


def _kind(field: str, x: np.ndarray, rows: int) -> Kind:
    name, shape = field.rpartition("/")[2].lower(), x.shape[1:]
    if x.shape[:1] != (rows,):
        return "words"
    if len(shape) == 2 and shape[1] == 4 and "box" in name:
        return "boxes"
    if len(shape) == 2 and shape[1] == 2 and any(x in name for x in ("point", "landmark")):
        return "points"
    if min(shape, default=0) < 1 or x.dtype.kind not in "biufcV":
        return "words"
    whole = x.dtype.kind in "bui"
    wave = not whole or x.dtype == np.int16
    if len(shape) == 1:
        return "lines" if wave and shape[0] >= _SHORTEST else "words"
    named = any(x in name for x in ("mask", "seg"))
    if wave and not (whole and named) and _has_time_last(shape):
        return "lines"
    flat = len(shape) == 2 or shape[2:] == (1,)
    if whole and (named or (flat and x.dtype != np.uint8)):
        return "mask" if len(shape) in (2, 3) and min(shape[:2]) > 1 else "words"
    if len(shape) == 2 and shape[1] <= _WIDEST < shape[0]:
        return "lines"
    return "image" if len(shape) in (2, 3, 4) and max(shape) > 1 else "words"


def _has_time_last(shape: tuple[int, ...]) -> bool:
    # `*channels time`, and no picture: which has more rows.
    channels, time = math.prod(shape[:-1]), shape[-1]
    return channels <= _WIDEST and time >= max(_SHORTEST, _LONGER * channels)


def _kinds(fields: Mapping[str, np.ndarray], rows: int) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {field: _kind(field, x, rows) for field, x in fields.items()}
    coloured = {
        fields[field].shape[1:3]
        for field, kind in kinds.items()
        if kind == "image" and fields[field].shape[3:] == (3,)
    }
    for field in [field for field, kind in kinds.items() if kind == "image"]:
        x = fields[field]
        flat = x.ndim == 3 or x.shape[3:] == (1,)
        if x.dtype == np.uint8 and flat and x.shape[1:3] in coloured and _is_labels(x):
            kinds[field] = "mask"
    return kinds


def _is_labels(x: np.ndarray) -> bool:
    # Beside a picture in colours: no grey one is as dark as this, and 255 is what is not looked at.
    return bool(((x < _LABELS) | (x == 255)).all())


def _under(over: Over, images: Sequence[Panel]) -> list[str]:
    # `image`, of the same part of the record if there are several, or all images of its size.
    fit = [panel.field for panel in images if _fits(over, panel)]
    may = fit if over.kind == "mask" else [panel.field for panel in images]
    named = [field for field in may if field.rpartition("/")[2].lower() == "image"]
    own = f"{over.field.rpartition('/')[0]}/image".lstrip("/")
    return [own] if own in named else named or fit or may


def _fits(over: Over, panel: Panel) -> bool:
    height, width = panel.arrays.shape[1:3]
    if over.kind == "mask":
        return over.arrays.shape[1:3] == (height, width)
    ends = over.arrays.reshape(-1, 2)
    return bool((ends[np.isfinite(ends).all(1)] <= (width, height)).all())


def _image(field: str, x: np.ndarray) -> Panel:
    told = [array_text(str(x.dtype), x.shape[1:])]
    first = x.ndim > 3 and x.shape[-3] in _CHANNELS and x.shape[-1] not in _CHANNELS
    if first:
        x = np.moveaxis(x, -3, -1)
        told.append("channels first")
    if x.ndim == 5:  # several of each record: side by side
        x = np.concatenate(list(np.moveaxis(x, 1, 0)), axis=2)
        told.append("side by side")
    if x.ndim == 4 and x.shape[3] not in (1, 3):
        shown = 3 if x.shape[3] > 2 else 1
        told.append(f"the first {shown} of {x.shape[3]} channels")
        x = x[..., :shown]
    if x.ndim == 4 and x.shape[3] == 1:
        x = x[..., 0]
    if x.dtype == np.uint8:
        return Panel("image", field, ", ".join(told), x.astype(np.float32) / 255)
    x = np.abs(x) if x.dtype.kind == "c" else x
    finite = np.isfinite(x)
    if not finite.all():
        told.append(f"{_percent(1 - finite.mean())} is not finite: magenta")
    return Panel("image", field, ", ".join(told), x, scale=_range(x[finite]))


def _range(numbers: np.ndarray) -> Range:
    return (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 1.0)


def _pixels(x: np.ndarray, least: float, most: float) -> Pixels:
    """Numbers on a scale as pixels from 0 to 1, what is not finite in magenta."""
    finite = np.isfinite(x)
    x = (np.where(finite, x, least).astype(np.float64) - least) / ((most - least) or 1)
    if not finite.all():
        if x.ndim == 3:
            x, finite = np.repeat(x[..., None], 3, axis=3), finite[..., None]
        x[~finite.all(axis=-1)] = (1, 0, 1)
    return np.clip(x, 0, 1)


def _alone(mask: Over) -> Panel:
    told = array_text(str(mask.arrays.dtype), mask.arrays.shape[1:])
    blank = np.ones(mask.arrays.shape[:3])
    return Panel("image", mask.field, told, blank, over=(mask,))


def _lines(field: str, x: np.ndarray) -> Panel:
    told = [array_text(str(x.dtype), x.shape[1:])]
    x = np.abs(x) if x.dtype.kind == "c" else x.astype(np.float64)
    finite = np.isfinite(x)
    scale = _range(x[finite])
    if finite.any():
        told.append(f"{scale[0]:.3g} … {scale[1]:.3g}")
    if not finite.all():
        told.append(f"{_percent(1 - finite.mean())} is not finite")
        x = np.where(finite, x, np.nan)
    if _has_time_last(x.shape[1:]):
        x = np.moveaxis(x.reshape(len(x), -1, x.shape[-1]), 1, 2)
    return Panel("lines", field, ", ".join(told), x, scale=scale)


def _percent(share: float) -> str:
    return "<0.1 %" if share < 0.001 else f"{100 * share:.3g} %"


def _said(field: str, x: np.ndarray, row: int, rows: int) -> str:
    name = field or "value"
    if x.shape[:1] != (rows,):
        return f"{name} {array_text(str(x.dtype), x.shape)}, no rows of records"
    one = x[row]
    if one.size > 1 and one.ndim > 1:
        numbers = f"{array_text(str(x.dtype), one.shape)} {_numbers(one.reshape(-1), 8)}"
        return f"{name} {numbers}"
    return f"{name} {_numbers(one.reshape(-1), _MARKS)}"


def _numbers(row: np.ndarray, most: int) -> str:
    kind = row.dtype.kind
    some = row[:most].tolist() if kind in "biufc" else row[:most].astype(np.float64).tolist()
    texts = [f"{x:.3g}" if isinstance(x, float | complex) else str(x) for x in some]
    return " ".join(texts) + (f" … ({len(row)})" if len(row) > most else "")
