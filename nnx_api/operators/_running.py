"""A field normalized by what was seen of it so far: the state is in BatchStat Variables.

How moments are found, merged and forgotten stands in `dagrax.pure.ops`.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree, Shaped

from dagrax.pure import internal, ops

from ._magnitudes import magnitude
from ._names import count, name


class RunningNormalize(nnx.Module):
    """A field less its running mean, by its running deviation; one that is 0 is not divided by.

    In `train()` each batch is counted in before it is normalized; in `eval()` the moments stay.
    What it computes is `dagrax.pure.ops.running_normalize`: rows that are fill do not count, and no
    gradient flows through the moments.

    - `momentum`: a new batch has the part `1 - momentum`, the first ones more, so that nothing is
      left of the start; 1 for the moments of all that was seen.
    - `field`: a floating-point field.
    - `features`: the size of its last axis, whose entries have moments of their own; without it
      there is one mean and one deviation for the whole field.
    - `valid`: the field that says which rows are records, if the batch has it.

    **Errors:** ValueError for a momentum that is not from 0 to 1, a missing field, and one whose
    last axis has another size; TypeError for a field that is not floating-point.
    """

    momentum: nnx.Param[Float[Array, ""]]
    mean: nnx.BatchStat[Float[Array, "*features"]]
    variance: nnx.BatchStat[Float[Array, "*features"]]
    count: nnx.BatchStat[Float[Array, ""]]

    def __init__(
        self,
        momentum: Shaped[ArrayLike, ""] = 0.99,
        *,
        field: str = "image",
        features: int | None = None,
        valid: str = "valid",
    ):
        self.momentum = magnitude("momentum", momentum, least=0.0, most=1.0)
        self.field = name("field", field)
        self.features = None if features is None else count("features", features)
        self.valid = name("valid", valid)
        shape = () if features is None else (features,)
        self.count = nnx.BatchStat(jnp.zeros(()))
        self.mean = nnx.BatchStat(jnp.zeros(shape))
        self.variance = nnx.BatchStat(jnp.ones(shape))
        self.use_running_average = False

    def moments(self) -> ops.Moments:
        """What was seen so far."""
        return ops.Moments(self.count[...], self.mean[...], self.variance[...])

    def __call__(self, batch: Mapping[str, PyTree]) -> dict[str, PyTree]:
        value = self._judged(batch)
        if self.use_running_average:
            return {**batch, self.field: ops.normalized(value, self.moments())}
        axes = () if self.features is None else (-1,)
        normalized, seen = ops.running_normalize(
            value, self.moments(), self.momentum[...], axes, valid=batch.get(self.valid)
        )
        self.count[...] = seen.count
        self.mean[...], self.variance[...] = seen.mean, seen.variance
        return {**batch, self.field: normalized}

    def _judged(self, batch: Mapping[str, PyTree]) -> Shaped[Array, "batch ..."]:
        if self.field not in batch:
            raise ValueError(
                f"RunningNormalize works on the field `{self.field}`, but the batch has "
                f"{internal.listed(batch)}; pass field=… to RunningNormalize."
            )
        value = jnp.asarray(batch[self.field])
        if self.features is not None and value.shape[1:][-1:] != (self.features,):
            raise ValueError(
                f"RunningNormalize has moments of {self.features} features, but `{self.field}` is "
                f"{internal.spec_text(value)}; expected a last axis of {self.features}."
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(
                f"RunningNormalize works on a floating-point field, but `{self.field}` is "
                f"{internal.spec_text(value)}; cast it before: Cast({{{self.field!r}: "
                "'float32'})."
            )
        return value
