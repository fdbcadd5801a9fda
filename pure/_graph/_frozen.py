"""Numbers that a stage draws from Python or NumPy while it is traced: it is told that they freeze.

A compiled program draws such a number once, when it is traced, and keeps it in every batch. Only
what a stage leaves behind in the global generators is seen here, not why.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from .._warning import warn


@contextmanager
def told_of_frozen_draws(node: str, inputs: PyTree) -> Iterator[None]:
    """Warn if a stage draws from `random` or `np.random` meanwhile, where its inputs are traced."""
    if not any(isinstance(x, Tracer) for x in jax.tree.leaves(inputs)):
        yield
        return
    before = _generators()
    yield
    drawn = [name for name, state in _generators().items() if state != before[name]]
    if drawn:
        names = " and ".join(f"`{name}`" for name in drawn)
        warn(
            f"Node `{node}` draws from {names} while it is traced, so that its numbers are frozen: "
            "the compiled program has the same in every batch. Draw by jax.random from a key: "
            "declare the keyword `record_keys`, one for each record, or `key`, one for each batch."
        )


def _generators() -> dict[str, object]:
    kind, *state = np.random.get_state(legacy=True)
    return {"random": random.getstate(), "np.random": (kind, *map(_plain, state))}


def _plain(part: object) -> object:
    return part.tobytes() if isinstance(part, np.ndarray) else part
