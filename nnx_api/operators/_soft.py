"""A choice that can be learned: all arms at once, each by its part.

Which parts are drawn stands in `dagrax.pure.ops`; what may be mixed is judged here.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

from dagrax.pure import internal
from dagrax.pure.ops import inner

from .._element import Element, OperatorModule
from ._arms import Weights, arm, operators_of
from ._fields import KINDS
from ._magnitudes import magnitude, magnitudes


class SoftChoice(OperatorModule):
    """A convex mix of what all operators make of a record, by parts that are drawn for it.

    The parts are a Gumbel-softmax: `softmax((weights + gumbel) / temperature)`. At a low
    temperature nearly all is one operator's, which is then drawn in the proportions
    `softmax(weights)`; at any, gradients flow into weights, temperature and operators. The operator
    at index i draws from `fold_in(key, i)`. `eval()` leaves the record as it is.

    - `temperature`: above 0.
    - `weights`: any numbers, the logarithms of proportions; zeros if they are not given.

    **Errors:** ValueError for an empty list, another number of weights, a temperature that is not
    above 0, and at the construction of a pipeline for operators that change names, shapes, dtypes,
    masks, boxes or keypoints, of which there is no mix; TypeError for operators that change
    integers.
    """

    operators: tuple[OperatorModule, ...]
    temperature: nnx.Param[Float[Array, ""]]
    weights: nnx.Param[Float[Array, " arms"]]

    def __init__(
        self,
        operators: Sequence[OperatorModule],
        temperature: Shaped[ArrayLike, ""] = 1.0,
        weights: Weights | None = None,
    ):
        self.operators = nnx.data(operators_of(operators))
        count = len(self.operators)
        self.temperature = magnitude("temperature", temperature, above=0.0)
        given = jnp.zeros(count) if weights is None else weights
        self.weights = magnitudes("weights", given, count=count)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        arms = [arm(self, own, element, key, index) for index, own in enumerate(self.operators)]
        own_key = inner.child_key(key, len(arms))
        parts = inner.gumbel_softmax(own_key, self.weights[...], self.temperature[...])
        fixed = {kind: kind for kind in KINDS if kind != "image"} | self._named()
        mixed: dict[str, PyTree] = {}
        for name in element.data:
            fields = [own.data[name] for own in arms]
            if not all(field is element.data[name] for field in fields):
                self._judge(name, fields[0], fixed.get(name, "image"))
                mixed[name] = jax.tree.map(lambda *x: inner.blended(parts, x), *fields)
        return element.update_data(mixed)

    def _named(self) -> dict[str, str]:
        """The fields that operators were told to be of a kind."""
        told: dict[str, str] = {}
        for _, module in nnx.iter_modules(self):
            fields: object = vars(module).get("fields")
            for pair in fields if isinstance(fields, tuple) else ():
                if isinstance(pair, tuple) and len(pair) == 2 and pair[1] in KINDS:
                    told[pair[0]] = pair[1]
        return told

    def _judge(self, name: str, field: PyTree, kind: str) -> None:
        if kind != "image":
            raise ValueError(
                f"SoftChoice mixes what its operators make of a record, but they change `{name}`, "
                f"and there is no mix of {kind}; use OneOf, or operators that leave it as it is."
            )
        for leaf in jax.tree.leaves(field):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise TypeError(
                    f"SoftChoice mixes floats, but its operators change `{name}`, which is "
                    f"{internal.spec_text(leaf)}; cast it before: by ToFloat(), or "
                    'Cast({"' + name + '": "float32"}).'
                )
