"""What is told where a call does not fit its function: how it is written here, by name.

Python's own error names neither. Which functions there are is not known here.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from ._text import listed, near

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


def guided(
    called: str, mends: Mapping[str, str]
) -> Callable[[Callable[_Given, _Made]], Callable[_Given, _Made]]:
    """A function `called` so, told about in words where its arguments do not fit.

    `mends` says of a keyword that it lacks what to do instead; of others the nearest is told.
    """

    def around(function: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> _Made:
            try:
                return function(*args, **given)
            except TypeError:
                told = _misfit(called, mends, inspect.signature(function), args, given)
                if not told:
                    raise
            raise TypeError(told)

        return call

    return around


def _misfit(
    called: str,
    mends: Mapping[str, str],
    signature: inspect.Signature,
    args: tuple[object, ...],
    given: Mapping[str, object],
) -> str:
    own, *known = signature.parameters.values()  # of which the first is self or cls
    names = [x.name for x in known]
    by_place = [x.name for x in known if x.kind is not x.KEYWORD_ONLY]
    for name in given:
        if name not in names and name != own.name:
            mend = f"; {mends[name]}." if name in mends else "."
            rest = "" if name in mends else near(name, names) or f" It takes {listed(names)}."
            return f"{called} takes no `{name}`{mend}{rest}"
    by_place = by_place[: len(args) - 1]
    if twice := [name for name in by_place if name in given]:
        return f"{called} was given `{twice[0]}` by its place and by its name; write it once."
    lacking = [x.name for x in known if x.default is x.empty and x.name not in (*given, *by_place)]
    if over := len(args) - 1 - len(by_place):
        free = [name for name in names if name not in given]
        few = len(by_place)
        takes = f"{few} argument{'s' * (few > 1)} without a name" if few else "arguments by name"
        told = f"{called} takes {takes}, and was given {few + over}{' without' * (not few)}; "
        if not lacking and free[few:]:
            return f"{told}write the rest by name: {_written(free[few:])}."
        meant = dict.fromkeys((*free[: few + over], *lacking))
        return f"{told}write {called}({_written(meant)})."
    if lacking:
        return f"{called} lacks {listed(lacking)}; write {called}(…, {_written(lacking)})."
    return ""


def _written(names: Iterable[str]) -> str:
    return ", ".join(f"{name}=…" for name in names)
