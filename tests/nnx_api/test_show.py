"""A sheet of records shows each field as what it is, tells what it changed, and moves nothing."""

import itertools
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from dagrax.nnx_api import HostSource, Pipeline
from dagrax.pure import host, visual
from dagrax.pure.visual._panels import compared, lying, panels
from tests.nnx_zoo import linear
from tests.zoo import Batch

N = 3
RNG = np.random.default_rng(0)
IMAGE = RNG.random((N, 12, 16, 3), np.float32)


def boxed(**more: Any) -> dict[str, Any]:
    boxes = np.array([[[2, 1, 8, 6], [0, 0, 0, 0]]] * N, np.float32)
    points = np.array([[[3, 4], [90, 2]]] * N, np.float32)  # one lies outside
    mask = (IMAGE[..., 0] > 0.5).astype(np.int32)
    return {"image": IMAGE, "boxes": boxes, "keypoints": points, "mask": mask, **more}


SHEETS: dict[str, dict[str, Any]] = {
    "images": {"source": boxed(label=np.arange(N)), "far": {"image": 300 * IMAGE - 7}},
    "waves": {
        "source": {
            "wave": np.sin(np.arange(N * 400.0)).reshape(N, 400),
            "pose": RNG.random((N, 40, 3)),
        },
        "a_node_with_a_name_that_is_far_too_long_for_one_line/and_its_chain": {"x": IMAGE[..., 0]},
    },
    "words": {"source": {f"column_{i}": 10.0**i * RNG.random(N) for i in range(20)}},
    "tokens": {"source": {"tokens": np.arange(N * 200).reshape(N, 200)}, "one": np.arange(N)},
    "scripts": {"源のデータ" * 6: {"画像の大きさ" * 4: IMAGE, "数字": IMAGE[:, :6, 0, 0]}},
    "many": {"source": {f"a long name {i}": IMAGE for i in range(9)} | {"of": np.ones((N, 7))}},
    "unlike": {"source": IMAGE, "pooled": {"rows": np.ones((7, 2)), "mean": np.float32(1)}},
}


def boxes_of(sheet: Any) -> tuple[Any, list[tuple[str, Any]]]:
    """What is drawn, by its place: words, and pictures."""
    renderer = sheet.canvas.get_renderer()
    words = [(text.get_text(), text.get_window_extent(renderer)) for text in sheet.texts]
    pictures = [
        (f"picture {i}", axes.get_window_extent(renderer)) for i, axes in enumerate(sheet.axes)
    ]
    return sheet.bbox, [*words, *pictures]


@pytest.mark.filterwarnings("ignore:(No installed font|Glyph)")
@pytest.mark.parametrize("name", SHEETS)
def test_nothing_overlaps_and_nothing_is_cut_off(name: str) -> None:
    sheet = visual.show(SHEETS[name], records=[5, 70, 2**40], title="three records of epoch 0")
    whole, drawn = boxes_of(sheet)
    outside = [
        text
        for text, box in drawn
        if box.x0 < whole.x0 or box.y0 < whole.y0 or box.x1 > whole.x1 or box.y1 > whole.y1
    ]
    over = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(drawn, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 2.5
    ]
    assert (outside, over) == ([], [])


@pytest.mark.parametrize("many", [8, 32])
def test_a_sheet_of_many_pictures_is_bounded(many: int) -> None:
    image, series = np.zeros((many, 12, 8, 3), np.float32), np.zeros((many, 40))
    batches: dict[str, Any] = {
        "one": image,
        "four": {f"image_{i}": image for i in range(4)},
        "lines": {f"line_{i}": series for i in range(4)},
        "words": {f"word_{i}": np.arange(many) for i in range(200)},
    }
    for name, batch in batches.items():
        sheet = visual.show({name: batch}, many)
        assert sheet.get_size_inches()[1] < (28 if many == 8 else 56)


