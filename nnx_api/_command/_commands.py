"""What each command does of a pipeline: it calls the method, and says what came of it.

Where the pipeline is from, and how errors are told, is not known here.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast

from dagrax.pure import internal, testing

from .._pipeline import Pipeline
from ._arguments import Asked
from ._bench import measured
from ._told import Usage, text_of

_Pipeline: TypeAlias = Pipeline[Any, Any]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command has to say, as text and as data, and whether all is well."""

    text: str
    data: object
    is_well: bool = True


_TRIED = (
    "Some records were tried, and no NaN was looked for: pipeline.checked() and debug() do that."
)


def describe(pipeline: _Pipeline, asked: Asked) -> Answer:
    """Its summary."""
    summary = pipeline.summary(cost=asked.cost, measure=asked.measure)
    return Answer(str(summary), summary.to_dict())


def draw(pipeline: _Pipeline, asked: Asked) -> Answer:
    """Its graph, in a file or as Mermaid."""
    direction = cast(Literal["right", "down"] | None, asked.direction)
    drawing = pipeline.draw(asked.path, direction=direction, cost=asked.cost)
    if asked.path is None:
        text = str(drawing).rstrip("\n")
        return Answer(text, {"mermaid": text})
    return Answer(f"drawn into {asked.path}", {"path": asked.path})


def show(pipeline: _Pipeline, asked: Asked) -> Answer:
    """A sheet of its records, in a file."""
    _know(pipeline, "--nodes", asked.nodes)
    pipeline.show(asked.count, nodes=asked.nodes, path=asked.path)
    return Answer(f"shown in {asked.path}", {"path": asked.path})


def bench(pipeline: _Pipeline, asked: Asked) -> Answer:
    """How fast it is, in every way."""
    found = measured(pipeline, asked.batches, asked.rounds)
    return Answer(str(found), found.to_dict())


def check(pipeline: _Pipeline, asked: Asked) -> Answer:
    """Whether its stages fit, and what `dagrax.pure.testing` sees of it; of variants, of each."""
    _know(pipeline, "--mixes", asked.mixes)
    _know(pipeline, "--aside", asked.aside)
    specs = pipeline.check()
    one_fits = len(specs) == 1
    lines = ["check: the node fits" if one_fits else f"check: {len(specs)} nodes fit"]
    found: list[dict[str, object]] = []
    for number, one in enumerate(pipeline.unstack() if pipeline._variants else [pipeline]):
        variant = f"variant {number}, " if pipeline._variants else ""
        for name, run in _checks(one, asked).items():
            if name in asked.only:
                text, data = _checked(f"check_{name}", run)
                lines.append(variant + text)
                found.append({**data, **({"variant": number} if variant else {})})
    faults = sum(not x["is_well"] for x in found)
    lines.append(f"{_many(len(found), 'check')}, {_many(faults, 'fault')}")
    if not faults:
        lines.append(_TRIED)
    return Answer("\n".join(lines), {"is_well": not faults, "checks": found}, is_well=not faults)


def _many(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'s' * (count != 1)}"


def _know(pipeline: _Pipeline, option: str, nodes: Sequence[str] | None) -> None:
    known = [*pipeline.nodes, *dict(pipeline._schedule.ends)]
    for name in nodes or ():
        if name not in known:
            told = internal.near(name, known) or f" The nodes are {internal.listed(known)}."
            raise Usage(f"{option} names `{name}`, which is no node.{told}")


def _checked(name: str, run: Callable[[], testing.Report]) -> tuple[str, dict[str, object]]:
    try:
        report = run()
    except Exception as error:  # of a user's stage or source, whatever it is
        fault = str(error) if isinstance(error, AssertionError) else text_of(error)
        return f"{name}: FAULT\n  {fault}", {"check": name, "is_well": False, "fault": fault}
    return str(report), {**report.to_dict(), "is_well": True}


def _checks(pipeline: _Pipeline, asked: Asked) -> dict[str, Callable[[], testing.Report]]:
    graph, stream, key = pipeline.pure()
    size, order = stream.source.size, stream.order
    return {
        "order": lambda: testing.check_order(order, sizes=[min(size, 2**31 - 1)]),
        "source": lambda: _named(testing.check_source(stream.source), pipeline),
        "epoch": lambda: testing.check_epoch(stream),
        "invariance": lambda: testing.check_invariance(graph, stream, key, mixes=asked.mixes),
        "resume": lambda: testing.check_resume(graph, stream, key),
        "gradients": lambda: testing.check_gradients(graph, stream, key, aside=asked.aside),
    }


def _named(report: testing.Report, pipeline: _Pipeline) -> testing.Report:
    name, many = pipeline._one_source()._named(), report.subject.rpartition(" of ")[2]
    return dataclasses.replace(report, subject=f"{name} of {many}")


COMMANDS: Mapping[str, Callable[[_Pipeline, Asked], Answer]] = MappingProxyType(
    {"describe": describe, "draw": draw, "show": show, "check": check, "bench": bench}
)
