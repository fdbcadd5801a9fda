"""Operators that hold others: one after the other, one of several, or perhaps.

Mapped over a batch, a choice for each record computes every arm for all records and keeps one of
them; `PerBatch` decides once for a batch and computes that arm alone. What is drawn stands in
`dagrax.pure.ops`; what the arms do is not known.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from collections.abc import Sequence as SequenceOf
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

import dagrax.pure as dp
from dagrax.pure import internal
from dagrax.pure.ops import inner

from .._element import Element, OperatorModule
from ._arms import Weights, arm, check_kept, draws, operator_of, operators_of, through
from ._magnitudes import magnitude, magnitudes

Function: TypeAlias = Callable[..., Element[Any]]


class Apply(OperatorModule):
    """A function of your own as an operator: `Apply(lambda element: element.update_data({…}))`.

    `fn` takes an Element and returns one; with a keyword `key` it is given the record's own key,
    and `eval()` leaves the record as it is. A module is welcome, and its Variables are leaves.

    **Errors:** TypeError for what cannot be called.
    """

    def __init__(self, fn: Function):
        if not callable(fn):
            raise TypeError(internal.of_type("fn", fn, "a function of an Element."))
        if isinstance(fn, OperatorModule):
            name = type(fn).__name__
            raise TypeError(f"fn is an operator already, {name}; use it as it is.")
        self.fn = fn
        if self.draws():
            self.deterministic = False

    def draws(self) -> bool:
        """Whether `fn` declares a `key`."""
        return "key" in inspect.signature(self.fn).parameters

    def apply(self, element: Element, *, key: PRNGKeyArray | None = None) -> Element:
        return self.fn(element) if key is None else self.fn(element, key=key)


class Sequence(OperatorModule):
    """Operators one after the other, as one: a branch of `OneOf`, say.

    The operator at index i draws from `fold_in(key, i)` of the record's key. In `eval()` each does
    what it does there.

    **Errors:** TypeError for anything but a list of operators, ValueError for none.
    """

    operators: tuple[OperatorModule, ...]

    def __init__(self, operators: SequenceOf[OperatorModule]):
        self.operators = nnx.data(operators_of(operators))

    def draws(self) -> bool:
        """Whether one of them does."""
        return any(draws(operator) for operator in self.operators)

    def apply(self, element: Element, *, key: PRNGKeyArray | None = None) -> Element:
        for index, operator in enumerate(self.operators):
            element = through(operator, element, key, index)
        return element


class RandomApply(OperatorModule):
    """An operator, or nothing: each record with the probability `p`, which is a leaf.

    It draws from `fold_in(key, 0)` of the record's key, and so the same whether or not others are
    changed. For all records the operator is computed, and kept for some; see `PerBatch`.

    **Errors:** ValueError for a probability that is not from 0 to 1, and at the construction of a
    pipeline for an operator that changes names, shapes or dtypes; TypeError for what is none.
    """

    p: nnx.Param[Float[Array, ""]]

    def __init__(self, operator: OperatorModule, p: Shaped[ArrayLike, ""] = 0.5):
        self.operator = operator_of("operator", operator)
        self.p = magnitude("p", p, least=0.0, most=1.0)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        changed = arm(self, self.operator, element, key, 0)
        is_changed = inner.happens(inner.child_key(key, 1), self.p[...])
        return _picked(is_changed, (element, changed))

    def arms(self) -> Collection[OperatorModule | None]:
        """What may be done: nothing, or the operator."""
        return None, self.operator

    def drawn(self, key: PRNGKeyArray) -> Shaped[Array, ""]:
        """Which of them, for one key."""
        return inner.happens(inner.child_key(key, 1), self.p[...]).astype(jnp.int32)


class OneOf(OperatorModule):
    """One of several operators for each record, each as often as its weight is part of all.

    The operator at index i draws from `fold_in(key, i)` of the record's key. For all records every
    operator is computed, and one is kept; see `PerBatch`. The weights are leaves, alike if they are
    not given; no gradient flows into them, as it does in `SoftChoice`.

    **Errors:** ValueError for an empty list, another number of weights, negative ones, NaN, and
    zeros alone, and at the construction of a pipeline for operators that change names, shapes or
    dtypes; TypeError for what are no operators.
    """

    operators: tuple[OperatorModule, ...]
    weights: nnx.Param[Float[Array, " arms"]]

    def __init__(
        self,
        operators: SequenceOf[OperatorModule],
        weights: Weights | None = None,
    ):
        self.operators = nnx.data(operators_of(operators))
        self.weights = _weights(weights, len(self.operators))
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        arms = [arm(self, own, element, key, index) for index, own in enumerate(self.operators)]
        return _picked(self.drawn(key), arms)

    def arms(self) -> Collection[OperatorModule | None]:
        """What may be done."""
        return tuple(self.operators)

    def drawn(self, key: PRNGKeyArray) -> Shaped[Array, ""]:
        """Which of them, for one key."""
        own = inner.child_key(key, len(self.operators))
        return inner.one_of(own, self.weights[...])


class PerBatch(nnx.Module):
    """A choice that is made once for a whole batch: `PerBatch(OneOf([blur, noise]))`.

    Only what is chosen is computed, by `lax.switch` outside of the map over records, where a choice
    for each record computes all. The operator still draws for each record what it would draw there.

    **Errors:** TypeError for anything but a `RandomApply` or a `OneOf`.
    """

    def __init__(self, choice: RandomApply | OneOf):
        if not isinstance(choice, RandomApply | OneOf):
            expected = "a RandomApply or a OneOf: write PerBatch(OneOf([first, second]))."
            raise TypeError(internal.of_type("choice", choice, expected))
        self.choice = choice

    def __call__(
        self,
        batch: Mapping[str, PyTree],
        *,
        key: PRNGKeyArray | None = None,
        record_keys: dp.RecordKeys | None = None,
    ) -> dict[str, PyTree]:
        if self.choice.deterministic:
            return dict(batch)
        if key is None or record_keys is None:
            raise ValueError(
                "PerBatch draws random numbers, but was given no keys. A pipeline gives them to "
                "its stages; by hand, pass key=key and record_keys=jax.random.split(key, records)."
            )
        whole: dict[str, PyTree] = jax.tree.map(jnp.asarray, dict(batch))
        first = 0 if isinstance(self.choice, OneOf) else -1
        branches = [
            _branch(self, operator, record_keys, index)
            for index, operator in enumerate(self.choice.arms(), first)
        ]
        chosen: dict[str, PyTree] = jax.lax.switch(self.choice.drawn(key), branches, whole)
        return chosen


def _branch(
    holder: PerBatch, operator: OperatorModule | None, record_keys: dp.RecordKeys, index: int
) -> Callable[[dict[str, PyTree]], dict[str, PyTree]]:
    def branch(batch: dict[str, PyTree]) -> dict[str, PyTree]:
        if operator is None:
            return batch
        own = jax.vmap(inner.child_key, (0, None))(record_keys, index)
        output = operator(batch, record_keys=own) if draws(operator) else operator(batch)
        check_kept(holder, operator, batch, output)
        return {name: jax.tree.map(jnp.asarray, output[name]) for name in batch}

    return branch


def _picked(index: Shaped[Array, ""], arms: Collection[Element]) -> Element:
    first, *_ = arms
    names = list(first.data)  # an arm may have them in another order
    data = inner.picked(index, [{name: own.data[name] for name in names} for own in arms])
    return first.replace(data=data)


def _weights(weights: Weights | None, count: int) -> nnx.Param[Float[Array, " arms"]]:
    if weights is None:
        return nnx.Param(jnp.ones(count))
    held = magnitudes("weights", weights, count=count, least=0.0)
    if internal.known(held[...]) and not held[...].any():
        raise ValueError(f"weights is {weights!r}; expected one above 0 at least.")
    return held
