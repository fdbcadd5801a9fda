"""Which programs were compiled, when, how long it took, and in what each differs from one before.

Kept by their owner as words and numbers, so that nothing is kept alive; written only when something
is compiled. What the words are about is not known here.
"""

import dataclasses
import datetime
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from dagrax.pure import internal

_MOST = 1000  # compilations that are remembered
_COMPARED = 16  # programs of one entry point that a new one is compared with
_PATIENCE = 3
CHUNK = "batches of a program"  # of which there are two on an accelerator, by design


class RecompilationWarning(UserWarning):
    """An entry point of a pipeline was compiled again and again, for one and the same reason."""


class Said(NamedTuple):
    """A fact in words; `also` tells apart what reads alike, such as functions of one name."""

    text: str
    also: int = 0


# Of a thing (a node, the step function) and of a place in it, "" for itself, what is there.
Facts: TypeAlias = Mapping[tuple[str, str], Said]


@dataclasses.dataclass(frozen=True)
class Change:
    """In what a program differs from one before: where, and both values in words."""

    argument: str
    old: str
    new: str


@dataclasses.dataclass(frozen=True)
class Compilation:
    """One program that was compiled: for which entry point, when, for how many seconds, and in
    what it differs from the program before that is most like it; None where there was none."""

    entry: str
    when: datetime.datetime
    seconds: float
    changes: tuple[Change, ...] | None


@dataclasses.dataclass(frozen=True)
class Compilations:
    """All that was compiled for a pipeline, in order: `str` is a table, which a notebook shows as
    one. A program that was found compiled, as an equal pipeline has left it, is none of them."""

    events: tuple[Compilation, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How often each entry point was compiled."""
        return dict(Counter(event.entry for event in self.events))

    def __len__(self) -> int:
        return len(self.events)

    def __str__(self) -> str:
        if not self.events:
            return self._head()
        return f"{self._head()}\n\n{internal.text_table(self._rows())}"

    def _repr_html_(self) -> str:
        return internal.html_table(self._head(), self._rows())

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it: dicts, lists, strings and numbers."""
        events = [
            {**dataclasses.asdict(event), "when": event.when.isoformat(timespec="milliseconds")}
            for event in self.events
        ]
        return {"counts": self.counts, "events": events}

    def _head(self) -> str:
        if not self.events:
            return "Nothing was compiled for this pipeline."
        parts = []
        for entry, count in self.counts.items():
            seconds = sum(event.seconds for event in self.events if event.entry == entry)
            times = "once" if count == 1 else f"{count} times"
            parts.append(f"{entry} was compiled {times}, in {seconds:.2f} s")
        return "; ".join(parts) + "."

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [
            ("entry point", "at", "seconds", "what differs from the program before")
        ]
        for event in self.events:
            first: tuple[str, str, str] = (
                event.entry,
                f"{event.when:%H:%M:%S}",
                f"{event.seconds:.2f}",
            )
            for line in _lines(event.changes):
                rows.append((*first, line))
                first = ("", "", "")
        return rows


class History:
    """What was compiled for one owner, and the facts of the programs that it has run."""

    def __init__(self) -> None:
        self._events: deque[Compilation] = deque(maxlen=_MOST)
        self._known: dict[str, deque[Facts]] = {}

    def told(self) -> Compilations:
        """All that was compiled."""
        return Compilations(tuple(self._events))

    def note(self, entry: str, facts: Facts, seconds: float | None) -> None:
        """A program, and how long it took to compile, None where it was found compiled.

        It warns where that is the third time for one reason.
        """
        before = self._known.setdefault(entry, deque(maxlen=_COMPARED))
        differ = [(_changes(other, facts), other) for other in reversed(before)]
        changes, nearest = min(differ, key=lambda x: len(x[0]), default=(None, None))
        if nearest == facts:
            before.remove(facts)
        before.append(facts)
        if seconds is None:
            return
        now = datetime.datetime.now().astimezone()
        self._events.append(Compilation(entry, now, seconds, changes))
        blamed = {name: self._values(entry, name) for name in _blamed(changes)}
        if often := {name: x for name, x in blamed.items() if len(x) == _PATIENCE}:
            self._warn(entry, often)

    def _values(self, entry: str, name: str) -> list[str]:
        return [
            f"{change.old} -> {change.new}"
            for event in self._events
            if event.entry == entry and name in _blamed(event.changes)
            for change in event.changes or ()
            if change.argument == name
        ]

    def _warn(self, entry: str, often: Mapping[str, list[str]]) -> None:
        many = sum(event.entry == entry for event in self._events)
        told = "; ".join(f"{name}: {', '.join(values)}" for name, values in often.items())
        internal.warn(
            f"pipeline.{entry} was compiled {many} times, {_PATIENCE} of them for one reason: "
            f"{told}. {_mend(next(iter(often)))} print(pipeline.compilations()) tells all of them.",
            RecompilationWarning,
        )


def _changes(before: Facts, after: Facts) -> tuple[Change, ...]:
    none = Said("nothing")
    places = [x for x in {**before, **after} if before.get(x, none) != after.get(x, none)]
    other = {thing for thing, place in places if not place}  # of which the rest says nothing
    found = []
    for thing, place in places:
        if place and thing in other:
            continue
        old, new = before.get((thing, place), none), after.get((thing, place), none)
        other_one = "another " if old.text == new.text else ""
        name = f"{place} of {thing}" if place else thing
        found.append(Change(name, old.text, other_one + new.text))
    return tuple(found)


def _blamed(changes: tuple[Change, ...] | None) -> list[str]:
    # Another step function has a program of its own, and that is no fault.
    names = [change.argument for change in changes or () if change.argument != CHUNK]
    return [] if "the step function" in names else names


def _lines(changes: tuple[Change, ...] | None) -> list[str]:
    if changes is None:
        return ["the first"]
    lines = [f"{change.argument}: {change.old} -> {change.new}" for change in changes]
    return lines or ["nothing that could be named: JAX had let the program go, or was set anew"]


def _mend(name: str) -> str:
    mends = {
        "batch_size": "Keep one batch size, or make a pipeline for each.",
        "length": "Give one length, or loop by pipeline.blocks(step_fn, every=…), which compiles "
        "two programs at most.",
        "nodes": "Ask for the same nodes, of which you read some.",
        "of the step function": "Pass to the step function as arrays what changes: in "
        "init_carry=…, or as Variables of a module in modules=(…).",
        "carry": "Give an init_carry of one structure, and arrays of one shape and dtype.",
        "of node": "Hold what changes in an nnx.Variable, whose value a program takes as it is.",
        "modules": "Give modules of one structure: hold what changes in an nnx.Variable.",
        "of the batch": "Give batches of one shape and dtype: pad them.",
        "source": "Give data of one number of records, shape and dtype.",
    }
    known = (mend for word, mend in mends.items() if word in name)
    return next(known, "Set it once, or make a pipeline for each.")
