"""A source and an order of one's own, and programs that name no types at all."""

from typing import Any, assert_type

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt32

import dagrax.pure as dp
from tests.types.records import IMAGE, Images


class Ramps(dp.AbstractSource[Images]):
    """Computed, not stored."""

    top: Float[Array, ""]

    @property
    def size(self) -> int:
        return 8

    def rows(self, ids: UInt32[Array, " batch"]) -> Images:
        ramp = jnp.linspace(0, self.top, 4)
        return {"image": ids.astype(jnp.float32)[:, None, None, None] * ramp[None, :, None, None]}


class Backwards(dp.AbstractOrder):
    def ids(
        self, positions: UInt32[Array, " batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, " batch"]:
        return size - 1 - positions


def mean(batch: Images) -> Float[Array, " batch"]:
    return batch["image"].mean(axis=(1, 2, 3))


ramps = dp.Stream(Ramps(jnp.float32(2)), Backwards(), batch_size=4)
assert_type(ramps, dp.Stream[Images])
pipeline = dp.Pipeline[Images, Float[Array, " batch"]].linear([mean])
_, means = dp.step(pipeline, ramps, ramps.start())
assert_type(means, Array)
assert means[0] > means[-1]

untyped = dp.Pipeline.linear([mean])
stream = dp.Stream(dp.ArraySource({"image": IMAGE}), batch_size=4)
dp.check(untyped, stream)
_, anything = dp.step(untyped, stream, stream.start())
assert_type(anything, Any)
assert_type(dp.apply(untyped, {"image": IMAGE}), Any)
