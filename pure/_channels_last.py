"""Convolutions in the layout that XLA:CPU is fast at, also inside loops.

A program is read as JAX writes it and handed on with other equations; pipelines are not known
here, nor what the program is for.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.extend.core.primitives import conv_general_dilated_p
from jaxtyping import Array

_WIDE = 8  # as measured with jax 0.10.2, for kernels of 3x3
_Y = TypeVar("_Y")
_Program: TypeAlias = Jaxpr | ClosedJaxpr


def canonical(function: Callable[[], _Y]) -> _Y:
    """What `function` returns, by a program whose convolutions are channels-last on CPU.

    XLA:CPU has fast convolutions only for NHWC with a kernel HWIO, and brings others to it only
    outside of loops. Inside, the gradient for a kernel, which has its axes in another order, takes
    many times as long. So here each convolution transposes what it reads and returns: also those
    in branches, loops, jitted functions and checkpoints, but not in rules of custom derivatives.

    On other platforms, and where no convolution needs it, the program stays as it is. `function` is
    traced once, and may close over tracers. (Under `jax.disable_jit` it is only called.)
    """
    config: Any = jax.config
    if config.jax_disable_jit:
        return function()
    traced, shapes = jax.make_jaxpr(function, return_shape=True)()
    program: Any = _rewritten(traced, {})
    leaves = eval_jaxpr(program.jaxpr, program.consts)
    result: _Y = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    return result


def _rewritten(jaxpr: _Program, seen: dict[int, _Program]) -> _Program:
    # What equations share stays shared, so that it is compiled once; what needs no change is kept.
    if id(jaxpr) not in seen:
        equations = [_equation(equation, seen) for equation in jaxpr.eqns]
        seen[id(jaxpr)] = jaxpr if _same(equations, jaxpr.eqns) else _with(jaxpr, equations)
    return seen[id(jaxpr)]


def _with(jaxpr: _Program, equations: list[JaxprEqn]) -> _Program:
    open_one = jaxpr if isinstance(jaxpr, Jaxpr) else jaxpr.jaxpr
    changed: Jaxpr = open_one.replace(eqns=equations)
    closed: _Program = changed if isinstance(jaxpr, Jaxpr) else jaxpr.replace(jaxpr=changed)
    return closed


def _equation(equation: JaxprEqn, seen: dict[int, _Program]) -> JaxprEqn:
    if equation.primitive is conv_general_dilated_p:
        return _convolution(equation)
    if equation.primitive.name in ("shard_map", "pallas_call"):  # traced in a context of their own
        return equation
    params = {name: _parameter(value, seen) for name, value in equation.params.items()}
    same = _same(params.values(), equation.params.values())
    return equation if same else equation.replace(params=params)


def _parameter(value: object, seen: dict[int, _Program]) -> object:
    if isinstance(value, Jaxpr | ClosedJaxpr):
        return _rewritten(value, seen)
    if type(value) is tuple:
        items = tuple(_parameter(item, seen) for item in value)
        return value if _same(items, value) else items
    return value


def _same(new: Iterable[object], old: Iterable[object]) -> bool:
    return all(x is y for x, y in zip(new, old, strict=True))


def _convolution(equation: JaxprEqn) -> JaxprEqn:
    params, numbers = equation.params, equation.params["dimension_numbers"]
    rank = len(numbers.lhs_spec)
    last, kernel = (0, rank - 1, *range(1, rank - 1)), (rank - 1, rank - 2, *range(rank - 2))
    wanted = jax.lax.ConvDimensionNumbers(last, kernel, last)
    if numbers == wanted or params["out_sharding"] is not None or not _gains(equation):
        return equation

    def as_written(lhs: Array, rhs: Array) -> Array:
        out: Array = conv_general_dilated_p.bind(lhs, rhs, **params)
        return out

    def channels_last(lhs: Array, rhs: Array) -> Array:
        # A spec holds the axes of (batch, features, *spatial), or of (out, in, *spatial).
        lhs = jnp.transpose(lhs, _places(numbers.lhs_spec, wanted.lhs_spec))
        rhs = jnp.transpose(rhs, _places(numbers.rhs_spec, wanted.rhs_spec))
        out = conv_general_dilated_p.bind(lhs, rhs, **{**params, "dimension_numbers": wanted})
        return jnp.transpose(out, _places(wanted.out_spec, numbers.out_spec))

    @jax.jit  # one equation
    def convolution(lhs: Array, rhs: Array) -> Array:
        out: Array = jax.lax.platform_dependent(lhs, rhs, cpu=channels_last, default=as_written)
        return out

    (call,) = jax.make_jaxpr(convolution)(*(x.aval for x in equation.invars)).eqns
    place = {name: getattr(equation, name) for name in ("invars", "outvars", "source_info", "ctx")}
    replaced: JaxprEqn = call.replace(**place)
    return replaced


def _gains(equation: JaxprEqn) -> bool:
    # In loops, XLA:CPU is fast at narrow feature groups (a depthwise convolution, say) and at wide
    # batch groups just because they are not in its own order.
    avals: list[Any] = [x.aval for x in equation.invars]
    params, (lhs, rhs) = equation.params, (x.shape for x in avals)
    numbers, groups = params["dimension_numbers"], params["batch_group_count"]
    narrow = params["feature_group_count"] > 1 and rhs[numbers.rhs_spec[1]] < _WIDE
    wide = groups > 1 and lhs[numbers.lhs_spec[0]] >= _WIDE * groups
    return not narrow and not wide


def _places(old: Sequence[int], new: Sequence[int]) -> list[int]:
    # The permutation that brings the axes of one spec to those of another.
    return [axis for _, axis in sorted(zip(new, old, strict=True))]
