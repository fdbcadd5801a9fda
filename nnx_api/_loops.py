"""The loops of a pipeline that run as one program: how they are called, and what they give.

A part of `Pipeline`, written apart for its many signatures. What such a loop does stands in
`_core`.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack, cast, overload

from dagrax.pure import internal

from ._core import _calls
from ._core._module import Out, PipelineCore
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
        carry, ys = _calls.scan(pipeline, step_fn, length, modules, shared, init_carry)
        return ys if init_carry is None else (carry, ys)
