"""Which node of a graph is being traced, for what is told when its program runs.

What a trace raises is raised in its node; what a program finds, later, only knows what was written
into it. Graphs and operations are not known here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NODE = ContextVar("node", default="")


@contextmanager
def in_node(name: str) -> Iterator[None]:
    """What is traced meanwhile belongs to the node of this name."""
    token = _NODE.set(name)
    try:
        yield
    finally:
        _NODE.reset(token)


def of_node(message: str) -> str:
    """A message for run time, with the node that it is about before it, if there is one."""
    node = _NODE.get().replace("{", "{{").replace("}", "}}")
    return f"node `{node}`: {message}" if node else message
