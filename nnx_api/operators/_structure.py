"""Which fields a record has, under which names, and in which dtypes.

What is in them is not changed, but that a label becomes one-hot and a number another dtype.
"""

from collections.abc import Collection, Mapping

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from dagrax.pure import internal, ops

from .._element import Element, OperatorModule
from ._names import count, name, names


class Select(OperatorModule):
    """These fields alone: `Select("image", "label")`. **Errors:** ValueError for an unknown one."""

    def __init__(self, *fields: str):
        self.fields = names("fields", fields)

    def apply(self, element: Element) -> Element:
        check_there(self, element, self.fields)
        return element.replace(data={own: element.data[own] for own in self.fields})


class Drop(OperatorModule):
    """All fields but these: `Drop("mask")`. **Errors:** ValueError for an unknown one."""

    def __init__(self, *fields: str):
        self.fields = names("fields", fields)

    def apply(self, element: Element) -> Element:
        check_there(self, element, self.fields)
        kept = {own: x for own, x in element.data.items() if own not in self.fields}
        return element.replace(data=kept)


class Rename(OperatorModule):
    """Fields under other names, in their places: `Rename({"img": "image"})`.

    **Errors:** ValueError for an unknown field, and for a name that another field has.
    """

    def __init__(self, fields: Mapping[str, str]):
        _check_pairs("fields", fields, 'a dict of names: write {"img": "image"}.')
        for new in fields.values():
            name("fields", new)
        names("fields", tuple(fields.values()))
        self.fields = tuple(fields.items())

    def apply(self, element: Element) -> Element:
        renamed = dict(self.fields)
        check_there(self, element, tuple(renamed))
        twice = [own for own in element.data if own in renamed.values() and own not in renamed]
        if twice:
            raise ValueError(
                f"Rename gives a field the name {internal.listed(twice)}, which another one has; "
                "drop that before, or rename it too."
            )
        data = {renamed.get(own, own): x for own, x in element.data.items()}
        return element.replace(data=data)


class Cast(OperatorModule):
    """Fields in other dtypes: `Cast({"label": "int32"})`.

    What does not fit into integers is refused under `pipeline.checked()`, and wraps elsewhere.
    **Errors:** ValueError for an unknown field, TypeError for what is no dtype or not one that JAX
    keeps.
    """

    def __init__(self, fields: Mapping[str, DTypeLike]):
        _check_pairs("fields", fields, 'a dict of dtypes: write {"label": "int32"}.')
        self.fields = tuple((own, _dtype(own, dtype)) for own, dtype in fields.items())

    def apply(self, element: Element) -> Element:
        check_there(self, element, tuple(own for own, _ in self.fields))
        return element.update_data(
            {own: ops.cast(element.data[own], dtype) for own, dtype in self.fields}
        )


class OneHot(OperatorModule):
    """An integer label as one-hot floats: `OneHot("label", 10)`.

    **Errors:** ValueError for fewer than 1 class, and for an unknown field; TypeError for one that
    is no integer. A label from `classes` on is refused under `pipeline.checked()`, and has zeros
    alone elsewhere.
    """

    def __init__(self, field: str, classes: int):
        self.field = name("field", field)
        self.classes = count("classes", classes)

    def apply(self, element: Element) -> Element:
        check_there(self, element, (self.field,))
        try:
            made = ops.one_hot(element.data[self.field], self.classes)
        except TypeError as error:  # of the function, which knows no fields
            raise TypeError(f"OneHot cannot work on the field `{self.field}`: {error}") from None
        return element.update_data({self.field: made})


def check_there(operator: OperatorModule, element: Element, fields: Collection[str]) -> None:
    """**Errors:** ValueError for a field that the record has not."""
    for own in fields:
        if own not in element.data:
            raise ValueError(
                f"{type(operator).__name__} works on the field `{own}`, but the record has "
                f"{internal.listed(element.data)}.{internal.near(own, element.data)}"
            )


def _check_pairs(argument: str, fields: object, expected: str) -> None:
    if not isinstance(fields, Mapping):
        raise TypeError(internal.of_type(argument, fields, expected))
    if not fields:
        raise ValueError(f"{argument} is empty; expected {expected}")
    for own in fields:
        name(argument, own)


def _dtype(field: str, dtype: DTypeLike) -> jnp.dtype:
    try:
        given = jnp.dtype(dtype)
    except TypeError:
        raise TypeError(
            f'fields gives `{field}` {dtype!r}; expected a dtype: write "float32".'
        ) from None
    kept = jax.dtypes.canonicalize_dtype(given)
    if kept != given:
        raise TypeError(
            f"fields gives `{field}` the dtype {given}, which JAX keeps as {kept} unless "
            f'jax_enable_x64 is set; write "{kept}".'
        )
    return given
