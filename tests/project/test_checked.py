"""What the other tests lean on: calls of the package that do not keep to its annotations fail."""

from typing import Any

import beartype
import jax.numpy as jnp
import jaxtyping
import pytest
from beartype.roar import BeartypeCallHintParamViolation
from jaxtyping import Array, Float

from dagrax.pure._orders._permutation import Grid, permuted, rounds
from tests.checked import checked


def dot(a: Float[Array, " n"], b: tuple[Float[Array, " n"], ...]) -> Float[Array, ""]:
    return sum(((a * x).sum() for x in b), jnp.zeros(()))


def test_a_function_is_held_to_its_annotations() -> None:
    number: Any = "12"
    with pytest.raises(BeartypeCallHintParamViolation, match="rounds"):
        rounds(number)
    with pytest.raises(jaxtyping.TypeCheckError, match="of"):  # it tells of a class by name
        Grid.of(number)
    with pytest.raises((jaxtyping.TypeCheckError, BeartypeCallHintParamViolation)):
        permuted(number, Grid.of(12), number)


def test_axes_of_one_name_have_one_length() -> None:
    held_to = checked(typechecker=beartype.beartype)(dot)
    assert held_to(jnp.ones(3), (jnp.ones(3),)) == 3
    with pytest.raises(jaxtyping.TypeCheckError, match="parameters"):
        held_to(jnp.ones(3), (jnp.ones(1),))
