"""What a summary says is so: of the graph, of what it holds, of what XLA makes of it."""

import dataclasses
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import dagrax.pure as dp
from dagrax.pure._summary._memory import Device, too_much
from dagrax.pure._summary._words import bytes_text, count_text, seconds_text, width
from tests.counting import counted

OPTIMIZED = True  # what XLA says is of what it makes
DATA = {
    "id": np.arange(10, dtype=np.int32),
    "x": np.zeros((10, 3), np.float32),
}
TABLE = """\
10 records in batches of 5, Sequential, remainder 'drop': 2 batches an epoch
node           reads   stage        output       bytes  notes
source                 ArraySource  id: i32[5],   80 B
                                    x: f32[5,3]
lambda (sink)  source  <lambda>     x: f32[5,2]   40 B  draws for each record
memory: data 160 B, parameters 0 B, carry 8 B, a batch 80 B"""


class Scale(eqx.Module):
    by: jax.Array
    table: jax.Array

    def __call__(self, batch: Any) -> Any:
        return {**batch, "x": batch["x"] * self.by}


def spare(batch: Any) -> Any:
    return batch


def pair(left: Any, right: Any) -> Any:
    return {"both": (left["x"], right["x"])}


def jitter(batch: Any, *, key: jax.Array) -> Any:
    return {**batch, "x": batch["x"] + jax.random.normal(key, batch["x"].shape)}


def graph() -> dp.Pipeline:
    by, table = jnp.ones((1, 3)), jnp.arange(4)
    nodes: dict[str, Any] = {
        "a": Scale(by, table),
        "view": [Scale(by, table), jitter],
        "b": pair,
        "off": spare,
    }
    edges: dict[str, list[str]] = {"a": [], "view": ["a"], "b": ["a", "view"], "off": []}
    return dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink="b")


def unfolded(found: dp.Summary) -> str:
    return str(found).replace("\n  ", " ")


def stream(**options: Any) -> dp.Stream:
    given = {"batch_size": 4, "remainder": "partial", **options}
    return dp.Stream(dp.ArraySource(DATA), dp.Shuffled(jax.random.key(0)), **given)


@pytest.fixture(scope="module")
def costly() -> Iterator[dp.Summary]:
    yield dp.summary(graph(), stream(), cost=True, measure=True)


def test_the_text_is_a_table_of_the_nodes() -> None:
    noise = dp.per_record(lambda record, *, key: {"x": jax.random.normal(key, (2,))})
    batches = dp.Stream(dp.ArraySource(DATA), batch_size=5, remainder="drop")
    assert dp.describe(dp.Pipeline.linear([noise]), batches) == TABLE
    assert repr(dp.summary(dp.Pipeline.linear([noise]), batches)) == TABLE


def test_a_row_says_what_a_node_is() -> None:
    found = dp.summary(graph(), stream())
    batch = {
        "id": jax.ShapeDtypeStruct((4,), np.int32),
        "x": jax.ShapeDtypeStruct((4, 3), np.float32),
    }
    assert found.source.output == batch
    assert [(row.name, row.predecessors, row.stage, row.runs) for row in found.rows] == [
        ("a", (), "Scale", "sink"),
        ("view/scale", ("a",), "Scale", "sink"),
        ("view/jitter", ("view/scale",), "jitter", "sink"),
        ("b", ("a", "view/jitter"), "pair", "sink"),
        ("off", (), "spare", "on demand"),
    ]
    assert [row.output for row in found.rows[2:]] == [batch, {"both": (batch["x"],) * 2}, batch]
    assert [row.bytes_out for row in found.rows] == [64, 64, 64, 96, 64]
    assert [row.chain for row in found.rows] == [None, "view", "view", None, None]
    assert [row.draws for row in found.rows] == [(), (), ("key",), (), ()]
    assert [row.is_sink for row in found.rows] == [False, False, False, True, False]


def test_what_two_nodes_hold_is_counted_once_and_told() -> None:
    found = dp.summary(graph(), stream())
    assert [(row.parameters, row.shared_with) for row in found.rows[:3]] == [
        (3, ()),
        (0, ("a",)),
        (0, ()),
    ]
    assert (found.totals.parameters, found.totals.parameter_bytes) == (3, 12)
    assert found.totals.carry_bytes == 8 + 16  # the position, and what is no float


