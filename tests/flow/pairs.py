"""Few combinations in which every two values of any two columns come together.

Greedy, without chance: each row starts with a pair that is still wanted, and takes of each other
column the value that brings the most new pairs. What the columns mean is not known here.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Row = dict[str, str]
Pair: TypeAlias = tuple[tuple[str, str], ...]


def all_pairs(columns: Mapping[str, Sequence[str]], can: Callable[[Row], bool]) -> list[Row]:
    """Rows that hold every pair of values that stands in any row that `can` be.

    `can` is asked of rows that lack columns too, and must say no only where no other would mend it.
    """
    left = {
        pair: None
        for a, b in itertools.combinations(columns, 2)
        for x, y in itertools.product(columns[a], columns[b])
        for pair in _pairs({a: x, b: y})
    }
    rows: list[Row] = []
    while left:
        wanted = next(iter(left))
        del left[wanted]
        row = _filled(dict(wanted), columns, left, can)
        if row is not None:
            rows.append({name: row[name] for name in columns})
            for pair in _pairs(row):
                left.pop(pair, None)
    return rows


def _filled(
    row: Row,
    columns: Mapping[str, Sequence[str]],
    left: Mapping[Pair, None],
    can: Callable[[Row], bool],
) -> Row | None:
    if not can(row):
        return None
    name = next((name for name in columns if name not in row), None)
    if name is None:
        return row

    def gain(value: str) -> tuple[int, int]:
        new = sum(pair in left for pair in _pairs({**row, name: value}) if (name, value) in pair)
        return new, sum((name, value) in pair for pair in left)

    for value in sorted(columns[name], key=gain, reverse=True):
        if (full := _filled({**row, name: value}, columns, left, can)) is not None:
            return full
    return None


def _pairs(row: Row) -> list[Pair]:
    return [tuple(sorted(two)) for two in itertools.combinations(row.items(), 2)]
