"""The annotations of the package, checked with every call: by beartype, and by jaxtyping where
arrays are told, whose axes of one name have one length.

jaxtyping opens a room for such names with every call and asks beartype twice, which takes several
times as long; a function that tells of no array needs neither. What checks a function within a
function is made once, and not again with every call of the outer one.
"""

import functools
import inspect
import types
from typing import Any, TypeVar, get_args

import beartype
import jaxtyping

_jaxtyped = jaxtyping.jaxtyped
_HELD_TO_NAMES = jaxtyping.AbstractArray, jaxtyping.PyTree
_checks: dict[object, tuple[Any, types.FunctionType]] = {}


def checked(*given: Any, **settings: Any) -> Any:
    """In place of `jaxtyping.jaxtyped`: the decorator that the import hook puts on all there is."""
    if given:  # by others, of others
        return _jaxtyped(*given, **settings)
    jaxtyped = functools.partial(_jaxtyped, **settings)

    def decorator(made: Any) -> Any:
        if not isinstance(made, types.FunctionType) or inspect.isgeneratorfunction(made):
            return jaxtyped(made)
        if "<locals>" in made.__qualname__ and not (made.__defaults__ or made.__kwdefaults__):
            return _check_within(made, jaxtyped)
        return _check(made, jaxtyped)

    return decorator


def _check(made: types.FunctionType, jaxtyped: Any) -> Any:
    tells = any(_tells_of_arrays(each) for each in made.__annotations__.values())
    return jaxtyped(made) if tells else beartype.beartype(made)


def _check_within(made: types.FunctionType, jaxtyped: Any) -> Any:
    kind = (made.__code__, *((name, _named(x)) for name, x in made.__annotations__.items()))
    if kind not in _checks:  # of a function that closes over nothing, which would stay alive
        cells = tuple(types.CellType() for _ in made.__closure__ or ())
        hollow = types.FunctionType(made.__code__, made.__globals__, None, None, cells)
        del functools.update_wrapper(hollow, made).__wrapped__
        _checks[kind] = _check(hollow, jaxtyped), hollow
    check, hollow = _checks[kind]
    if check is hollow:  # it may be given anything
        return made
    return functools.update_wrapper(_of_another(check, hollow, made), made)


def _of_another(check: Any, one: object, other: object) -> Any:
    # The same check with one function in the place of another, wherever it is held.
    def held(what: Any) -> object:
        if what is one or not isinstance(what, types.FunctionType):
            return other if what is one else what
        closes = any(cell.cell_contents is one for cell in what.__closure__ or ())
        return _of_another(what, one, other) if closes else what

    cells = tuple(types.CellType(held(cell.cell_contents)) for cell in check.__closure__ or ())
    again = types.FunctionType(check.__code__, check.__globals__, check.__name__, None, cells)
    again.__kwdefaults__ = {name: held(x) for name, x in (check.__kwdefaults__ or {}).items()}
    return again


def _named(annotation: Any) -> object:
    # jaxtyping makes a class anew each time, whose name says all.
    own = isinstance(annotation, type) and issubclass(annotation, _HELD_TO_NAMES)
    return annotation.__name__ if own else annotation


def _tells_of_arrays(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return True  # of what may be imported for type checkers alone, which beartype refuses
    if isinstance(annotation, TypeVar):
        return any(map(_tells_of_arrays, (annotation.__bound__, *annotation.__constraints__)))
    if isinstance(annotation, type) and issubclass(annotation, _HELD_TO_NAMES):
        return True
    return any(map(_tells_of_arrays, _parts(annotation)))


def _parts(annotation: Any) -> list[Any]:
    # Of a callable, a list of what it takes.
    nested = [each if isinstance(each, list) else [each] for each in get_args(annotation)]
    return [part for each in nested for part in each]
