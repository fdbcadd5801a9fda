"""Records and stages with annotations, for graphs that must be refused and graphs that must pass.

The source batch is `{"image": float32[4, 4, 6, 3], "label": int32[4]}`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, NotRequired, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import typing_extensions as te
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped
from typing_extensions import TypedDict

import dagrax.pure as dp
from dagrax.nnx_api import Element, OperatorModule

DATA = {
    "image": np.zeros((8, 4, 6, 3), np.float32),
    "label": np.zeros(8, np.int32),
}


class Images(TypedDict):
    image: Float[Array, "batch h w c"]
    label: Int[Array, "batch"]


class Open(TypedDict, closed=False):
    image: Float[Array, "batch h w c"]


class Arrays(TypedDict, extra_items=Shaped[Array, "batch ..."]):  # type: ignore[call-arg]
    image: Float[Array, "batch h w c"]


class Weighted(Images):
    weight: NotRequired[Float[Array, " batch"]]


class Halves(TypedDict):
    image: Float[Array, "batch h//2 w//2 c"]
    label: Int[Array, " batch"]


class Grey(TypedDict):
    grey: Float[Array, "batch h w"]


class Square(TypedDict):
    image: Float[Array, "batch size size c"]
    label: Int[Array, " batch"]


class Nested(TypedDict):
    images: Images
    meta: dict[str, Shaped[Array, "batch ..."]]


class Views(NamedTuple):
    left: Float[Array, "batch h w c"]
    right: Float[Array, "batch h w c"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Boxes:
    corners: Float[Array, "batch boxes 4"]
    count: Int[Array, " batch"]


Item = te.TypeVar("Item", default=Any)


class Two(NamedTuple, Generic[Item]):
    first: Item
    second: Item


Logits: TypeAlias = Float[Array, "batch 10"]


def images(batch: Images) -> Images:
    return batch


def halve(batch: Images) -> Halves:
    return {**batch, "image": batch["image"][:, ::2, ::2]}


def grey(batch: Images) -> Grey:
    return {"grey": batch["image"].mean(-1)}


def views(batch: Images) -> Views:
    return Views(batch["image"], batch["image"][:, :, ::-1])


def free(batch: Any) -> Any:
    return batch


def takes(annotation: Any) -> Callable[[Any], Any]:
    """A stage whose input is annotated."""

    def stage(batch: Any) -> Any:
        return batch

    stage.__annotations__ = {"batch": annotation}
    return stage


def gives(annotation: Any, f: Callable[[Any], Any] = free) -> Callable[[Any], Any]:
    """A stage whose output is annotated, and computed by `f` from the batch."""

    def stage(batch: Any) -> Any:
        return f(batch)

    stage.__annotations__ = {"return": annotation}
    return stage


def images_with(**fields: Callable[[Array], Any]) -> Callable[[Any], Any]:
    """A stage that says it returns Images, and returns the batch with some fields replaced."""

    def stage(batch: Images) -> Any:
        return {**batch, **{name: f(batch["image"]) for name, f in fields.items()}}

    stage.__annotations__["return"] = Images
    return stage


def merge(first: Images, second: Images) -> Images:
    return first


def merge_all(*branches: Images) -> Images:
    return branches[0]


class Crop(eqx.Module):
    """Annotated by its own attribute."""

    size: int = eqx.field(static=True)
    taken: int = eqx.field(static=True)

    def __call__(self, batch: Open) -> Float[Array, "batch {self.size} {self.size} c"]:
        return batch["image"][:, : self.taken, : self.taken]


class Affine(nnx.Module):
    def __init__(self, axis: int | None = None) -> None:
        self.gain, self.axis = nnx.Param(jnp.float32(2)), axis

    def __call__(self, batch: Images) -> Images:
        image = batch["image"] * self.gain[...]
        return {**batch, "image": image if self.axis is None else image.sum(self.axis)}


class Image(TypedDict):
    image: Float[Array, "h w c"]
    label: Int[Array, ""]


class Flip(OperatorModule):
    """Right, or with one axis too few."""

    def __init__(self, *, wrong: bool = False) -> None:
        self.wrong = wrong

    def apply(self, element: Element[Image]) -> Element[Image]:
        image = element.data["image"][::-1]
        return element.update_data({"image": image[0] if self.wrong else image})


def one(record: Image) -> Image:
    return {**record, "image": record["image"] * 2}


def one_row(record: Image) -> Image:
    return {**record, "image": record["image"][0]}


def linear(*stages: Any, dims: dp.Dims = ()) -> dp.Pipeline:
    return dp.Pipeline.linear(stages, dims=dims)


def graph(edges: Mapping[str, Sequence[str]], dims: dp.Dims = (), **nodes: Any) -> dp.Pipeline:
    """A graph whose sink is its last node."""
    return dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink=list(nodes)[-1], dims=dims)


def stream(data: Any = DATA, batch_size: int = 4, remainder: dp.Remainder = "partial") -> dp.Stream:
    return dp.Stream(dp.ArraySource(data), batch_size=batch_size, remainder=remainder)
