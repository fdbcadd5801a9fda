"""What can be saved and gone on from: the pipeline of a face, or the parts of the core as a place.

What is told of it, and where its arrays go, is decided by what is asked; how it is written is not
known here.
"""

from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import PRNGKeyArray, PyTree

from ..._fingerprint import fingerprint, graph_told
from ..._flow._batching import Batching, Cursor, check_cursor
from ..._flow._stream import Stream
from ..._graph._pipeline import Pipeline
from ..._text import of_type
from ._arrays import Saved, key_kinds, named, refilled


class Whole(NamedTuple):
    """All that a checkpoint holds, as it is now, and how what was restored is put in its place.

    - `cursor`: the position.
    - `about`: what decides the batches to come, each by a digest or a word; and the `nodes` of the
      graph, by which it is told what differs.
    - `arrays`: those of the pipeline and of what is saved beside it, by name.
    - `keys`: the kinds of those arrays that are keys of `jax.random`, by name.
    - `put`: sets a position and such arrays, or raises and sets nothing.
    """

    cursor: Cursor
    about: dict[str, str]
    arrays: dict[str, Saved]
    keys: dict[str, str]
    put: Callable[[Cursor, Mapping[str, Saved]], None]


@runtime_checkable
class Resumable(Protocol):
    """What `Checkpoints` saves and restores: a pipeline, with state of any kind beside it."""

    def __whole__(self, state: Mapping[str, PyTree]) -> Whole:
        """The pipeline and the state beside it, as they are now."""
        ...


@dataclass
class Place:
    """A pipeline of the core and its position, as one thing for `Checkpoints` to save and to set.

    - `pipeline`, `stream`, `key`: those that steps are given. A restored pipeline is a new one.
    - `cursor`: the position, at first that of `stream.start()`.

    Write `place.cursor, batch = dp.step(place.pipeline, stream, place.cursor, key=key)`.
    """

    pipeline: Pipeline[Any, Any]
    stream: Stream[Any]
    key: PRNGKeyArray | None = None
    cursor: Cursor | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.pipeline, Pipeline):
            raise TypeError(of_type("pipeline", self.pipeline, "a Pipeline of dagrax.pure."))
        if not isinstance(self.stream, Stream):
            raise TypeError(of_type("stream", self.stream, "a Stream: write Stream(source, …)."))
        if self.cursor is None:
            self.cursor = self.stream.start()
        check_cursor(self.cursor)

    def __whole__(self, state: Mapping[str, PyTree]) -> Whole:
        key = jax.random.key(0) if self.key is None else self.key
        about = fingerprint(self.pipeline, self.stream, key)
        arrays = named("pipeline", self.pipeline)
        keys = key_kinds("pipeline", self.pipeline)
        for name, value in state.items():
            check_holder(name, value)
            arrays |= named(name, value)
            keys |= key_kinds(name, value)

        def put(cursor: Cursor, arrays: Mapping[str, Saved]) -> None:
            pipeline = refilled("pipeline", self.pipeline, arrays)
            filled = {name: refilled(name, value, arrays) for name, value in state.items()}
            for name, value in filled.items():
                fill(state[name], value)
            self.pipeline, self.cursor = pipeline, cursor

        cursor = self.stream.start() if self.cursor is None else self.cursor
        about |= {"nodes": graph_told(self.pipeline), "policy": policy(self.stream.batching)}
        return Whole(cursor, about, arrays, keys, put)


def policy(batching: Batching) -> str:
    """The policy for the records that do not fill a batch, as a word."""
    remainder = batching.remainder
    return remainder if isinstance(remainder, str) else "pad"


def check_holder(name: str, value: object) -> None:
    """Refuse state that could not be set when it is restored. **Errors:** TypeError."""
    if not isinstance(value, MutableMapping | MutableSequence):
        raise TypeError(
            of_type(name, value, f'a dict or a list, to be filled in place: {name}={{"it": …}}.')
        )


def fill(holder: PyTree, restored: PyTree) -> None:
    """Give a dict or a list the entries of another, and those within it those of theirs."""
    for place in holder if isinstance(holder, MutableMapping) else range(len(holder)):
        own = holder[place]
        if own is not restored[place] and isinstance(own, dict | list):
            fill(own, restored[place])
        else:
            holder[place] = restored[place]
