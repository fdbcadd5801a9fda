"""What JAX traces and compiles, and which programs it holds, as JAX itself tells.

Nothing of dagrax is looked into, so that a count says what a user pays, however calls are kept.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

_NUMBERS = itertools.count()


@dataclasses.dataclass
class Counted:
    """The names of the functions that were traced and compiled, the smallest helper included."""

    traced: list[str] = dataclasses.field(default_factory=list)
    compiled: list[str] = dataclasses.field(default_factory=list)


@contextmanager
def counted() -> Iterator[Counted]:
    """Whatever JAX traces and compiles meanwhile."""
    seen = Counted()
    lists = {"jaxpr_trace_duration": seen.traced, "backend_compile_duration": seen.compiled}

    def listen(event: str, duration_secs: float, **about: Any) -> None:
        if (names := lists.get(event.rpartition("/")[2])) is not None:
            names.append(str(about.get("fun_name", "")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@contextmanager
def programs() -> Iterator[list[Any]]:
    """The programs that are compiled meanwhile and held at the end, as the device's client has
    them."""
    client = jax.local_devices()[0].client
    before = client.live_executables()
    new: list[Any] = []
    yield new
    new += [program for program in client.live_executables() if program not in before]


def unlike_any() -> Callable[[Any], Any]:
    """A stage that changes nothing and is compiled anew: no other one has its number."""
    number = next(_NUMBERS)

    def same(batch: Any) -> Any:
        return batch if number >= 0 else None

    return same
