"""The annotations of the package, checked with every call: by beartype, and by jaxtyping where
arrays are told, whose axes of one name have one length.

jaxtyping opens a room for such names with every call and asks beartype twice, which takes several
times as long; a function that tells of no array needs neither.
"""

import inspect
import types
from typing import Any, TypeVar, get_args

import beartype
import jaxtyping

_jaxtyped = jaxtyping.jaxtyped
_HELD_TO_NAMES = jaxtyping.AbstractArray, jaxtyping.PyTree


def checked(*given: Any, **settings: Any) -> Any:
    """In place of `jaxtyping.jaxtyped`: the decorator that the import hook puts on all there is."""
    if given:  # by others, of others
        return _jaxtyped(*given, **settings)

    def decorator(made: Any) -> Any:
        if not isinstance(made, types.FunctionType) or inspect.isgeneratorfunction(made):
            return _jaxtyped(made, **settings)
        if any(_tells_of_arrays(each) for each in made.__annotations__.values()):
            return _jaxtyped(made, **settings)
        return beartype.beartype(made)

    return decorator


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
