"""The key of a static value, by which compiled programs are shared.

A lambda made anew in a loop and an equal module made anew give an equal key; another default,
closed-over value or global that the code names gives another. A key keeps nothing alive but names
and digests, so that a cache may hold it for ever.
"""

import hashlib
from collections.abc import Callable

from ._kinds import content
from ._places import Watch
from ._reader import Instead, Reader, written


class StaticKey:
    """What a static value is made from: hashable, equal where the content is, cheap to compare.

    `shareable` says that no array and nothing of an unknown kind was reached, so that a program
    made from the value may outlive it; `is_traced` that a tracer was.
    """

    __slots__ = ("_digest", "_hash", "_identities", "is_traced", "shareable")

    def __init__(
        self, digest: bytes, identities: tuple[object, ...], *, shareable: bool, is_traced: bool
    ):
        self._digest = digest
        self._identities = identities
        self._hash = hash(digest)
        self.shareable = shareable
        self.is_traced = is_traced

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, StaticKey)
            and self._digest == other._digest
            and self._identities == other._identities
        )


def static_key(
    value: object,
    *,
    opaque: Callable[[object], bool] = lambda _: False,
    instead: Instead = lambda value: (value, ()),
) -> StaticKey:
    """The key of a static value: equal to that of another one if both make the same program.

    - Numbers, strings and other atoms count by type and value: 2 is not 2.0, 0.0 is not -0.0.
    - Containers, dataclasses, modules and plain objects count by their types and contents.
    - Functions count by code, defaults, closed-over values and the globals that the code names,
      through `functools.partial`, `functools.wraps`, `jax.jit` and bound methods too; lines and
      files do not count.
    - Arrays, and all for which `opaque(value)` holds, count by identity, and so do modules and
      whatever is of an unknown kind. A class counts by identity, and by its methods and
      attributes too unless a library brings it. What is dead equals nothing.
    - What `instead(value)` gives is read in place of a value: of what is an argument, say, a note;
      beside it are the views that hold it.
    """
    reader = Reader(opaque, content, instead)
    reader.read(value)
    reader.finish()
    return StaticKey(
        hashlib.blake2b(written(reader.parts).encode(), digest_size=16).digest(),
        tuple(reader.identities),
        shareable=reader.shareable,
        is_traced=reader.is_traced,
    )


def watched(
    value: object,
    *,
    opaque: Callable[[object], bool] = lambda _: False,
    instead: Instead = lambda value: (value, ()),
) -> Watch:
    """All that the key of a value is read from: as long as it is unchanged, so is the key."""
    reader = Reader(opaque, content, instead)
    reader.read(value)
    reader.finish()
    return Watch(reader.places)
