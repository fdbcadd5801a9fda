"""A stage that is written for one record: an Element goes in, an Element comes out.

The pipeline maps it over the batch, with a key of its own for each record if it draws. What an
operator does is in `operators`; nothing here knows of a pipeline or of a source.
"""

import abc
import dataclasses
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import typing_extensions as te
from flax import nnx
from jaxtyping import PRNGKeyArray, PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from ._call._parts import Parts

Record = te.TypeVar("Record", bound=Mapping[str, PyTree], default=dict[str, Any])
_Other = te.TypeVar("_Other", bound=Mapping[str, PyTree])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Element(Generic[Record]):
    """One record on its way through an operator: `data` maps its fields to arrays.

    `Element[Image]` is one whose record is the TypedDict `Image`.
    """

    data: Record

    def update_data(self, fields: Mapping[str, PyTree]) -> "Element[Record]":
        """This element with some fields set, the others kept."""
        data: Any = {**self.data, **fields}
        return Element(data)

    def replace(self, *, data: _Other) -> "Element[_Other]":
        """An element with other data."""
        return Element(data)

    if not TYPE_CHECKING:  # for a type checker, there are no such things

        def __getitem__(self, name: object) -> NoReturn:
            raise TypeError(
                f"An Element is no dict; its fields are in data: element.data[{name!r}]."
            )

        def __setitem__(self, name: object, value: object) -> NoReturn:
            raise TypeError(
                f"An Element is never changed; make another: element.update_data({{{name!r}: …}})."
            )

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"An Element has no `{name}`; its fields are in data: element.data[{name!r}].",
                name=name,
                obj=self,
            )


class _Signature:
    """How an operator is called: with keys only if its `apply` draws."""

    def __get__(
        self, operator: "OperatorModule | None", owner: type["OperatorModule"]
    ) -> inspect.Signature | None:
        if operator is None or owner.__call__ is not OperatorModule.__call__:
            return None  # it is what is written
        own = inspect.signature(owner.__call__).parameters
        batch, keys = own["batch"], own["record_keys"]
        parameters = [batch.replace(default=batch.empty)]
        if operator.draws() and not operator._is_off():
            parameters.append(keys.replace(default=keys.empty))
        return inspect.Signature(parameters, return_annotation=dict[str, PyTree])


