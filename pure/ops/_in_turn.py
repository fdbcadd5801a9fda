"""A function that, mapped over many, works on one after the other where that skips work: on a CPU.

Under `jax.vmap` all branches of a choice are computed for all; in a loop each takes its own alone.
An accelerator, which is fast at many alike, gets what `vmap` makes; so does whoever differentiates.
"""

import functools
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import jax
from jaxtyping import Array, Int32, PyTree

from .._node import out_of_variants

Function: TypeAlias = Callable[..., Any]
Choose: TypeAlias = Callable[[Int32[Array, ""], Collection[Function], PyTree], Any]


def one_of(index: Int32[Array, ""], branches: Collection[Function], operand: PyTree) -> PyTree:
    """The branch of this index, alone."""
    return jax.lax.switch(index, list(branches), operand)


def all_of(index: Int32[Array, ""], branches: Collection[Function], operand: PyTree) -> PyTree:
    """The branch of this index, where all of them are computed. Unlike a switch that is mapped over
    many, what a derivative makes of it can be transposed."""
    outputs = [branch(operand) for branch in branches]
    return jax.tree.map(lambda *x: jax.lax.select_n(index, *x), *outputs)


def in_turn(function: Function) -> Function:
    """`function` without its first argument, which is how it chooses: `one_of`, or `all_of`, the
    same by computing all. The others are arrays; it closes over none."""

    def chosen(*arguments: PyTree) -> PyTree:
        with out_of_variants():  # whose axis has no name in here
            return function(*arguments)

    @jax.custom_jvp
    def differentiable(*arguments: PyTree) -> PyTree:
        return one(*arguments)

    @differentiable.defjvp
    def derivative(primals: Collection[PyTree], tangents: Collection[PyTree]) -> PyTree:
        return jax.jvp(functools.partial(chosen, all_of), primals, tangents)

    @jax.custom_batching.custom_vmap
    def one(*arguments: PyTree) -> PyTree:
        return chosen(one_of, *arguments)

    @one.def_vmap
    def many(size: int, batched: PyTree, *arguments: PyTree) -> PyTree:
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, tuple(batched))
        at_once = jax.vmap(functools.partial(chosen, all_of), in_axes=axes, axis_size=size)
        in_loop = functools.partial(_one_by_one, one, jax.tree.leaves(batched))
        result = (
            at_once(*arguments)
            if jax.device_count() > 1  # a loop would bring together what is spread over them
            else jax.lax.platform_dependent(*arguments, cpu=in_loop, default=at_once)
        )
        return result, jax.tree.map(lambda _: True, result)

    return differentiable


def _one_by_one(function: Function, batched: Collection[bool], *arguments: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(arguments)

    def turn(own: list[jax.Array]) -> PyTree:
        rest = iter(own)
        whole = [
            next(rest) if is_batched else leaf
            for leaf, is_batched in zip(leaves, batched, strict=True)
        ]
        return function(*jax.tree.unflatten(structure, whole))

    moving = [leaf for leaf, is_batched in zip(leaves, batched, strict=True) if is_batched]
    return jax.lax.map(turn, moving)
