"""Operators, which are written for one record."""

from typing import assert_type

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from dagrax.nnx_api import Element, MemorySource, OperatorModule, Pipeline
from tests.types.records import IMAGE, Image, Images


class Contrast(OperatorModule):
    def __init__(self, gain: float) -> None:
        self.gain = nnx.Param(jnp.float32(gain))

    def apply(self, element: Element[Image]) -> Element[Image]:
        image = element.data["image"]
        assert_type(image, Array)
        return element.update_data({"image": image * self.gain[...]})


class Flip(OperatorModule):
    def apply(self, element: Element[Image], *, key: PRNGKeyArray) -> Element[Image]:
        image = element.data["image"]
        return Element({"image": jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)})


class Mean(OperatorModule):
    """To a record of another type."""

    def apply(self, element: Element[Image]) -> Element[dict[str, Float[Array, " c"]]]:
        return element.replace(data={"mean": element.data["image"].mean(axis=(0, 1))})


pipeline = Pipeline[Images, dict[str, Array]](
    source=MemorySource[Images](data={"image": IMAGE}),
    stages=[Contrast(2.0), Flip(), Mean()],
    batch_size=4,
    rngs=nnx.Rngs(0),
)
assert_type(pipeline.step(), dict[str, Array])
assert pipeline.step()["mean"].shape == (4, 3)

one = Element[Image]({"image": jnp.asarray(IMAGE[0])})
assert_type(Contrast(2.0).apply(one), Element[Image])
assert_type(Contrast(2.0).apply(one).data, Image)
assert_type(Mean().apply(one), Element[dict[str, Array]])
