"""Operators that misread their Element, or return none, or one of another record."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dagrax.nnx_api import Element, OperatorModule
from tests.types.records import Image


class Misread(OperatorModule):
    def apply(self, element: Element[Image]) -> Element[Image]:
        return element.update_data({"image": element.data["imgae"]})  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]


class Indexed(OperatorModule):
    def apply(self, element: Element[Image]) -> Element[Image]:
        return element.update_data({"image": element["image"]})  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


class Dotted(OperatorModule):
    def apply(self, element: Element[Image]) -> Element[Image]:
        return element.update_data({"image": element.image})  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


class Record(OperatorModule):
    def apply(self, element: Element[Image]) -> Element[Image]:
        return element.data  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


class Another(OperatorModule):
    def apply(self, element: Element[Image]) -> Element[dict[str, Float[Array, " c"]]]:
        return element.update_data({})  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


class Replaced(OperatorModule):
    def apply(self, element: Element[Image]) -> Element[Image]:
        return element.replace(data={"mean": jnp.zeros(3)})  # type: ignore[typeddict-item, typeddict-unknown-key]  # pyright: ignore[reportReturnType]


class Misspelt(OperatorModule):
    def apply(self, element: Element[Image]) -> Element[Image]:
        return Element({"imgae": element.data["image"]})  # type: ignore[typeddict-item, typeddict-unknown-key]  # pyright: ignore[reportReturnType]


class NoElement(OperatorModule):
    def apply(self, element: Element[Image]) -> Image:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return element.data


class Written(OperatorModule):
    def apply(self, element: Element[Image]) -> Element[Image]:
        element.data = {"image": jnp.zeros((4, 4, 3))}  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        return element


def no_record(element: Element[Array]) -> None:  # type: ignore[type-var]  # pyright: ignore[reportInvalidTypeArguments]
    pass


def of_another_record(operator: Misread, element: Element[dict[str, Array]]) -> Element[Image]:
    return operator.apply(element)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
