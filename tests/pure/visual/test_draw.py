"""A drawing shows what the summary says, in a language that is well formed whatever it is told."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from dagrax.pure import visual
from dagrax.pure.visual import _fontconfig
from dagrax.pure.visual._graph import graph_of
from tests.platforms import with_graphviz

NAMES = ['say "hi" [1]', "<b>&amp; {a|b}", "naïve 日本 `x` #35; \\", "two\nlines", "end"]
STREAM = dp.Stream(dp.ArraySource({"x": np.zeros((8, 3), np.float32)}), batch_size=4)


def same(batch: Any, *_: Any) -> Any:
    return batch


def named(name: str) -> Any:
    def stage(batch: Any) -> Any:
        return batch

    stage.__name__ = name
    return stage


def noise(batch: Any, *, key: Any) -> Any:
    return batch


def row_of(names: list[str]) -> dp.Summary:
    nodes: dict[str, Any] = dict.fromkeys(names, same)
    return dp.summary(dp.Pipeline.linear(nodes), STREAM)


@pytest.fixture(scope="module")
def facts() -> dp.Summary:
    nodes: dict[str, Any] = {"a": same, "view": [noise, same], "merge": same, "off": same}
    edges: dict[str, list[str]] = {"a": [], "view": ["a"], "merge": ["a", "view"], "off": ["a"]}
    pipeline = dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink="merge")
    return dp.summary(pipeline, STREAM, cost=True)


def test_mermaid_says_all_of_the_graph(facts: dp.Summary) -> None:
    assert str(visual.draw(facts)) == MERMAID


@pytest.mark.parametrize(("many", "way"), [(6, "LR"), (7, "TB"), (25, "TB")])
def test_a_long_row_goes_down(many: int, way: str) -> None:
    summary = row_of([f"step_{place}" for place in range(many)])
    assert str(visual.draw(summary)).startswith(f"flowchart {way}\n")
    assert str(visual.draw(summary, direction="right")).startswith("flowchart LR\n")
    assert str(visual.draw(summary, direction="down")).startswith("flowchart TB\n")


def test_branches_are_no_row() -> None:
    nodes: dict[str, Any] = {**{f"b{place}": same for place in range(9)}, "join": same}
    edges: dict[str, list[str]] = {name: [] for name in nodes}
    edges["join"] = [name for name in nodes if name != "join"]
    summary = dp.summary(dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink="join"), STREAM)
    assert str(visual.draw(summary)).startswith("flowchart LR\n")


def test_a_suffix_may_be_in_capitals(facts: dp.Summary, tmp_path: Path) -> None:
    visual.draw(facts, tmp_path / "graph.MMD")
    assert (tmp_path / "graph.MMD").read_text() == MERMAID


def test_a_node_that_is_named_as_the_source_is_told_apart() -> None:
    assert '["source (node)<br/>same"]' in str(visual.draw(row_of(["source"])))


MERMAID = """\
flowchart LR
    source[("source<br/>ArraySource<br/>8 records<br/>Sequential<br/>batches of 4")]
    n0["a<br/>same"]
    n3["merge<br/>same"]
    n4["off<br/>same"]
    output(("output"))
    subgraph g0 ["view"]
        n1(["noise<br/>random for each batch"])
        n2["same"]
    end
    source -->|"x: f32[4,3]"| n0
    n0 -->|"x: f32[4,3]"| n1
    n1 -->|"x: f32[4,3]"| n2
    n0 -->|"x: f32[4,3]"| n3
    n2 -->|"x: f32[4,3]"| n3
    n3 -->|"x: f32[4,3]"| output
    n0 -.->|"x: f32[4,3]"| n4
    style n4 stroke-dasharray:5 4
