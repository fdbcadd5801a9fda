"""The house as it is drawn by its imports: rooms in their order, no circle, a story on every door.

All of it is read from the files; nothing of the packages is run, but for what their modules hold.
"""

import ast
import collections
import functools
import graphlib
import importlib
import re
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# The order in which `pure` is read: a file imports from the rooms before its own, and from its own.
ROOMS = (
    *(
        "_text",
        "_misused",
        "_warning",
        "_tables",
        "_node",
        "_mesh",
        "_late",
        "_checking",
        "_random",
        "ops",
        "_channels_last",
        "_static",
        "_graph",
        "_namespace",
        "_apart",
        "_orders",
        "_sources",
        "_flow",
        "_contract",
    ),
    *(
        "_loop",
        "_variants",
        "_fingerprint",
        "_summary",
        "host",
        "_debug",
        "testing",
        "visual",
        "internal",
        "__init__",
    ),
)
FLOWS = {"_orders", "_sources", "_flow"}
SIDES = ("pure", "nnx_api")
MUTABLE = (
    *(dict, list, set, bytearray, np.ndarray, collections.deque),
    *(weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet),
    type(functools.cache(lambda: None)),
)


def files(*sides: str) -> dict[str, Path]:
    """The files of the packages by module name, `pure._graph.__init__` included."""
    found = [path for side in sides for path in sorted((ROOT / side).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in found}


def tree_of(name: str) -> ast.Module:
    return ast.parse(files(*SIDES)[name].read_text())


def imported(name: str, tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports, relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("dagrax.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")[: -node.level] if node.level else []
            module = [*above, *(node.module or "").split(".")]
            stem = ".".join(part for part in module if part).removeprefix("dagrax.")
            yield from (f"{stem}.{alias.name}" for alias in node.names)


@functools.cache
def arrows() -> dict[str, frozenset[str]]:
    """For each file of the packages, those that it imports from."""
    known = files(*SIDES)

    def target(dotted: str) -> str | None:
        stem = dotted.rpartition(".")[0]
        tried = (dotted, f"{dotted}.__init__", stem, f"{stem}.__init__")
        return next((name for name in tried if name in known), None)

    return {
        name: frozenset(
            found for dotted in imported(name, tree_of(name)) if (found := target(dotted))
        )
        for name in known
    }


def room(name: str) -> str:
    return name.split(".")[1]


def drawn(name: str, other: str) -> str:
    return f"{name} -> {other}"


def test_the_arrows_are_seen() -> None:
    assert "pure._graph._schedule" in arrows()["pure._graph._pipeline"]
    assert "pure._text" in arrows()["pure._graph._schedule"]
    assert "pure._loop" in arrows()["pure.__init__"]
    assert any(name.startswith("pure.") for name in arrows()["nnx_api._pipeline"])


def test_every_file_of_the_core_stands_in_a_room_of_the_house() -> None:
    assert [name for name in files("pure") if room(name) not in ROOMS] == []


def test_an_import_of_the_core_goes_to_a_room_that_comes_earlier() -> None:
    back = [
        drawn(name, other)
        for name in files("pure")
        for other in arrows()[name]
        if room(other) != room(name) and ROOMS.index(room(other)) > ROOMS.index(room(name))
    ]
    assert back == []


def test_reading_reading_ahead_and_saving_do_not_see_each_other() -> None:
    seen = [
        drawn(name, other)
        for name in files("pure")
        if name.startswith("pure.host.")
        for other in arrows()[name]
        if other.startswith("pure.host.") and not others(name) & others(other)
    ]
    assert seen == []


def others(name: str) -> set[str]:
    """The rooms of `pure.host` that a file belongs to: all of them, if it stands in none."""
    rooms = {"_sources", "_ahead", "_saved"}
    return {room for room in rooms if f".{room}." in name} or rooms


def test_the_core_does_not_know_the_face() -> None:
    up = [
        drawn(name, other)
        for name in files("pure")
        for other in imported(name, tree_of(name))
        if other.split(".")[0] in ("flax", "nnx_api")
    ]
    assert up == []


def test_what_is_computed_and_what_flows_do_not_see_each_other() -> None:
    seen = [
        drawn(name, other)
        for name in files("pure")
        for other in arrows()[name]
        if "_graph" in (rooms := {room(name), room(other)}) and rooms & FLOWS
    ]
    assert seen == []


@pytest.mark.parametrize("side", ["pure"])
def test_no_file_is_reached_from_itself(side: str) -> None:
    graph = {name: arrows()[name] for name in files(side)}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # else a CycleError draws it


def test_what_only_the_face_needs_is_taken_by_nobody_else() -> None:
    takers = [name for name in arrows() if "pure.internal" in arrows()[name]]
    assert [name for name in takers if not name.startswith("nnx_api.")] == []
    asked = re.compile(r"\bpure\.internal\b|\bimport internal\b")
    aside = [
        path for folder in ("examples", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    assert [str(path.relative_to(ROOT)) for path in aside if asked.search(path.read_text())] == []


@pytest.mark.parametrize("side", ["pure"])
def test_every_file_opens_with_its_story(side: str) -> None:
    # What a package exports may be told on a whole screen.
    lines = {
        name: len((ast.get_docstring(tree_of(name)) or "").splitlines())
        for name, path in files(side).items()
        if path.read_text()
    }
    public = (f"{side}.__init__", "pure.host.__init__", "pure.testing.__init__")
    most = {name: 16 if name in public else 6 for name in lines}
    assert {name: count for name, count in lines.items() if not 2 <= count <= most[name]} == {}


@pytest.mark.parametrize("side", ["pure"])
def test_a_file_is_read_in_one_sitting(side: str) -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in files(side).items()}
    assert {name: count for name, count in lines.items() if count > 400} == {}


@pytest.mark.parametrize(("side", "most"), [("pure", 0.08)])
def test_few_parameters_and_results_may_be_anything(side: str, most: float) -> None:
    loose = [
        annotation is None
        or "Any" in {x.id for x in ast.walk(annotation) if isinstance(x, ast.Name)}
        for name in files(side)
        for annotation in annotations(tree_of(name))
    ]
    assert sum(loose) / len(loose) <= most


def annotations(tree: ast.Module) -> Iterator[ast.expr | None]:
    """The annotations of all parameters and results, None where there is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = node.args
            every = [*own.posonlyargs, *own.args, *own.kwonlyargs, own.vararg, own.kwarg]
            yield from (x.annotation for x in every if x and x.arg not in ("self", "cls"))
            yield node.returns


def test_the_core_shows_few_names() -> None:
    shown = {
        alias.asname or alias.name
        for node in tree_of("pure.__init__").body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert 0 < len(shown) <= 60


@pytest.mark.parametrize("side", SIDES)
def test_a_module_holds_nothing_that_changes(side: str) -> None:
    held = [
        f"{name}.{own}"
        for name in files(side)
        for own, value in vars(
            importlib.import_module(f"dagrax.{name}".removesuffix(".__init__"))
        ).items()
        if isinstance(value, MUTABLE) and not (own.startswith("__") and own.endswith("__"))
    ]
    assert held == []


def test_item_47_a_shape_is_spelt_in_one_place() -> None:
    spelt = [
        f"{name}:{node.lineno}"
        for name in files(*SIDES)
        if room(name) != "_text"
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.JoinedStr | ast.Call) and spells(ast.unparse(node))
    ]
    assert spelt == []


def spells(code: str) -> bool:
    """Whether code writes a dtype beside its shape, or asks JAX to: `float32[2, 3]`."""
    return bool(re.match(r"(str|repr|format)\(.*typeof\(|f['\"].*dtype\}[\[{].*shape", code))
