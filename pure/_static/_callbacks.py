"""Where a program calls back to Python, told with the error of such a call: JAX names no node.

Each node is run in a scope of its name. The program is traced once more, after the error alone.
"""

import re
from collections.abc import Callable, Iterator

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from .._text import listed

_TRANSFORMED = re.compile(r"\w+\((.*)\)")


def note_callbacks(error: Exception, traced: Callable[[], ClosedJaxpr]) -> None:
    """Note in which nodes a program makes calls to Python, if the error is of such a call."""
    if "callback" not in str(error).lower():
        return
    try:
        program = traced()
    except Exception:  # of a stage, which may have changed
        return
    if found := dict.fromkeys(scope for scope in _scopes(program, "") if scope):
        error.add_note(
            f"It was raised in a callback to Python; such a call is made in {listed(found)}."
        )


def _scopes(program: Jaxpr | ClosedJaxpr, above: str) -> Iterator[str]:
    for equation in program.eqns:
        scope = f"{above}/{equation.source_info.name_stack}"
        if "callback" in equation.primitive.name:
            yield _plain(scope)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if isinstance(inner, Jaxpr | ClosedJaxpr):
                yield from _scopes(inner, scope)


def _is_program(x: object) -> bool:
    return isinstance(x, Jaxpr | ClosedJaxpr)


def _plain(scope: str) -> str:
    # Of `half/vmap(ask)/vmap()` the names alone.
    parts = (_TRANSFORMED.sub(r"\1", part) for part in scope.split("/"))
    return "/".join(part for part in parts if part)
