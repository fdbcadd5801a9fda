"""How a class of fields is made, for the pages of reference: an `eqx.Module`, or a NamedTuple.

Their `__init__` is written when Python runs them, and the pages are made from the text alone.
"""

from typing import Any

import griffe

_OF_FIELDS = ("eqx.Module", "NamedTuple", "AbstractOrder")


class Fields(griffe.Extension):
    """Gives such a class the `__init__` that its fields stand for."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called by griffe for each class that it has read; not of one with private fields."""
        of_fields = {str(base).partition("[")[0] for base in cls.bases} & {*_OF_FIELDS}
        fields = [x for x in cls.members.values() if _is_field(x)]
        made_otherwise = cls.name.startswith("Abstract") or any(
            "field(" in str(x.value) for x in fields
        )
        if not of_fields or "__init__" in cls.members or made_otherwise:
            return
        kind = griffe.ParameterKind.positional_or_keyword
        own = griffe.Parameter("self", kind=kind)
        given = [
            griffe.Parameter(x.name, annotation=x.annotation, kind=kind, default=x.value)
            for x in fields
        ]
        init = griffe.Function("__init__", parameters=griffe.Parameters(own, *given), parent=cls)
        cls.set_member("__init__", init)


def _is_field(member: Any) -> bool:
    annotated = member.is_attribute and member.annotation is not None
    return annotated and "instance-attribute" in member.labels  # which no ClassVar is