@pytest.mark.parametrize(
    ("remainder", "batches", "dropped", "padded", "said"),
    [
        ("partial", 3, 0, 0, "'partial': 3 batches an epoch, the last of 2"),
        ("drop", 2, 2, 0, "'drop': 2 batches an epoch, 2 records dropped"),
        ("pad", 3, 0, 2, "'pad': 3 batches an epoch, 2 rows of the last filled up"),
        (dp.Pad("ok"), 3, 0, 2, "'Pad(\"ok\")': 3 batches an epoch, 2 rows of the last filled up"),
        ("carry", 3, 0, 0, "'carry': 3 batches an epoch"),
    ],
)
def test_totals_say_what_becomes_of_the_remainder(
    remainder: Any, batches: int, dropped: int, padded: int, said: str
) -> None:
    found = dp.summary(dp.Pipeline.linear([spare]), stream(remainder=remainder))
    totals = found.totals
    assert (totals.records, totals.batch_size) == (10, 4)
    assert (totals.batches, totals.dropped, totals.padded) == (batches, dropped, padded)
    assert unfolded(found).startswith(
        f"10 records in batches of 4, Shuffled, remainder {said}\nnode"
    )


def test_all_of_it_is_json(costly: dp.Summary) -> None:
    found = json.loads(json.dumps(costly.to_dict()))
    assert list(found) == ["source", "rows", "totals"]
    assert [row["name"] for row in found["rows"]] == [row.name for row in costly.rows]
    assert found["rows"][3]["output"] == [
        {"field": "both/0", "dtype": "float32", "shape": [4, 3]},
        {"field": "both/1", "dtype": "float32", "shape": [4, 3]},
    ]
    assert found["totals"]["flops"] == costly.totals.flops


def test_nothing_is_compiled_unless_it_is_asked_for() -> None:
    pipeline, batches = graph(), stream()
    with counted() as seen:
        found = dp.summary(pipeline, batches)
    assert seen.compiled == []
    figures = [(row.flops, row.bytes_touched, row.seconds, row.share) for row in found.rows]
    assert figures == [(None,) * 4] * 5
    assert (found.totals.flops, found.totals.workspace_bytes) == (None, None)


def test_costs_add_up_to_those_of_the_whole_program(costly: dp.Summary) -> None:
    run = [row for row in costly.rows if row.runs == "sink"]
    flops = sum(row.flops or 0.0 for row in run) + (costly.source.flops or 0.0)
    touched = sum(row.bytes_touched or 0.0 for row in run) + (costly.source.bytes_touched or 0.0)
    said = whole_program()
    assert costly.totals.flops == pytest.approx(said["flops"], rel=0.02)
    assert flops == pytest.approx(said["flops"], rel=0.1)  # a tenth, as the docs say
    # Fused, what passes from node to node is not touched.
    assert said["bytes accessed"] <= touched * 1.1


def whole_program() -> dict[str, float]:
    """What XLA says of a step that is compiled by hand."""
    given = (graph(), stream(), jax.random.key(0))
    arrays, rest = eqx.partition(given, eqx.is_array)

    def step(arrays: Any, at: jax.Array) -> Any:
        pipeline, batches, key = eqx.combine(arrays, rest)
        batch, origin = batches.read(dp.Cursor(at[0], at[1]), 4)
        return dp.apply(pipeline, batch, key=key, origin=origin)

    said: Any = jax.jit(step).lower(arrays, jnp.zeros(2, jnp.uint32)).compile().cost_analysis()
    own: dict[str, float] = said[0] if isinstance(said, list) else said
    return own


def test_measured_shares_add_up_to_one(costly: dp.Summary) -> None:
    shares = {row.name: row.share for row in costly.rows}
    assert shares.pop("off") == 0.0
    assert sum(x or 0.0 for x in shares.values()) == pytest.approx(1.0)
    assert all((row.seconds or 0.0) > 0.0 for row in costly.rows)
    assert (costly.totals.seconds or 0.0) > 0.0


def test_an_error_in_a_node_names_it() -> None:
    def checked(batch: Any) -> Any:
        return {"x": eqx.error_if(batch["x"], batch["x"] < 1, "x is too small")}

    with pytest.raises(Exception, match="x is too small") as caught:
        dp.summary(dp.Pipeline.linear({"look": checked}), stream(), measure=True)
    assert "This happened in node `look`, which was run for its cost." in caught.value.__notes__


def test_costs_are_refused_inside_a_trace() -> None:
    def inside(pipeline: dp.Pipeline) -> jax.Array:
        assert dp.summary(pipeline, stream()).totals.records == 10
        dp.summary(pipeline, stream(), measure=True)
        return jnp.zeros(())

    with pytest.raises(TypeError) as caught:
        eqx.filter_jit(inside)(graph())
    assert str(caught.value) == (
        "cost and measure compile programs and run them, which cannot be done inside a trace (jit, "
        "scan, vmap); call summary outside."
    )