class OperatorModule(nnx.Module, dp.AbstractContracted):
    """A stage written for one record: `apply` takes an Element and returns an Element.

    The pipeline maps it over the batch. A stochastic operator declares a keyword `key` in `apply`
    and receives its record's own key. If it has the attribute `deterministic`, which flax's
    `eval()` and `train()` set, `in_eval` takes the place of `apply` while that is true: it leaves
    the record as it is, if nothing else is written.

    Annotated as `apply(self, element: Element[Image]) -> Element[Image]`, it is checked against the
    fields of one record.
    """

    __signature__ = _Signature()

    @abc.abstractmethod
    def apply(self, *args: Any, **kwargs: Any) -> Element[Any]:
        """`apply(self, element)` or `apply(self, element, *, key)`: one record in, one out."""

    def draws(self) -> bool:
        """Whether `apply` draws, and is given `key`: whether it declares one."""
        return "key" in inspect.signature(self.apply).parameters

    def in_eval(self, element: Element[Any]) -> Element[Any]:
        """What becomes of a record in `eval()`, if the operator draws."""
        return element

    def on_record(self, element: Element[Any], key: PRNGKeyArray | None) -> Element[Any]:
        """What becomes of one record, as in a pipeline; for operators that hold others."""
        if self.draws() and self._is_off():
            return self.in_eval(element)
        return self.apply(element, key=key) if self.draws() else self.apply(element)

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
        self,
        batch: Mapping[str, PyTree] | None = None,
        *,
        record_keys: dp.RecordKeys | None = None,
        **fields: PyTree,
    ) -> dict[str, PyTree]:
        """Apply the operator to each record of a batch, with a key for each if it draws."""
        if fields or not isinstance(batch, Mapping):
            raise TypeError(self._no_batch(batch, fields))
        draws = self.draws() and not self._is_off()
        if draws and record_keys is None:
            raise ValueError(
                f"{type(self).__name__} draws random numbers, but was given no keys. A pipeline "
                "gives keys to its stages, not to what they hold: list the operators one by one, "
                "stages=[a, b], in place of nnx.Sequential(a, b). By hand, pass "
                "record_keys=jax.random.split(key, records)."
            )
        try:
            if not draws:
                return self._on_records(batch)
            # What a trace closes over may be NumPy's, which custom rules of JAX do not take.
            return self._on_records(jax.tree.map(_of_jax, batch), record_keys=record_keys)
        except flax.errors.TraceContextError as error:
            error.add_note(
                f"{type(self).__name__}.apply works on one record of many at once, so it cannot "
                "set a Variable. For random numbers declare `key` in apply; to keep state, write "
                "an nnx.Module whose __call__ takes the batch."
            )
            raise

    def _on_records(self, batch: PyTree, **keys: dp.RecordKeys | None) -> dict[str, PyTree]:
        if not internal.is_spread(batch):
            return self._each(batch, keys)
        own = Parts.of(self)
        return internal.by_compiler(
            lambda values, *given: own.together(values)._each(*given),
            own.values(),
            batch,
            keys,
            like=batch,
        )

    def _each(self, batch: PyTree, keys: Mapping[str, dp.RecordKeys | None]) -> dict[str, PyTree]:
        one = self._draw if keys else self._map
        output: dict[str, PyTree] = dp.per_record(one)(batch, **keys)
        return output

    def _is_off(self) -> bool:
        # Flax sets the attribute where there is one, so that its being there says something.
        return bool(getattr(self, "deterministic", False))

    def _map(self, record: dict[str, PyTree]) -> dict[str, PyTree]:
        return self._data(self.on_record(Element(record), None))

    def _draw(self, record: dict[str, PyTree], *, key: PRNGKeyArray) -> dict[str, PyTree]:
        return self._data(self.on_record(Element(record), key))

    def _data(self, output: object) -> dict[str, PyTree]:
        name = type(self).__name__
        if not isinstance(output, Element):
            raise TypeError(
                f"{name}.apply returned {internal.kind_text(output)}; expected an Element: "
                "return element.update_data({...})."
            )
        if not isinstance(output.data, Mapping):
            raise TypeError(
                f"{name}.apply returned an Element of {_kind(output.data)}; expected one of a dict "
                "of fields: return element.replace(data={...})."
            )
        return dict(output.data)

    def _no_batch(self, batch: object, fields: Mapping[str, PyTree]) -> str:
        name = type(self).__name__
        if fields:
            return (
                f"{name} takes one dict of fields, but was given {internal.listed(fields)} as "
                "keywords, which is how nnx.Sequential hands on a dict; list the operators as "
                "stages of the pipeline: stages=[a, b]."
            )
        if batch is None:
            return f"{name} takes a dict of fields, but was given nothing; pass it a batch."
        return (
            f"{name} takes a dict of fields, but was given {_kind(batch)}; put a stage before it "
            "that returns a dict."
        )


def _of_jax(value: object) -> object:
    return jnp.asarray(value) if isinstance(value, np.ndarray) else value


def _kind(value: object) -> str:
    name = "array" if isinstance(value, jax.Array) else type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _record(annotation: object) -> object:
    """The record that an annotation of an Element speaks of."""
    if te.get_origin(annotation) is Element:
        return te.get_args(annotation)[0]
    if annotation in (Any, Element):
        return Any
    name = getattr(annotation, "__name__", str(annotation))
    raise TypeError(
        f"`apply` is annotated with {name}; expected an Element: write Element[{name}]."
    )
