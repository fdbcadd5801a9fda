"""Operators that others hold: their keys, and that they keep a record's fields as they were.

Which of them is chosen, and what becomes of the results, is not known here.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray, PyTree, Shaped

from dagrax.pure import internal
from dagrax.pure.ops import inner

from .._element import Element, OperatorModule

Weights: TypeAlias = list[float] | tuple[float, ...] | Shaped[ArrayLike, " arms"]


def operator_of(argument: str, operator: object) -> OperatorModule:
    """One operator. **Errors:** TypeError for anything else."""
    if isinstance(operator, type) and issubclass(operator, OperatorModule):
        name = operator.__name__
        raise TypeError(f"{argument} is the class {name}; expected an operator: write {name}(…).")
    if isinstance(operator, nnx.Module) and not isinstance(operator, OperatorModule):
        name = type(operator).__name__
        expected = (
            f"an operator of one record. If {name} takes batches, list it as a stage of its own; "
            "if it takes an Element, write Apply(…) around it."
        )
        raise TypeError(internal.of_type(argument, operator, expected))
    if not isinstance(operator, OperatorModule):
        expected = "an operator; write Apply(fn) for a function of an Element."
        raise TypeError(internal.of_type(argument, operator, expected))
    return operator


def operators_of(operators: object) -> tuple[OperatorModule, ...]:
    """A list of operators. **Errors:** TypeError for anything else, ValueError for none."""
    if isinstance(operators, OperatorModule) or not isinstance(operators, Sequence):
        raise TypeError(
            internal.of_type("operators", operators, "a list of operators: write [first, second].")
        )
    if not operators:
        raise ValueError("operators is empty; expected a list of operators: write [first, second].")
    return tuple(operator_of(f"operators[{i}]", own) for i, own in enumerate(operators))


def draws(operator: OperatorModule) -> bool:
    """Whether an operator draws now: one that is in `eval()` does not."""
    return operator.draws() and not operator._is_off()


def through(
    operator: OperatorModule, element: Element, key: PRNGKeyArray | None, index: int
) -> Element:
    """What the operator at this index makes of a record, with a key of its own."""
    own = inner.child_key(key, index) if key is not None and draws(operator) else None
    output: object = operator.on_record(element, own)
    if not isinstance(output, Element) or not isinstance(output.data, Mapping):
        name = type(operator).__name__
        raise TypeError(
            f"{name}.apply returned {internal.kind_text(output)}; expected an Element: "
            "return element.update_data({...})."
        )
    return output


def arm(
    holder: OperatorModule,
    operator: OperatorModule,
    element: Element,
    key: PRNGKeyArray,
    index: int,
) -> Element:
    """`through`, for one of several that take turns. **Errors:** ValueError for an operator that
    changes the names, shapes or dtypes of fields."""
    output = through(operator, element, key, index)
    check_kept(holder, operator, element.data, output.data)
    return output


def check_kept(
    holder: nnx.Module,
    operator: OperatorModule,
    before: Mapping[str, PyTree],
    after: Mapping[str, PyTree],
) -> None:
    """**Errors:** ValueError for fields of other names, shapes or dtypes."""
    told = _difference(before, after)
    if told:
        raise ValueError(
            f"{type(holder).__name__} holds operators that keep the names, shapes and dtypes of "
            f"fields, but {type(operator).__name__} does not: {told}. Put it before or behind, as "
            "an operator of its own."
        )


def _difference(before: Mapping[str, PyTree], after: Mapping[str, PyTree]) -> str | None:
    added = [name for name in after if name not in before]
    dropped = [name for name in before if name not in after]
    if added or dropped:
        return f"it {'adds' if added else 'drops'} {internal.listed(added or dropped)}"
    for name in before:
        old, new = (internal.spec_text(_arrays(data[name])) for data in (before, after))
        if old != new:
            return f"`{name}` is {old} before and {new} behind it"
    return None


def _arrays(field: PyTree) -> PyTree:
    return jax.tree.map(jnp.asarray, field)
