"""Which fields of a record an operator works on, each as its own kind: image, mask, boxes,
keypoints.

What it does with them stands in its own file. One that has not what it needs is refused by name.
"""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from jaxtyping import Array, Shaped

from dagrax.pure import internal

from .._element import Element, OperatorModule

Kind: TypeAlias = Literal["image", "mask", "boxes", "keypoints"]
Fields: TypeAlias = tuple[tuple[str, Kind | None], ...]
Change: TypeAlias = Callable[[Shaped[Array, "..."]], Shaped[Array, "..."]]
KINDS: tuple[Kind, ...] = ("image", "mask", "boxes", "keypoints")


def declared(fields: Mapping[str, Kind | None] | None) -> Fields | None:
    """The argument `fields` of an operator, kept: the kind of each field that it works on.

    None stands for the fields that bear the names of the kinds; a field whose kind is None is left
    as it is on purpose. **Errors:** TypeError for anything but such a dict; ValueError for an
    unknown kind, and for no field at all.
    """
    if fields is None:
        return None
    expected = 'a dict of fields and their kinds: write fields={"image": "image"}.'
    if not isinstance(fields, Mapping) or not all(isinstance(name, str) for name in fields):
        raise TypeError(internal.valued("fields", fields, expected))
    if not fields:
        raise ValueError(f"fields is empty; expected {expected}")
    for name, kind in fields.items():
        if kind is not None and kind not in KINDS:
            raise ValueError(
                f"fields gives `{name}` the kind {kind!r}; expected one of "
                f"{internal.listed(KINDS)}, or None to leave it as it is."
            )
    return tuple(fields.items())


def changed(
    operator: OperatorModule,
    element: Element,
    changes: Mapping[Kind, Change],
    fields: Fields | None,
) -> Element:
    """The element with each field of these kinds changed by the change for its kind.

    **Errors:** ValueError for a field that is named and not there, and for no field to work on;
    those of a change, with the names of operator and field before them.
    """
    chosen = [
        (name, changes[kind])
        for name, kind in chosen_fields(operator, element, fields)
        if kind in changes
    ]
    if not chosen:
        raise ValueError(
            f"{type(operator).__name__} works on {_one_of(tuple(changes))}, but the record has "
            f"{internal.listed(element.data)}; say what its fields are: fields={{…: "
            f'"{next(iter(changes))}"}}.'
        )
    return element.update_data(
        {name: on_field(operator, name, element.data[name], change) for name, change in chosen}
    )


def chosen_fields(
    operator: OperatorModule, element: Element, fields: Fields | None
) -> list[tuple[str, Kind]]:
    """The fields of the record that the operator speaks of, with their kinds.

    **Errors:** ValueError for a field that is named and not there.
    """
    if fields is None:
        fields = tuple((kind, kind) for kind in KINDS if kind in element.data)
    for name, _ in fields:
        if name not in element.data:
            raise ValueError(
                f"{type(operator).__name__} works on the field `{name}`, but the record has "
                f"{internal.listed(element.data)}; say what its fields are: fields={{…}}."
            )
    return [(name, kind) for name, kind in fields if kind is not None]


def on_field(
    operator: OperatorModule, name: str, value: Shaped[Array, "..."], change: Change
) -> Shaped[Array, "..."]:
    """A field changed. **Errors:** those of the change, with the names of operator and field."""
    try:
        return change(value)
    except (TypeError, ValueError) as error:  # of the function, which knows no fields
        where = f"{type(operator).__name__} cannot work on the field `{name}`"
        raise type(error)(f"{where}: {error}") from None


def _one_of(kinds: tuple[Kind, ...]) -> str:
    names = internal.listed(kinds)
    return f"the field {names}" if len(kinds) == 1 else f"fields named {names}"
