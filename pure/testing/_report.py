"""What a check tried and what it saw, as data and as text; and how a fault is told.

What is checked is not known here.
"""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import NoReturn

from .._flow._stream import Stream
from .._graph._pipeline import Pipeline
from .._text import listed, of_type, suggestion, valued


@dataclasses.dataclass(frozen=True)
class Seen:
    """Something that a check tried, and what it saw."""

    tried: str
    saw: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What a check found in order: its name, its subject, and all that it tried; `str` tells it."""

    check: str
    subject: str
    seen: tuple[Seen, ...]

    def __str__(self) -> str:
        width = max((len(x.tried) for x in self.seen), default=0)
        lines = [f"  {x.tried.ljust(width)}  {x.saw}" for x in self.seen]
        return "\n".join([f"{self.check}: {self.subject}", *lines])

    def to_dict(self) -> dict[str, object]:
        """The same as dicts, lists and strings, for JSON."""
        return {
            "check": self.check,
            "subject": self.subject,
            "seen": [dataclasses.asdict(x) for x in self.seen],
        }


def fail(where: str, what: str, error: BaseException | None = None) -> NoReturn:
    """Tell a fault. **Errors:** AssertionError."""
    raise AssertionError(f"{where}: {what}") from error


def stream_name(stream: Stream) -> str:
    """A stream in a few words: `6 records by 4, Shuffled`."""
    batching = stream.batching
    records = counted(batching.records, "record")
    return f"{records} by {batching.batch_size}, {type(stream.order).__name__}"


def graph_name(pipeline: Pipeline, stream: Stream) -> str:
    """A graph and its stream in a few words."""
    return f"{counted(len(pipeline.stages), 'node')} over {stream_name(stream)}"


def counted(count: int, what: str) -> str:
    """`1 batch`, `2 batches`."""
    plural = f"{what}es" if what.endswith("ch") else f"{what}s"
    return f"1 {what}" if count == 1 else f"{count} {plural}"


def joined(names: Sequence[object]) -> str:
    """`1, 2 and 7`."""
    words = [str(x) for x in names]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def check_stream(stream: object) -> None:
    """Refuse what is no stream. **Errors:** TypeError."""
    if not isinstance(stream, Stream):
        mend = "a stream: write Stream(source, batch_size=32); of the face, pipeline.pure()[1]."
        raise TypeError(of_type("stream", stream, mend))


def check_parts(check: str, pipeline: object, stream: object) -> None:
    """Refuse what is no pipeline and its stream, for a check. **Errors:** TypeError."""
    face = f"of the face, {check}(*pipeline.pure())."
    if isinstance(pipeline, Stream) and isinstance(stream, Pipeline):
        raise TypeError(
            f"pipeline is a Stream and stream a Pipeline; expected them the other way round: write "
            f"{check}(pipeline, stream); {face}"
        )
    if not isinstance(pipeline, Pipeline):
        mend = f"a pipeline of the core: write {check}(Pipeline.linear([stage, …]), stream); {face}"
        raise TypeError(of_type("pipeline", pipeline, mend))
    if not isinstance(stream, Stream):
        mend = f"a stream: write {check}(pipeline, Stream(source, batch_size=32)); {face}"
        raise TypeError(of_type("stream", stream, mend))


def check_names(what: str, names: object, known: Collection[str]) -> tuple[str, ...]:
    """The names of nodes that an argument gives. **Errors:** TypeError, ValueError."""
    found = tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else None
    if found is None or not all(isinstance(name, str) for name in found):
        some = names if isinstance(names, str) else next(iter(known))
        raise TypeError(valued(what, names, f"names of nodes in a list: write {what}=[{some!r}]."))
    if unknown := [name for name in found if name not in known]:
        told = suggestion(unknown[0], known)
        raise ValueError(f"{what} names {listed(unknown)}, which is no node. {told}")
    return found
