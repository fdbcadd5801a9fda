"""The loops of a pipeline that run as one program: how they are called, and what they give.

A part of `Pipeline`, written apart for its many signatures. What such a loop does stands in
`_core`.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack, cast, overload

import numpy as np

from dagrax.pure import internal

from ._core._module import Out, PipelineCore
from ._core._scan import Loop, check_known, so_many, to_the_end
from ._iterator import BlockIterator
from ._misuse import SCAN
from ._nodes import check_modules

_Modules = TypeVarTuple("_Modules")
_Carry = TypeVar("_Carry")
_Y = TypeVar("_Y")


class Loops(Generic[Out]):
    """What runs many batches of a pipeline as one program; every `Pipeline` has it."""

    __slots__ = ()

    @overload
    def scan(self, step_fn: Callable[[Out], _Y], *, length: int | None = ...) -> _Y: ...
    @overload
    def scan(
        self,
        step_fn: Callable[[Unpack[_Modules], Out], _Y],
        *,
        length: int | None = ...,
        modules: tuple[*_Modules],
    ) -> _Y: ...
    @overload
    def scan(
        self,
        step_fn: Callable[[_Carry, Out], tuple[_Carry, _Y]],
        *,
        length: int | None = ...,
        init_carry: _Carry,
    ) -> tuple[_Carry, _Y]: ...
    @overload
    def scan(
        self,
        step_fn: Callable[[_Carry, Unpack[_Modules], Out], tuple[_Carry, _Y]],
        *,
        length: int | None = ...,
        modules: tuple[*_Modules],
        init_carry: _Carry,
    ) -> tuple[_Carry, _Y]: ...
    @overload
    def scan(
        self,
        step_fn: Callable[..., _Y],
        *,
        length: int | None = ...,
        modules: tuple[Any, ...] = ...,
        shared: tuple[Any, ...],
    ) -> _Y: ...
    @overload
    def scan(
        self,
        step_fn: Callable[..., tuple[_Carry, _Y]],
        *,
        length: int | None = ...,
        modules: tuple[Any, ...] = ...,
        shared: tuple[Any, ...],
        init_carry: _Carry,
    ) -> tuple[_Carry, _Y]: ...
    @internal.guided("pipeline.scan", SCAN)
    def scan(
        self,
        step_fn: Callable[..., Any],
        *,
        length: int | None = None,
        modules: tuple[Any, ...] = (),
        shared: tuple[Any, ...] = (),
        init_carry: Any = None,
    ) -> Any:
        """`length` batches as one XLA loop; the Variables of stages and `modules` are its carry.

        `step_fn(*modules, batch) -> y` gives the stacked `ys`. With an `init_carry` that is not
        None, `step_fn(carry, *modules, batch) -> (carry, y)` gives `(carry, ys)`. `shared` are
        modules that are only read; they come after the others. The data are an operand of the
        loop; without a `length` it goes to the end of the epoch. A step function made anew from the
        same code and values compiles nothing; a Variable that it reads and is not given is refused.

        Over variants, `modules` and `init_carry` are stacked, one for each variant (see `stack`),
        `shared` modules are the same for all, and carry and `ys` have a leading axis of variants.

        **Errors:** TypeError for modules that are no tuple of modules, a step function of the
        wrong signature, a carry that changes structure, shape or dtype (naming the leaf);
        ValueError for a length below 1, and where the batches differ in shape.
        """
        pipeline = cast(PipelineCore[Any, Out], self)
        if length is not None:
            internal.check_length(length)
        check_modules("modules", modules)
        check_modules("shared", shared)
        loop = Loop("scan", pipeline, step_fn, modules, shared, init_carry)
        return loop.run(to_the_end if length is None else so_many(length))

    @overload
    def blocks(
        self,
        step_fn: Callable[[Out], _Y],
        *,
        every: int,
        length: int | None = ...,
        progress: bool = ...,
    ) -> BlockIterator[_Y]: ...
    @overload
    def blocks(
        self,
        step_fn: Callable[[Unpack[_Modules], Out], _Y],
        *,
        every: int,
        length: int | None = ...,
        progress: bool = ...,
        modules: tuple[*_Modules],
    ) -> BlockIterator[_Y]: ...
    @overload
    def blocks(
        self,
        step_fn: Callable[[_Carry, Out], tuple[_Carry, _Y]],
        *,
        every: int,
        length: int | None = ...,
        progress: bool = ...,
        init_carry: _Carry,
    ) -> BlockIterator[tuple[_Carry, _Y]]: ...
    @overload
    def blocks(
        self,
        step_fn: Callable[[_Carry, Unpack[_Modules], Out], tuple[_Carry, _Y]],
        *,
        every: int,
        length: int | None = ...,
        progress: bool = ...,
        modules: tuple[*_Modules],
        init_carry: _Carry,
    ) -> BlockIterator[tuple[_Carry, _Y]]: ...
    @overload
    def blocks(
        self,
        step_fn: Callable[..., _Y],
        *,
        every: int,
        length: int | None = ...,
        progress: bool = ...,
        modules: tuple[Any, ...] = ...,
        shared: tuple[Any, ...],
    ) -> BlockIterator[_Y]: ...
    @overload
    def blocks(
        self,
        step_fn: Callable[..., tuple[_Carry, _Y]],
        *,
        every: int,
        length: int | None = ...,
        progress: bool = ...,
        modules: tuple[Any, ...] = ...,
        shared: tuple[Any, ...],
        init_carry: _Carry,
    ) -> BlockIterator[tuple[_Carry, _Y]]: ...
    @internal.guided("pipeline.blocks", SCAN)
    def blocks(
        self,
        step_fn: Callable[..., Any],
        *,
        every: int,
        length: int | None = None,
        modules: tuple[Any, ...] = (),
        shared: tuple[Any, ...] = (),
        init_carry: Any = None,
        progress: bool = False,
    ) -> BlockIterator[Any]:
        """A `scan` in blocks: an iterator, each turn of which runs at most `every` steps as one
        program and gives their `ys`, or `(carry, ys)`.

        Modules and position are those behind the block when it is given: log, evaluate, save or
        stop there. What is changed there, the next block sees; the carry is handed on. Without a
        `length` it goes to the end of the epoch. At most two programs are compiled, for full blocks
        and for a shorter last one. With `progress` a bar of tqdm's shows how far it is, where there
        is a terminal or a notebook. The other arguments are those of `scan`.

        **Errors:** those of `scan`; ImportError for `progress` without tqdm; TypeError for an
        `every` that is no int, ValueError for one below 1.
        """
        pipeline = cast(PipelineCore[Any, Out], self)
        _check_every(every)
        if not isinstance(progress, bool):
            raise TypeError(internal.valued("progress", progress, "True or False."))
        if length is None:
            check_known(pipeline.cursor, "blocks(step_fn, every=…")
        else:
            internal.check_length(length)
        check_modules("modules", modules)
        check_modules("shared", shared)
        loop = Loop("blocks", pipeline, step_fn, modules, shared, init_carry, again=True)
        return BlockIterator(loop, int(every), length, progress=progress)


def _check_every(every: object) -> None:
    if isinstance(every, bool) or not isinstance(every, int | np.integer):
        raise TypeError(internal.valued("every", every, "an int, the steps of a block."))
    if every < 1:
        raise ValueError(f"every is {every}; expected at least 1, the steps of a block.")