def test_letters_that_no_font_has_are_told_once(tmp_path: Path) -> None:
    name = "".join(map(chr, range(0xF0000, 0xF000A)))  # of private use
    with pytest.warns(UserWarning, match="No installed font") as told:
        sheet: Any = visual.show({name: np.ones(2), "ä": np.ones(2)}, path=tmp_path / "sheet.pdf")
        sheet.savefig(tmp_path / "sheet.png")
    marks = ", ".join(f"`{letter}`" for letter in name[:8])
    assert [str(one.message) for one in told] == [
        f"No installed font has the letters {marks} and 2 more, which are drawn as boxes; "
        "install one that has them, such as Noto Sans (apt-get install fonts-noto-cjk for Chinese, "
        "Japanese and Korean)."
    ]
    assert told[0].filename == __file__


def kinds(**fields: np.ndarray) -> dict[str, str]:
    return {panel.field: panel.kind for panel in panels(fields, 2, 2)}


def test_a_field_is_taken_for_what_it_is() -> None:
    pixels, floats = np.zeros((2, 8, 9, 3), np.uint8), np.zeros((2, 8, 9), np.float32)
    assert kinds(photo=pixels, grey=floats) == {"photo": "image", "grey": "image"}
    assert kinds(wave=np.zeros((2, 99)), pose=np.zeros((2, 30, 6))) == dict.fromkeys(
        ("wave", "pose"), "lines"
    )
    assert kinds(
        pcm=np.zeros((2, 99), np.int16), few=np.zeros((2, 4)), ids=np.zeros((2, 99), int)
    ) == {
        "pcm": "lines",
        "": "words",
    }
    (alone,) = panels({"mask": np.zeros((2, 8, 9), bool)}, 2, 2)
    assert (alone.kind, [x.field for x in alone.over]) == ("image", ["mask"])
    found = panels(
        {"image": pixels, "seg": np.zeros((2, 8, 9), int), "bboxes": np.zeros((2, 5, 4))}, 2, 2
    )
    assert [(x.field, [y.field for y in x.over]) for x in found] == [("image", ["seg", "bboxes"])]


COLOURS, GREY = np.zeros((2, 8, 9, 3), np.float32), np.zeros((2, 8, 9), np.float32)
LABELS, BOXES = np.zeros((2, 8, 9), np.int32), np.full((2, 1, 4), 5, np.float32)
OVER: dict[str, tuple[dict[str, np.ndarray], list[str]]] = {
    "image, not what comes before it by the alphabet": (
        {"aux": COLOURS, "boxes": BOXES, "image": COLOURS, "mask": LABELS},
        ["mask i32[8,9] over image", "boxes f32[1,4] over image"],
    ),
    "image, not one of more channels": (
        {"bands": np.repeat(COLOURS, 2, axis=3), "image": COLOURS, "keypoints": BOXES[..., :2]},
        ["keypoints f32[1,2] over image"],
    ),
    "image, although points lie outside of it": (
        {"aux": np.zeros((2, 64, 64, 3)), "image": COLOURS, "keypoints": 6 * BOXES[..., :2]},
        ["keypoints f32[1,2] over image"],
    ),
    "all of its size, where none is named image": (
        {
            "depth": GREY,
            "rgb": COLOURS,
            "thumb": COLOURS[:, ::2, ::2],
            "mask": LABELS,
            "box": BOXES,
        },
        ["mask i32[8,9] over depth, rgb", "box f32[1,4] over depth, rgb"],
    ),
    "the only one, wherever the boxes are": (
        {"rgb": COLOURS, "boxes": 9 * BOXES},
        ["boxes f32[1,4] over rgb"],
    ),
    "the image of the same part of a record": (
        {"a/image": COLOURS, "a/mask": LABELS, "b/image": COLOURS, "b/mask": LABELS},
        ["a/mask i32[8,9] over a/image", "b/mask i32[8,9] over b/image"],
    ),
    "another of its size, where image has another": (
        {"image": COLOURS[:, ::2], "large": COLOURS, "mask": LABELS},
        ["mask i32[8,9] over large"],
    ),
    "none of its size": ({"image": COLOURS[:, ::2], "mask": LABELS}, []),
    "an image without a name": ({"": COLOURS, "mask": LABELS}, ["mask i32[8,9] over value"]),
    "image, of small whole numbers": (
        {"image": COLOURS, "classes": np.full((2, 8, 9, 1), 255, np.uint8)},
        ["classes u8[8,9,1] over image"],
    ),
    "none, for a grey photograph": (
        {"image": COLOURS, "grey": np.full((2, 8, 9), 32, np.uint8)},
        [],
    ),
}


