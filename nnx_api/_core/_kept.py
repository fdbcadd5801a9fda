"""What this process keeps beside a pipeline: a lock, the plan of the next call, a known position.

It is no part of the module: flax sees neither it nor a change of it, and a copy of the pipeline
starts without. All of it can be found again from the pipeline's Variables.
"""

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._history import History
from .._call._parts import Parts
from .._call._plan import Plan, Reading
from .._call._programs import Private


@dataclass
class Planned:
    """What the next scan over the same modules needs, and the step function of the last one."""

    plan: Plan
    batching: internal.Batching
    reading: Reading | None = None


@dataclass
class Fed:
    """What hands in a pipeline's batches, and what these were found to depend on."""

    parts: Parts
    leaves: Sequence[nnx.Variable[PyTree]]
    values: Sequence[PyTree]
    stream: dp.Stream[Any] | None
    feed: internal.Feed | None = None


class Kept:
    """The host's side of one pipeline."""

    _birth = threading.Lock()

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.owner: int | None = None
        self.is_copy = False  # put together by JAX: nobody else sees what it sets
        self.private = Private()
        self.history = History()
        self.plan: tuple[Plan, internal.Batching] | None = None
        self.place: tuple[jax.Array, dp.Cursor] | None = None
        self.is_settled = False  # whether no other than the pipeline has set that place
        self.digests: tuple[list[PyTree], tuple[object, ...], dict[str, str]] | None = None
        self.fed: Fed | None = None
        self.is_closed = False
        self.twin_of: Beside | None = None  # the pipeline whose checked twin this one is
        self.were_checked: list[bool] = []
        self.waited: dict[str, float] = {"gather": 0.0, "place": 0.0, "compute": 0.0}
        self._loop: tuple[list[weakref.ref[nnx.Pytree]], int, Planned] | None = None

    @classmethod
    def beside(cls, owner: "Beside") -> "Kept":
        """What is kept beside the owner, from the first question on."""
        kept = getattr(owner, "_kept", None)
        if kept is None:
            with cls._birth:
                kept = getattr(owner, "_kept", None) or cls()
                object.__setattr__(owner, "_kept", kept)
        return kept

    def plans(self) -> list[Plan]:
        """What was planned, of the next call and of the next scan."""
        planned = [] if self.plan is None else [self.plan[0]]
        return planned if self._loop is None else [*planned, self._loop[-1].plan]

    def forget(self) -> None:
        """Plan anew: what was planned counts no more."""
        self.plan = self._loop = None

    def is_running(self) -> bool:
        """Whether a call of this thread is on its way."""
        return self.owner == threading.get_ident()

    def planned_loop(self, modules: Sequence[nnx.Pytree], shared: int) -> "Planned | None":
        """What the last scan has planned, if it was one over the same modules, of which it only
        read as many, the last of them."""
        if self._loop is None:
            return None
        refs, read, planned = self._loop
        same = (len(refs), read) == (len(modules), shared) and all(
            ref() is module for ref, module in zip(refs, modules, strict=True)
        )
        return planned if same and planned.plan.holds() else None

    def keep_loop(self, modules: Sequence[nnx.Pytree], shared: int, planned: "Planned") -> None:
        """Keep what a scan has planned for as long as all of its modules live."""
        me = weakref.ref(self)

        def forget(_: object) -> None:
            if (kept := me()) is not None:
                kept._loop = None

        self._loop = [weakref.ref(module, forget) for module in modules], shared, planned


class Beside:
    """An object that something is kept beside: in a slot, which flax does not see."""

    __slots__ = ("_kept",)
    _kept: Kept
