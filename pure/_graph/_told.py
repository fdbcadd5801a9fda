"""A graph as a short text that is saved beside its digest, and what differs between two of them.

Only names are known here: of nodes, of the types of their stages, and of what each reads.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from .._text import listed
from ._schedule import Schedule

_Table: TypeAlias = Mapping[str, Sequence[str]]  # for each node its type, and what it reads

_SINK = ""  # no node is named so
_PLAIN, _MOST = 400, 2000  # characters: above the first it is packed, above the second left out
_TOLD = 6


def graph_text(schedule: Schedule, types: Mapping[str, str]) -> str:
    """The nodes of a graph, the names of their types, what they read, and the sink, as a text.

    That of many nodes is packed; that of hundreds would not be small, and is empty.
    """
    table = {name: [types[name], *before] for name, before in sorted(schedule.edges)}
    text = json.dumps({**table, _SINK: [schedule.sink]}, separators=(",", ":"))
    if len(text) <= _PLAIN:
        return text
    packed = base64.b85encode(zlib.compress(text.encode(), 9)).decode()
    return packed if len(packed) <= _MOST else ""


def graph_changes(saved: object, own: str) -> str:
    """What differs between the graph of a text that was saved, and that here; or nothing, where
    that is not told."""
    there, here = _table(saved), _table(own)
    if not there or not here:
        return ""
    renamed = _renamed(there, here)
    found = [f"`{old}` is named `{new}` here" for old, new in renamed.items()]
    if gone := [name for name in there if name not in here and name not in renamed]:
        found.append(f"there is no {_listed(gone)} here")
    if new := [name for name in here if name not in there and name not in renamed.values()]:
        found.append(f"{_listed(new)} {'is' if len(new) == 1 else 'are'} here alone")
    sinks = there[_SINK][0], here[_SINK][0]
    if renamed.get(sinks[0], sinks[0]) != sinks[1] and not (sinks[0] in gone and sinks[1] in new):
        found.append(f"the sink is `{sinks[0]}`, which is `{sinks[1]}` here")
    for name in there:
        if name in here and name != _SINK:
            found += _changed(name, there[name], here[name], renamed)
    more = [f"{len(found) - _TOLD} more"] * (len(found) > _TOLD)
    return "; ".join([*found[:_TOLD], *more])


def _table(text: object) -> _Table:
    if not isinstance(text, str) or not text:
        return {}
    try:
        plain = text if text[0] == "{" else zlib.decompress(base64.b85decode(text)).decode()
        table: _Table = json.loads(plain)
    except (ValueError, zlib.error):
        return {}
    return table


def _renamed(there: _Table, here: _Table) -> dict[str, str]:
    # A node that is gone and one that is new, of one type, and the only ones to read the same.
    found: dict[str, str] = {}
    gone, new = [x for x in there if x not in here], [x for x in here if x not in there]
    for _ in gone:  # what one reads may be renamed too
        for old in gone:
            as_here = [there[old][0], *(found.get(x, x) for x in there[old][1:])]
            alike = [x for x in new if list(here[x]) == as_here and x not in found.values()]
            if old not in found and len(alike) == 1:
                found[old] = alike[0]
    return found


def _changed(
    name: str, there: Sequence[str], here: Sequence[str], renamed: Mapping[str, str]
) -> list[str]:
    found = []
    if there[0] != here[0]:
        found.append(f"`{name}` is of type {there[0]}, here of {here[0]}")
    if [renamed.get(x, x) for x in there[1:]] != [*here[1:]]:
        found.append(f"`{name}` reads {_read(there[1:])}, here {_read(here[1:])}")
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" * (len(names) > _TOLD)
    return listed(names[:_TOLD]) + more


def _read(before: Sequence[str]) -> str:
    return listed(before) if before else "the source"
