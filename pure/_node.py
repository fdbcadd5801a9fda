"""Which node of a graph is being traced, and within which axes of variants, for what is told when
its program runs.

What a trace raises is raised in its node; what a program finds, later, only knows what was written
into it. Graphs and operations are not known here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NODE = ContextVar("node", default="")
_VARIANTS: ContextVar[tuple[str, ...]] = ContextVar("variants", default=())


@contextmanager
def in_node(name: str) -> Iterator[None]:
    """What is traced meanwhile belongs to the node of this name."""
    token = _NODE.set(name)
    try:
        yield
    finally:
        _NODE.reset(token)


def of_node(message: str, where: str = "") -> str:
    """A message for run time, with the node that it is about before it, if there is one."""
    node = bare_of_braces(_NODE.get())
    return f"node `{node}`{where}: {message}" if node else message


def bare_of_braces(text: str) -> str:
    """A text as it stands in a message into which values are written, whatever it holds."""
    return text.replace("{", "{{").replace("}", "}}")


@contextmanager
def in_variants(axis: str) -> Iterator[None]:
    """What is traced meanwhile is mapped over variants, along a mapped axis of this name."""
    token = _VARIANTS.set((*_VARIANTS.get(), axis))
    try:
        yield
    finally:
        _VARIANTS.reset(token)


@contextmanager
def out_of_variants() -> Iterator[None]:
    """What is traced meanwhile does not know over which axes it is mapped."""
    token = _VARIANTS.set(())
    try:
        yield
    finally:
        _VARIANTS.reset(token)


def mapped_axes() -> tuple[str, ...]:
    """The names of the mapped axes of variants, the outermost first."""
    return _VARIANTS.get()