def test_what_does_not_fit_is_warned_of(costly: dp.Summary) -> None:
    gpu = Device("NVIDIA H100", 80 * 2**30)
    assert too_much(80 * 2**30, gpu) is None
    assert too_much(2**60, Device("NVIDIA H100", None)) is None
    warning = too_much(90 * 2**30, gpu)
    assert warning == (
        "A step needs at least 90.0 GiB, and the NVIDIA H100 has 80.0 GiB. Read the data on the "
        "host (dagrax.pure.host), spread them over a mesh, or take smaller batches."
    )
    full = dataclasses.replace(costly, totals=dataclasses.replace(costly.totals, warning=warning))
    assert unfolded(full).endswith(f"\nwarning: {warning}")
    assert f'<p class="warning">{warning}</p>' in full._repr_html_()
    assert costly.totals.warning is None


def test_a_notebook_is_given_a_table_that_takes_its_colours(costly: dp.Summary) -> None:
    bundle = costly._repr_mimebundle_()
    assert bundle == {"text/plain": str(costly), "text/html": costly._repr_html_()}
    assert bundle["text/html"].count("<tr") == 1 + 1 + len(costly.rows)
    assert '<tr class="idle"><th>off</th>' in bundle["text/html"]


def test_names_are_escaped_and_long_specs_shortened() -> None:
    many = dp.Stream(dp.ArraySource({f"c{i:03}": np.zeros(4) for i in range(40)}), batch_size=2)
    found = dp.summary(dp.Pipeline.linear({"<b>\n日本": spare}), many)
    told = re.findall(r"c\d+: f32\[2\]|… \d+ more", str(found))
    assert told[:5] == [*(f"c00{place}: f32[2]" for place in range(4)), "… 36 more"]
    assert "c039" not in str(found)
    lines = str(found).splitlines()
    assert len({width(line[: line.index("ArraySource")]) for line in lines if "Arr" in line}) == 1
    assert any(line.startswith("<b> 日本 (sink)  source") for line in lines)
    html = found._repr_html_()
    assert "&lt;b&gt; 日本 (sink)" in html
    assert "c039: f32[2]" in html  # where it is unfolded


def test_the_text_fits_a_terminal(costly: dp.Summary) -> None:
    name, field = "a_name_" * 14, "a field " * 6
    data = {field: np.zeros((4, 2, 2), np.float32), "日本" * 20: np.zeros(4)}
    stages: dict[str, Any] = {name: spare, "view": [spare, lambda batch, *, key: batch]}
    batches = dp.Stream(dp.ArraySource(data), batch_size=2)
    long = dp.summary(dp.Pipeline.linear(stages), batches)
    for found in costly, long:
        assert max(map(width, str(found).splitlines())) <= 80
    assert name not in str(long)
    assert long.rows[0].name == name


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_in_a_terminal_no_word_is_cut(costly: dp.Summary, columns: int) -> None:
    console = Console(width=columns, record=True, file=io.StringIO())
    console.print(costly)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= columns
    for word in ("view/jitter", "f32[4,3]", "ArraySource", "touches", "share", "bytes"):
        assert word in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bytes_text(0), "0 B"),
        (bytes_text(1023), "1023 B"),
        (bytes_text(1024), "1.0 KiB"),
        (bytes_text(1023 * 1024), "1.0 MiB"),
        (bytes_text(200 * 2**40), "200 TiB"),
        (count_text(999), "999"),
        (count_text(123_456), "123 k"),
        (count_text(1e15), "1000 T"),
        (seconds_text(0.00002), "20.0 us"),
        (seconds_text(0.25), "250 ms"),
        (seconds_text(61), "61.0 s"),
    ],
)
def test_numbers_are_short(text: str, said: str) -> None:
    assert text == said


def test_flops_count_the_body_of_a_loop_once_and_no_sines() -> None:
    nodes: dict[str, Any] = {
        "loop": lambda x: jax.lax.fori_loop(0, 1000, lambda _, y: 2 * y, x),
        "sine": jnp.sin,
    }
    ones = dp.Stream(dp.ArraySource(np.ones((4, 100), np.float32)), batch_size=4)
    loop, sine = dp.summary(dp.Pipeline.linear(nodes), ones, cost=True).rows
    assert ((loop.flops or 0.0) < 1000, sine.flops) == (True, 0.0)
