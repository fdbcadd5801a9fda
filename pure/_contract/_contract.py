"""What a stage is annotated with: one annotation for each input and one for its output.

Nothing is judged here: what annotations mean stands in the files that come next.
"""

import abc
import inspect
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import typing_extensions as te

from .._graph._stage import bare, is_per_record, signature_of
from .._warning import warn
from ._annotation import Annotation


class Contract(NamedTuple):
    """What a stage says of its batches: an annotation for each input and one for the output.

    `inputs` pairs positional arguments with their annotations, `Any` where there is none. With
    `per_record`, they are those of one record. `owner` is the `self` that an axis such as
    `{self.size}` speaks of.
    """

    inputs: tuple[tuple[str, Annotation], ...]
    output: Annotation
    per_record: bool
    owner: object


class AbstractContracted(abc.ABC):
    """A stage whose contract is not the signature of its `__call__`."""

    @abc.abstractmethod
    def contract(self, inputs: int) -> Contract:
        """The contract for so many inputs."""


def contract_of(stage: Callable[..., object], inputs: int) -> Contract:
    """The contract of a stage that is called with so many inputs: that of its signature.

    An annotation that cannot be resolved (a name under `TYPE_CHECKING`, say) is warned of, and says
    nothing.
    """
    if isinstance(stage, AbstractContracted):
        return stage.contract(inputs)
    function, signature = bare(stage), signature_of(stage)
    names = _positional(signature, inputs) if signature else [""] * inputs
    hints = _hints(function)
    return Contract(
        inputs=tuple((name, hints.get(name, Any)) for name in names),
        output=hints.get("return", Any),
        per_record=is_per_record(stage),
        owner=function.__self__ if inspect.ismethod(function) else function,
    )


def _positional(signature: inspect.Signature, inputs: int) -> list[str]:
    names: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [parameter.name] * (inputs - len(names))
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(parameter.name)
    return names[:inputs]


def _hints(function: Callable[..., object]) -> dict[str, Annotation]:
    annotated = function if inspect.isroutine(function) else type(function).__call__
    if inspect.isbuiltin(annotated):
        return {}
    try:
        return te.get_type_hints(annotated)
    except Exception:  # one by one, to lose no more than cannot be read
        hints = getattr(inspect.unwrap(annotated), "__annotations__", {})
        return {name: _resolved(annotated, name, hint) for name, hint in hints.items()}


def _resolved(annotated: Callable[..., object], name: str, hint: Annotation) -> Annotation:
    alone = types.SimpleNamespace(__annotations__={name: hint})
    try:
        return te.get_type_hints(alone, globalns=inspect.unwrap(annotated).__globals__)[name]
    except Exception as error:
        warn(
            f"The annotation of `{name}` in {annotated.__qualname__} cannot be read ({error}), so "
            "it is not checked; define or import what it names at the top level of its module, "
            "outside `if TYPE_CHECKING`."
        )
        return Any
