"""A CALL OUTSIDE A TRACE IS A COMPILED CALL: one program for all that is made from the same.

The program is found by the keys of what is static; what it was made from is lent to it while it is
traced, and let go. A program that holds arrays as constants is kept by its owner instead, and dies
with it. Where an argument is traced already, the function is called as it stands.
"""

import functools
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias, TypeVar

import jax
from jax.core import Tracer
from jaxtyping import PyTree

from ._callbacks import note_callbacks
from ._parts import Arrays, Memo, Parts

Lent: TypeAlias = Callable[[Sequence[Arrays], PyTree], PyTree]
_Out = TypeVar("_Out")


class Program:
    """What a compiled program is found by: a function, and the keys of what it is called with."""

    __slots__ = ("_hash", "_made_of", "lent", "was_traced")

    def __init__(self, made_of: Hashable):
        self._made_of = made_of
        self._hash = hash(made_of)
        self.lent: dict[int, Lent] = {}  # by the thread that calls
        self.was_traced = False

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self._made_of == other._made_of


def called(
    function: Callable[..., _Out],
    trees: Sequence[tuple[PyTree, Parts]],
    *more: PyTree,
    static: Hashable = None,
    memo: Memo,
) -> _Out:
    """`function(*trees, *more, static)`, compiled once for all that is made from the same.

    The `trees` are given with their parts. `more` are pytrees of arrays alone. A program that must
    not be shared is kept in `memo`.
    """

    def lent(arrays: Sequence[Arrays], more: PyTree) -> _Out:
        whole = [parts.together(x) for (_, parts), x in zip(trees, arrays, strict=True)]
        return function(*whole, *more, static)

    keys, leaves = [parts.key for _, parts in trees], jax.tree.leaves(more)
    traced = [key is None for key in keys] + [isinstance(leaf, Tracer) for leaf in leaves]
    if True in traced:
        # With the very trees, for a stage may change what it holds.
        return function(*[tree for tree, _ in trees], *more, static)
    program = memo.own((function, static), keys, lambda: Program((function, static, *keys)))
    shared = all([parts.shareable for _, parts in trees])
    run = _shared if shared else memo.own(function, keys, _made)
    arrays = [parts.arrays if parts.on_device else on_device(parts.arrays) for _, parts in trees]
    if not all([isinstance(leaf, jax.Array) for leaf in leaves]):
        more = on_device(more)
    me = threading.get_ident()
    program.lent[me] = lent
    try:
        out: _Out = run(program, arrays, more)
    except RuntimeError as error:
        note_callbacks(error, lambda: jax.make_jaxpr(lent)(arrays, more))
        raise
    finally:
        program.lent.pop(me, None)  # JAX keeps the program for as long as it may be called again
    if program.was_traced:
        program.was_traced = False
        memo.settle(trees)
    return out


def on_device(tree: _Out) -> _Out:
    """NumPy arrays and Python's numbers sent to the device, which no guard of transfers forbids."""
    sent: _Out = jax.tree.map(lambda x: x if isinstance(x, jax.Array) else jax.device_put(x), tree)
    return sent


def _run(program: Program, arrays: Sequence[Arrays], more: PyTree) -> PyTree:
    program.was_traced = True
    return program.lent[threading.get_ident()](arrays, more)


def _made() -> Callable[..., PyTree]:
    return jax.jit(functools.partial(_run), static_argnums=0)


_shared = _made()
