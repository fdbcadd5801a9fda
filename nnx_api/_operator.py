import abc
import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, Generic

import flax.errors
import jax
import jax.numpy as jnp
import typing_extensions as te
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

import dagrax.pure as dp

Record = te.TypeVar("Record", bound=Mapping[str, Any], default=dict[str, Any])
_Other = te.TypeVar("_Other", bound=Mapping[str, Any])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Element(Generic[Record]):
    """One record on its way through an operator: `data` maps its fields to arrays.

    `Element[Image]` is one whose record is the TypedDict `Image`.
    """

    data: Record

    def update_data(self, fields: Mapping[str, Any]) -> "Element[Record]":
        """This element with some fields set, the others kept."""
        data: Any = {**self.data, **fields}
        return Element(data)

    def replace(self, *, data: _Other) -> "Element[_Other]":
        """An element with other data."""
        return Element(data)


class OperatorModule(nnx.Module, dp.AbstractContracted):
    """A stage written for one record: `apply` takes an Element and returns an Element.

    The pipeline maps it over the batch. A stochastic operator declares a keyword `key` in `apply`
    and receives its record's own key. Annotated as `apply(self, element: Element[Image]) ->
    Element[Image]`, it is checked against the fields of one record.
    """

    @abc.abstractmethod
    def apply(self, *args: Any, **kwargs: Any) -> Element[Any]:
        """`apply(self, element)` or `apply(self, element, *, key)`: one record in, one out."""

    def contract(self, inputs: int) -> dp.Contract:
        """What `apply` says of one record, its Elements opened."""
        own = dp.contract_of(self.apply, inputs)
        return dp.Contract(
            inputs=tuple((name, _record(annotation)) for name, annotation in own.inputs),
            output=_record(own.output),
            per_record=True,
            owner=self,
        )

    def __call__(
        self, batch: Mapping[str, Any], *, record_keys: dp.RecordKeys | None = None
    ) -> dict[str, Any]:
        """Apply the operator to each record of a batch, with a key for each if it draws."""
        if not isinstance(batch, Mapping):
            kind = "an array" if isinstance(batch, jax.Array) else f"a {type(batch).__name__}"
            raise TypeError(
                f"{type(self).__name__} takes a dict of fields, but was given {kind}; put a stage "
                "before it that returns a dict."
            )
        draws = "key" in inspect.signature(self.apply).parameters
        if draws and record_keys is None:
            raise ValueError(
                f"{type(self).__name__} draws random numbers, but was given no keys; pass "
                "record_keys=jax.random.split(key, records)."
            )
        keys = {"record_keys": record_keys} if draws else {}
        try:
            output: dict[str, Any] = dp.per_record(self._draw if draws else self._map)(
                batch, **keys
            )
        except flax.errors.TraceContextError as error:
            error.add_note(
                f"{type(self).__name__}.apply works on one record of many at once, so it cannot "
                "set a Variable. For random numbers declare `key` in apply; to keep state, write "
                "an nnx.Module whose __call__ takes the batch."
            )
            raise
        return output

    def _map(self, record: dict[str, Any]) -> dict[str, Any]:
        return self._data(self.apply(Element(record)))

    def _draw(self, record: dict[str, Any], *, key: PRNGKeyArray) -> dict[str, Any]:
        return self._data(self.apply(Element(record), key=key))

    def _data(self, output: Any) -> dict[str, Any]:
        if not isinstance(output, Element):
            raise TypeError(
                f"{type(self).__name__}.apply returned {type(output).__name__}; expected an "
                "Element: return element.update_data({...})."
            )
        data: dict[str, Any] = output.data
        return data


class BrightnessOperator(OperatorModule):
    """Add a learnable `strength` to a floating-point field.

    **Errors:** ValueError for a missing field; TypeError for one that is not floating-point.
    """

    strength: nnx.Param[Float[Array, ""]]

    def __init__(self, strength: float = 0.1, *, field: str = "image"):
        self.strength = nnx.Param(jnp.asarray(strength, jnp.float32))
        self.field = field

    def apply(self, element: Element[Any]) -> Element[Any]:
        value = _floating(self, element, self.field)
        return element.update_data({self.field: value + self.strength[...].astype(value.dtype)})


class NoiseOperator(OperatorModule):
    """Add normal noise, times a learnable `strength`, to a floating-point field.

    **Errors:** ValueError for a missing field; TypeError for one that is not floating-point.
    """

    strength: nnx.Param[Float[Array, ""]]

    def __init__(self, strength: float = 0.1, *, field: str = "image"):
        self.strength = nnx.Param(jnp.asarray(strength, jnp.float32))
        self.field = field

    def apply(self, element: Element[Any], *, key: PRNGKeyArray) -> Element[Any]:
        value = _floating(self, element, self.field)
        noise = jax.random.normal(key, value.shape, value.dtype)
        return element.update_data(
            {self.field: value + self.strength[...].astype(value.dtype) * noise}
        )


def _record(annotation: Any) -> Any:
    if te.get_origin(annotation) is Element:
        return te.get_args(annotation)[0]
    if annotation in (Any, Element):
        return Any
    name = getattr(annotation, "__name__", str(annotation))
    raise TypeError(
        f"`apply` is annotated with {name}; expected an Element: write Element[{name}]."
    )


def _floating(operator: OperatorModule, element: Element[Any], field: str) -> Shaped[Array, "..."]:
    name = type(operator).__name__
    if field not in element.data:
        raise ValueError(
            f"{name} works on the field `{field}`, but the record has "
            f"{', '.join(f'`{f}`' for f in element.data)}; pass field=… to {name}."
        )
    value = jnp.asarray(element.data[field])
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(
            f"{name} works on a floating-point field, but `{field}` is {value.dtype}; cast it in a "
            f"stage before: batch[{field!r}].astype(jnp.float32)."
        )
    return value
