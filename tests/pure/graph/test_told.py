"""What differs between two graphs, told by their nodes."""

from typing import Any

import pytest

from dagrax.pure._graph._schedule import Schedule
from dagrax.pure._graph._told import graph_changes, graph_text

Nodes = dict[str, tuple[str, list[str]]]
OWN: Nodes = {
    "scale": ("Scale", []),
    "blur": ("Blur", ["scale"]),
    "sum": ("Sum", ["blur", "scale"]),
}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, ""),
    "one more": ({"crop": ("Crop", [])}, "there is no `crop` here"),
    "one less": ({"blur": None, "sum": ("Sum", ["scale"])}, "`blur` is here alone; "
        "`sum` reads `scale`, here `blur`, `scale`"),
    "renamed": ({"scale": None, "times": ("Scale", []), "blur": ("Blur", ["times"]),
        "sum": ("Sum", ["blur", "times"])}, "`times` is named `scale` here"),
    "two renamed": ({"scale": None, "times": ("Scale", []), "blur": None,
        "fog": ("Blur", ["times"]), "sum": ("Sum", ["fog", "times"])},
        "`times` is named `scale` here; `fog` is named `blur` here"),
    "renamed, and another type": ({"scale": None, "plus": ("Plus", []), "blur": ("Blur", ["plus"]),
        "sum": ("Sum", ["blur", "plus"])}, "there is no `plus` here; `scale` is here alone; "
        "`blur` reads `plus`, here `scale`; `sum` reads `blur`, `plus`, here `blur`, `scale`"),
    "another type": ({"blur": ("Fog", ["scale"])}, "`blur` is of type Fog, here of Blur"),
    "reads another": ({"blur": ("Blur", [])}, "`blur` reads the source, here `scale`"),
    "the other way round": ({"sum": ("Sum", ["scale", "blur"])},
        "`sum` reads `scale`, `blur`, here `blur`, `scale`"),
    "another sink": ({"": "blur"}, "the sink is `blur`, which is `sum` here"),
    "more than is told": ({f"x{i}": ("X", []) for i in range(9)},
        "there is no `x0`, `x1`, `x2`, `x3`, `x4`, `x5` and 3 more here"),
}  # fmt: skip


def text_of(nodes: Nodes, sink: str = "sum") -> str:
    edges = {name: before for name, (_, before) in nodes.items()}
    return graph_text(Schedule(edges, sink), {name: kind for name, (kind, _) in nodes.items()})


@pytest.mark.parametrize("case", CASES)
def test_what_differs_is_told_by_node(case: str) -> None:
    change, told = CASES[case]
    sink = change.get("", "sum")
    saved = {**OWN, **{name: x for name, x in change.items() if name}}
    saved = {name: x for name, x in saved.items() if x is not None}
    assert graph_changes(text_of(saved, sink), text_of(OWN)) == told


def test_many_changes_are_counted() -> None:
    saved: Nodes = {**{f"x{i}": ("Y", []) for i in range(8)}, "sum": ("Sum", [])}
    own: Nodes = {**{f"x{i}": ("X", []) for i in range(8)}, "sum": ("Sum", [])}
    told = graph_changes(text_of(saved), text_of(own))
    assert told.startswith("`x0` is of type Y, here of X; `x1` is")
    assert told.endswith("; `x5` is of type Y, here of X; 2 more")


def test_a_text_is_small_and_that_of_hundreds_of_nodes_is_left_out() -> None:
    def chain(count: int, name: str) -> Nodes:
        names = [f"{name}_{i}" for i in range(count)]
        before = [[], *([x] for x in names)]
        nodes = dict(zip(names, (("RandomErasingOperator", x) for x in before), strict=False))
        return {**nodes, "sum": ("Sum", [names[-1]])}

    thirty = text_of(chain(30, "random_erasing"))
    assert len(thirty) < 400
    assert graph_changes(thirty, text_of(chain(31, "random_erasing"))) == (
        "`random_erasing_30` is here alone; `sum` reads `random_erasing_29`, here "
        "`random_erasing_30`"
    )
    assert text_of(chain(2000, "random_erasing")) == ""


@pytest.mark.parametrize("saved", [None, "", "{", "%%", "c$|", 3])
def test_what_was_saved_without_a_text_or_with_a_damaged_one_is_told_by_nothing(saved: Any) -> None:
    assert graph_changes(saved, text_of(OWN)) == ""