@pytest.mark.parametrize("name", OVER)
def test_what_lies_over_an_image_lies_over(name: str) -> None:
    fields, expected = OVER[name]
    assert lying(panels(fields, 2, 2)) == expected


def test_what_lies_over_an_image_is_told_though_there_is_nothing_of_it_to_see() -> None:
    gone = {"boxes": np.array([[[0, 2, 0, 14]]] * N), "mask": np.zeros((N, 12, 16), int)}
    sheet: Any = visual.show({"source": boxed(**gone)}, 1)
    assert "mask i64[12,16] over image" in said(sheet)
    assert [line.get_linestyle() for line in sheet.axes[0].lines] == [
        "None",
        "None",
    ]  # points alone


def test_what_is_drawn_otherwise_than_it_is_is_told() -> None:
    holed = IMAGE.copy()
    holed[0, 0, 0, 0] = np.nan
    fields = {
        "a": IMAGE * 4 - 2,
        "b": np.moveaxis(IMAGE, 3, 1),
        "c": holed,
        "d": np.repeat(IMAGE, 3, axis=3),
        "e": np.stack([IMAGE, IMAGE], axis=1),
    }
    ((a, b, c, d, e),) = compared([panels(fields, N, N)])
    assert a.told == f"f32[12,16,3], {a_of(IMAGE.min())} … {a_of(IMAGE.max())} is drawn as 0 … 1"
    assert (b.told, b.arrays.shape) == ("f32[3,12,16], channels first", IMAGE.shape)
    assert c.told == "f32[12,16,3], <0.1 % is not finite: magenta"
    assert c.arrays[0, 0, 0].tolist() == [1, 0, 1]
    assert (d.told, d.arrays.shape) == ("f32[12,16,9], the first 3 of 9 channels", IMAGE.shape)
    assert (e.told, e.arrays.shape) == ("f32[2,12,16,3], side by side", (N, 12, 32, 3))
    np.testing.assert_allclose(b.arrays, IMAGE)


def a_of(x: float) -> str:
    return f"{4 * x - 2:.3g}"


def half(batch: Batch) -> Batch:
    return {**batch, "x": batch["x"] / 2}


def said(sheet: Any) -> list[str]:
    return [text.get_text() for text in sheet.texts]


def test_the_next_records_are_shown_at_the_source_and_behind_each_node(tmp_path: Path) -> None:
    pipeline = linear(half, half, size=10, batch_size=4, shuffle=True)
    pipeline.step()
    pipeline.step()
    expected = np.asarray(pipeline.outputs("half")["half"]["x"])  # a short batch, and then epoch 1
    before = open_figures()
    sheet: Any = pipeline.show(3, path=tmp_path / "sheet.svg")
    words = said(sheet)
    title, *column = words[:4]
    assert title == "3 records, 2 of epoch 0, 1 of epoch 1, from offset 8 of epoch 0 on"
    assert said(pipeline.show(1))[0] == "1 record of epoch 0, from offset 8 on"
    assert column == ["source", *(f"x {2 * x:.3g}" for x in expected)]
    names = [word for word in words if word in ("source", "half", "half_1")]
    assert names == ["source", "half", "half_1"]
    assert f"x {expected[0]:.3g}" in words
    assert words.count("record") == 3
    assert (pipeline.cursor, (tmp_path / "sheet.svg").stat().st_size > 1000) == ((0, 8), True)
    assert sheet._repr_png_().startswith(b"\x89PNG")
    assert "source" in said(pipeline.show(1, nodes=["half_1"]))
    assert "half" not in said(pipeline.show(1, nodes=["half_1"]))
    assert open_figures() == before


