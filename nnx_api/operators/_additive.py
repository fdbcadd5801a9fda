"""What is added to a field: a constant, and noise.

Both work on one record; nothing here knows of batches.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dagrax.pure import internal

from .._element import Element, OperatorModule
from ._magnitudes import magnitude


class BrightnessOperator(OperatorModule):
    """Add a learnable `strength` to a floating-point field.

    **Errors:** ValueError for a missing field, or a strength that is not one number; TypeError for
    a field that is not floating-point, and for arguments of another kind.
    """

    strength: nnx.Param[Float[Array, ""]]

    def __init__(self, strength: Shaped[ArrayLike, ""] = 0.1, *, field: str = "image"):
        self.strength = magnitude("strength", strength)
        self.field = _field(field)

    def apply(self, element: Element) -> Element:
        value = _floating(self, element, self.field)
        return element.update_data({self.field: value + self.strength[...].astype(value.dtype)})


class NoiseOperator(OperatorModule):
    """Add normal noise, times a learnable `strength`, to a floating-point field.

    In `eval()` it adds none. **Errors:** those of `BrightnessOperator`; ValueError for a negative
    strength.
    """

    strength: nnx.Param[Float[Array, ""]]

    def __init__(self, strength: Shaped[ArrayLike, ""] = 0.1, *, field: str = "image"):
        self.strength = magnitude("strength", strength, least=0.0)
        self.field = _field(field)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        value = _floating(self, element, self.field)
        noise = jax.random.normal(key, value.shape, value.dtype)
        return element.update_data(
            {self.field: value + self.strength[...].astype(value.dtype) * noise}
        )


def _field(field: object) -> str:
    if not isinstance(field, str):
        raise TypeError(internal.of_type("field", field, 'a name: write field="image".'))
    return field


def _floating(operator: OperatorModule, element: Element, field: str) -> Shaped[Array, "..."]:
    name = type(operator).__name__
    if field not in element.data:
        raise ValueError(
            f"{name} works on the field `{field}`, but the record has "
            f"{internal.listed(element.data)}; pass field=… to {name}."
        )
    value = jnp.asarray(element.data[field])
    if not jnp.issubdtype(value.dtype, jnp.floating):
        floats = f"batch[{field!r}].astype(jnp.float32)"
        cast = f"ToFloat(), or {floats} / 255" if value.dtype == jnp.uint8 else floats
        raise TypeError(
            f"{name} works on a floating-point field, but `{field}` is {value.dtype}; cast it in a "
            f"stage before: {cast}."
        )
    return value
