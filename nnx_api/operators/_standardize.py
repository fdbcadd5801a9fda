"""Fields in units of their deviation from their mean, as it was found over all records.

How moments are found stands in `dagrax.pure`; running ones are kept by `RunningNormalize`.
"""

from collections.abc import Collection, Mapping
from typing import cast

import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

import dagrax.pure as dp
from dagrax.pure import host, internal, ops
from dagrax.pure.ops import inner

from .._element import Element, OperatorModule
from .._source import Source
from ._names import name
from ._structure import check_there

Statistics = nnx.BatchStat[Float[Array, "*features"]]


class Standardize(OperatorModule):
    """Fields less their mean, by their deviation: `Standardize.fit(source, ("x",))`.

    By hand, `Standardize({"x": (mean, std)})`: numbers, or arrays that are one for each entry of
    the last axes of a record. They are `nnx.BatchStat`, which no optimizer of Params moves. A
    deviation of 0, as of a constant field, is not divided by. Integers become float32.

    **Errors:** TypeError for anything but a dict of pairs of numbers; ValueError for an empty one,
    NaN, a negative deviation, an unknown field, and shapes that do not fit it.
    """

    def __init__(self, moments: Mapping[str, tuple[object, object]]):
        expected = 'a dict of means and deviations: write {"x": (mean, std)}.'
        if not isinstance(moments, Mapping):
            raise TypeError(internal.of_type("moments", moments, expected))
        if not moments:
            raise ValueError(f"moments is empty; expected {expected}")
        for own, pair in moments.items():
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(internal.of_type(f"moments[{own!r}]", pair, "a pair (mean, std)."))
        held = {
            name("moments", own): (_number(own, "mean", mean), _number(own, "std", std, 0.0))
            for own, (mean, std) in moments.items()
        }
        self.mean = nnx.data({own: mean for own, (mean, _) in held.items()})
        self.std = nnx.data({own: std for own, (_, std) in held.items()})

    @classmethod
    def fit(
        cls,
        source: Source[PyTree] | dp.AbstractSource[PyTree] | host.AbstractHostSource[PyTree],
        fields: str | Collection[str],
        axes: Collection[int] = (-1,),
    ) -> "Standardize":
        """By the moments of these fields over all records, found in one pass: see
        `dagrax.pure.fit`, whose errors it has."""
        pure = source.pure()[0] if isinstance(source, Source) else source
        found = dp.fit(pure, fields, axes)
        return cls({own: (moments.mean, moments.std) for own, moments in found.items()})

    def apply(self, element: Element) -> Element:
        check_there(self, element, tuple(self.mean))
        return element.update_data({own: self._standard(own, element) for own in self.mean})

    def _standard(self, own: str, element: Element) -> Float[Array, "..."]:
        value = inner.as_floats(element.data[own])
        try:
            return ops.standardize(value, self.mean[own][...], self.std[own][...])
        except ValueError as error:  # of the function, which knows no fields
            raise ValueError(f"Standardize cannot work on the field `{own}`: {error}") from None


def _number(field: str, which: str, value: object, least: float | None = None) -> Statistics:
    try:
        array = jnp.asarray(cast(ArrayLike, value), jnp.float32)
    except (TypeError, ValueError):
        told = f"The {which} of `{field}`"
        raise TypeError(internal.of_type(told, value, "numbers.")) from None
    if internal.known(array):
        wrong = jnp.isnan(array) | (array < (-jnp.inf if least is None else least))
        if wrong.any():
            expected = "no NaN" if least is None else "at least 0"
            raise ValueError(f"The {which} of `{field}` is {value!r}; expected {expected}.")
    return nnx.BatchStat(array)