def open_figures() -> list[int]:
    """Those of pyplot, which some other program of the process may have opened."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    return [] if pyplot is None else list(pyplot.get_fignums())


def test_variants_stand_side_by_side() -> None:
    one, other = linear(half, size=8), linear(half, size=8)
    other.source = one.source
    words = said(Pipeline.variants([one, other]).show(2))
    assert [word for word in words if word.startswith(("source", "half"))] == [
        *("source", "half [0]", "half [1]")
    ]


def of_many(count: int) -> Any:
    first, *others = (linear(*[half] * 6, size=8) for _ in range(count))
    for other in others:
        other.source = first.source
    return Pipeline.variants([first, *others])


@pytest.mark.parametrize(
    ("count", "nodes", "left_out", "shown"),
    [
        (2, None, "", 2 * 6),
        (12, None, "; the sink `half_5` alone: nodes=[…] shows others", 12),
        (12, ["half_5"], "", 12),
        (12, ["half_5", "half"], "; the first 6 of 12 variants: unstack() has the others", 6 * 2),
        (
            14,
            None,
            "; the sink `half_5` alone: nodes=[…] shows others"
            "; the first 12 of 14 variants: unstack() has the others",
            12,
        ),
        (3, [f"half_{i}" for i in range(1, 6)], "; the first 2 of 3 variants: unstack() has", 10),
    ],
)
def test_a_sheet_of_many_variants_has_a_page_of_columns_and_says_what_it_leaves_out(
    count: int, nodes: list[str] | None, left_out: str, shown: int
) -> None:
    sheet: Any = of_many(count).show(1, nodes=nodes)
    title, *words = said(sheet)
    assert title.startswith(f"1 record of epoch 0, from offset 0 on{left_out}")
    assert bool(left_out) or title.endswith("on")
    columns = [word for word in words if word.startswith(("source", "half"))]
    assert (columns[0], len(columns)) == ("source", 1 + shown)
    assert sheet.get_size_inches()[0] < 40
    _, drawn = boxes_of(sheet)
    assert drawn[0][1].x1 < sheet.bbox.x1


def test_variants_of_variants_share_the_page_too() -> None:
    inner = [of_many(3) for _ in range(5)]
    for other in inner[1:]:
        other.source = inner[0].source
    title, *words = said(Pipeline.variants(inner).show(1, nodes=["half"]))
    assert title.endswith("; the first 12 of 15 variants: unstack() has the others")
    columns = [word for word in words if word.startswith("half")]
    assert (len(columns), columns[0], columns[-1]) == (12, "half [0] [0]", "half [2] [3]")


def test_columns_stand_in_the_order_in_which_nodes_run() -> None:
    words = said(linear(half, half, half, size=8).show(1, nodes=["half_2", "half"]))
    assert [word for word in words if word.startswith("half")] == ["half", "half_2"]


def test_a_source_that_is_read_on_the_host_is_shown_and_read_on(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(12.0, dtype=np.float32))
    source: HostSource = HostSource(source=host.DiskSource({"x": tmp_path / "x.npy"}))
    with Pipeline(source=source, batch_size=4) as pipeline:
        assert {"x 0", "x 5"} <= set(said(pipeline.show(6)))
        assert pipeline.step()["x"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({"n": 0}, ValueError, "n is 0; expected at least 1, the number of records."),
        (
            {"path": "sheet.gif"},
            ValueError,
            "path is 'sheet.gif', whose suffix is '.gif'; expected a file of .png, .svg or .pdf.",
        ),
        (
            {"nodes": ["halve"]},
            ValueError,
            "There is no node `halve`. Did you mean `half`?",
        ),
        (
            {"nodes": "half"},
            TypeError,
            "nodes is the string 'half'; expected a list of names: ['half'].",
        ),
    ],
    ids=["none", "suffix", "unknown node", "a string"],
)
def test_what_cannot_be_shown_is_refused(
    given: dict[str, Any], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind) as error:
        linear(half, size=8).show(**given)
    assert str(error.value) == told


def test_matplotlib_is_named_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError) as told:
        visual.show({"source": IMAGE})
    assert str(told.value) == (
        'show needs the library matplotlib, which is not installed; run pip install "dagrax[show]".'
    )


def test_the_core_shows_arrays_by_node() -> None:
    graph: dp.Pipeline = dp.Pipeline.linear({"log": jnp.log})
    batch = jnp.asarray(IMAGE[..., 0])
    sheet: Any = visual.show({"source": batch, **dp.outputs(graph, batch, ["log"])}, 2)
    assert [len(sheet.axes), said(sheet)[0]] == [4, "source"]


def test_maps_of_labels_without_an_image_are_drawn_each_by_itself() -> None:
    of = np.zeros((2, 8, 6), np.int32)
    found = panels({"classes": of, "parts": of[..., None], "is_known": of > 0}, 2, 2)
    drawn = [(panel.kind, panel.field, [x.field for x in panel.over]) for panel in found]
    assert drawn == [("image", x, [x]) for x in ("classes", "parts", "is_known")]


def test_columns_of_a_field_are_on_one_scale_which_is_told_once() -> None:
    noise = RNG.normal(size=(N, 8, 6, 1)).astype(np.float32)
    batches = [{"image": 0.5 + scale * noise} for scale in (0, 0.3, 3)]
    found = compared([panels(batch, 2, N) for batch in batches])
    shown = np.concatenate([batch["image"][:2] for batch in batches])
    least, most = float(shown.min()), float(shown.max())
    drawn = np.concatenate([panel.arrays for (panel,) in found])[..., None]
    np.testing.assert_allclose(drawn, (shown - least) / (most - least), atol=1e-6)
    scale = f"{least:.3g} … {most:.3g} is drawn as 0 … 1 in all columns of floats"
    told = [panel.told for (panel,) in found]
    assert told == [f"f32[8,6,1], {scale}", "f32[8,6,1]", "f32[8,6,1]"]


def test_images_within_0_and_1_are_drawn_as_they_are_beside_bytes() -> None:
    batches: list[Any] = [np.full((2, 8, 6, 3), 51, np.uint8), IMAGE[:2] / 2, IMAGE[:2]]
    (one,), (a,), (b,) = compared([panels({"image": x}, 2, 2) for x in batches])
    assert np.allclose(one.arrays, 0.2)
    assert np.allclose(a.arrays, IMAGE[:2] / 2)
    assert np.allclose(b.arrays, IMAGE[:2])
    assert [x.told for x in (one, a, b)] == ["u8[8,6,3]", "f32[12,16,3]", "f32[12,16,3]"]


def test_lines_of_a_field_are_on_one_scale_too() -> None:
    wave = np.tile(np.linspace(-1, 1, 40), (2, 1))
    sheet: Any = visual.show({"source": {"wave": wave}, "loud": {"wave": 4 * wave}})
    assert {axes.get_ylim() for axes in sheet.axes} == {(-4.4, 4.4)}
    words = " ".join(said(sheet))
    assert words.count("drawn from -4 to 4 in all columns") == 1


SHAPES: dict[str, tuple[tuple[int, ...], Any, str]] = {
    "one channel": ((1, 200), np.float32, "lines"),
    "two channels": ((2, 200), np.float32, "lines"),
    "two channels of samples": ((2, 200), np.int16, "lines"),
    "several axes of channels": ((2, 3, 200), np.float32, "lines"),
    "time first": ((200, 2), np.float32, "lines"),
    "one channel behind": ((200, 1), np.float32, "lines"),
    "a spectrogram": ((40, 200), np.float32, "image"),
    "a small grey picture": ((8, 16), np.float32, "image"),
    "a grey picture of one channel": ((8, 200, 1), np.float32, "image"),
    "a picture in colours": ((6, 200, 3), np.float32, "image"),
    "channels first": ((3, 8, 200), np.float32, "image"),
    "bytes": ((2, 200), np.uint8, "image"),
    "labels": ((2, 200), np.int32, "image"),
    "a mask of 16 bits": ((2, 200), np.int16, "image"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_wave_has_its_time_last_and_a_picture_has_rows(name: str) -> None:
    shape, dtype, kind = SHAPES[name]
    field = "mask" if "mask" in name else "x"
    (panel,) = panels({field: np.zeros((2, *shape), dtype)}, 2, 2)
    assert panel.kind == kind


def test_a_wave_has_a_line_for_each_channel() -> None:
    wave = RNG.normal(size=(N, 2, 200))
    sheet: Any = visual.show({"source": {"wave": wave}}, 1)
    drawn = [line.get_ydata() for line in sheet.axes[0].lines]
    np.testing.assert_array_equal(drawn, wave[0])