"""


@with_graphviz
@pytest.mark.parametrize("direction", ["right", "down"])
def test_dot_is_read_by_graphviz(facts: dp.Summary, direction: Any) -> None:
    dot(visual.draw(facts, direction=direction, cost=True).dot)


@with_graphviz
@pytest.mark.parametrize("direction", ["right", "down"])
def test_no_line_lies_over_a_title(direction: Any) -> None:
    nodes: dict[str, Any] = {"augmented": [same, noise, same], "other": same, "merge": same}
    edges: dict[str, list[str]] = {"augmented": [], "other": [], "merge": ["augmented", "other"]}
    pipeline = dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink="merge")
    svg = "{http://www.w3.org/2000/svg}"
    drawn = visual.draw(dp.summary(pipeline, STREAM), direction=direction).svg()
    root = ElementTree.fromstring(drawn)
    places = {x.text: (float(x.attrib["x"]), float(x.attrib["y"])) for x in root.iter(f"{svg}text")}
    lines = [xy for path in root.iter(f"{svg}path") for xy in points(path.attrib["d"])]
    for title in ("source", "augmented"):
        left, low = places[title]
        over = [(x, y) for x, y in lines if 0 < x - left < 6 * len(title) and 0 < low - y < 12]
        assert over == [], title


def points(path: str) -> list[tuple[float, float]]:
    """Points on the curves of a path of SVG."""
    numbers = [float(x) for x in re.findall(r"-?[\d.]+", path)]
    corners = np.reshape(numbers, (-1, 2))
    t = np.linspace(0, 1, 50)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    curves = [weights @ corners[at : at + 4] for at in range(0, len(corners) - 3, 3)]
    return [(x, y) for curve in curves for x, y in curve.tolist()]


def dot(text: str) -> str:
    """What Graphviz makes of it; it tells of what it does not understand on its stderr."""
    made = subprocess.run(["dot", "-Tplain"], input=text, capture_output=True, text=True)
    assert (made.returncode, made.stderr) == (0, "")
    return made.stdout


@with_graphviz
def test_names_are_escaped_in_a_picture() -> None:
    root = ElementTree.fromstring(visual.draw(row_of(NAMES)).svg())
    texts = ["".join(x.itertext()) for x in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [name.replace("\n", " ") in texts for name in NAMES] == [True] * len(NAMES)


def test_names_are_escaped_in_mermaid() -> None:
    lines = str(visual.draw(row_of(NAMES))).splitlines()
    assert lines[2:7] == [
        '    n0["say #quot;hi#quot; [1]<br/>same"]',
        '    n1["#lt;b#gt;#amp;amp; {a#124;b}<br/>same"]',
        '    n2["naïve 日本 #96;x#96; #35;35; #92;<br/>same"]',
        '    n3["two lines<br/>same"]',
        '    n4["end<br/>same"]',
    ]


def test_of_many_fields_the_first_are_drawn() -> None:
    many = dp.Stream(dp.ArraySource({f"c{i:02}": np.zeros(4) for i in range(20)}), batch_size=2)
    text = str(visual.draw(dp.summary(dp.Pipeline.linear([same]), many)))
    assert '|"c00: f32[2]<br/>c01: f32[2]<br/>c02: f32[2]<br/>… 17 more"|' in text


@with_graphviz
def test_a_picture_is_what_its_suffix_says(facts: dp.Summary, tmp_path: Path) -> None:
    svg, png = tmp_path / "graph.svg", tmp_path / "graph.png"
    drawing = visual.draw(facts, svg)
    drawing.save(png)
    assert drawing.svg().startswith("<svg")
    assert svg.read_text(encoding="utf-8") == drawing.svg()
    assert png.read_bytes().startswith(b"\x89PNG")


@with_graphviz
def test_letters_that_no_font_has_are_told_of_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fontconfig, "_LIST", ("echo", "20-7e e4"))
    with pytest.warns(UserWarning, match="No installed font") as told:
        visual.draw(row_of(["äöü"]), tmp_path / "graph.png")
    assert [str(one.message) for one in told] == [
        "No installed font has the letters `ö`, `ü`, which are drawn as boxes; install one that "
        "has them, such as Noto Sans (apt-get install fonts-noto-cjk for Chinese, Japanese and "
        "Korean)."
    ]


@with_graphviz
def test_where_fonts_are_not_listed_a_picture_is_drawn_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fontconfig, "_LIST", ("no-such-program",))
    visual.draw(row_of(["ä"]), tmp_path / "graph.png")
    assert (tmp_path / "graph.png").stat().st_size > 0


def test_a_text_is_what_its_suffix_says(facts: dp.Summary, tmp_path: Path) -> None:
    graph, flow = tmp_path / "graph.dot", tmp_path / "graph.mmd"
    drawing = visual.draw(facts, graph)
    drawing.save(flow)
    assert graph.read_text(encoding="utf-8") == drawing.dot
    assert flow.read_text(encoding="utf-8") == str(drawing)
    assert drawing.dot.startswith("digraph")


def test_a_library_that_is_absent_is_told_by_name(
    facts: dp.Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError) as caught:
        visual.draw(facts).svg()
    assert str(caught.value) == (
        "A picture of a graph needs the library graphviz, which is not installed; run "
        'pip install "dagrax[draw]".'
    )


@with_graphviz
def test_a_notebook_is_given_a_picture_for_both_themes(facts: dp.Summary) -> None:
    bundle = visual.draw(facts)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "image/svg+xml"}
    assert bundle["text/html"].startswith('<div style="overflow-x:auto"><img ')
    assert "prefers-color-scheme:dark" in bundle["image/svg+xml"]
    assert visual.draw(facts)._repr_svg_() == bundle["image/svg+xml"]


def test_without_graphviz_a_notebook_is_given_mermaid(
    facts: dp.Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("graphviz", reason="graphviz is not installed")
    monkeypatch.setenv("PATH", "")
    drawing = visual.draw(facts)
    assert drawing._repr_svg_() is None
    assert drawing._repr_mimebundle_() == {
        "text/plain": str(drawing),
        "text/vnd.mermaid": str(drawing),
        "text/markdown": f"```mermaid\n{drawing}```",
    }
    with pytest.raises(RuntimeError) as caught:
        drawing.svg()
    assert str(caught.value) == (
        "A picture of a graph needs the program `dot` of Graphviz, which is not on the PATH; "
        "install it (apt-get install graphviz, brew install graphviz, conda install graphviz), or "
        'draw text: "graph.mmd" or "graph.dot" need no program.'
    )


def test_shades_are_of_times_where_these_were_measured() -> None:
    nodes: dict[str, Any] = {
        "loop": lambda x: jax.lax.fori_loop(0, 10_000, lambda _, y: jnp.sin(y), x),
        "double": lambda x: 2 * x,
    }
    ones = dp.Stream(dp.ArraySource(np.ones((4, 100), np.float32)), batch_size=4)
    found = dp.summary(dp.Pipeline.linear(nodes), ones, cost=True, measure=True)
    _, loop, double, _ = graph_of(found, cost=True).boxes
    assert (loop.shade, double.shade) == tuple(row.share for row in found.rows)
    assert loop.shade > 0.5


@with_graphviz
@pytest.mark.parametrize("names", [("a", "b", "c"), ("a", "a_name_of_twenty_two", "b")])
@pytest.mark.parametrize("length", [5, 20, 45, 90])
def test_words_on_arrows_stay_within_their_frame(names: tuple[str, ...], length: int) -> None:
    stages = [named(name) for name in names]
    read = dp.Stream(dp.ArraySource({"f" * length: np.zeros((8, 3))}), batch_size=4)
    graph = dp.Pipeline.from_dag(nodes={"view": stages}, edges={"view": []}, sink="view")
    text = visual.draw(dp.summary(graph, read), direction="down").dot
    made = subprocess.run(["dot", "-Tjson"], input=text, capture_output=True, text=True, check=True)
    found = json.loads(made.stdout)
    (frame,) = [x for x in found["objects"] if x["name"].startswith("cluster")]
    within = [e for e in found["edges"] if {e["tail"], e["head"]} <= set(frame["nodes"])]
    words = [x for edge in within for x in edge["_ldraw_"] if x["op"] == "T"]
    ends = [x["pt"][0] + x["width"] * {"l": 1, "c": 0.5, "r": 0}[x["align"]] for x in words]
    assert len(ends) == 2
    assert max(ends) < float(frame["bb"].split(",")[2])
