"""The batches of the programs in this folder, and of what they are made."""

from typing import TypedDict

import numpy as np
from jaxtyping import Array, Float, Int


class Image(TypedDict):
    """One record of `Images`."""

    image: Float[Array, "h w c"]


class Images(TypedDict):
    """Batches without labels."""

    image: Float[Array, "batch h w c"]


class Labelled(TypedDict):
    """Batches with labels."""

    image: Float[Array, "batch h w c"]
    label: Int[Array, " batch"]


class Pooled(TypedDict):
    """What a stage makes of `Labelled`."""

    mean: Float[Array, "batch c"]
    label: Int[Array, " batch"]


IMAGE = np.linspace(0, 1, 8 * 4 * 4 * 3, dtype=np.float32).reshape(8, 4, 4, 3)
LABEL = np.arange(8, dtype=np.int32) % 2
