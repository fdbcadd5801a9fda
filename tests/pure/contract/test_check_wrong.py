"""Graphs that do not fit their data, and what each is told."""

import dataclasses
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int, PyTree, UInt8
from typing_extensions import TypedDict

import dagrax.pure as dp
from dagrax.nnx_api import Element, OperatorModule
from tests.contracts import (
    DATA,
    Affine,
    Arrays,
    Boxes,
    Crop,
    Flip,
    Halves,
    Images,
    Logits,
    Nested,
    Square,
    Two,
    Views,
    free,
    gives,
    graph,
    halve,
    images,
    images_with,
    linear,
    merge,
    merge_all,
    one_row,
    stream,
    takes,
)


class Masked(TypedDict):
    mask: Float[Array, "batch"] | None


class Variadic(TypedDict):
    a: Float[Array, "batch *shape"]
    b: Float[Array, "batch *shape"]


class Broadcast(TypedDict):
    a: Float[Array, "batch n"]
    b: Float[Array, "batch #n"]


class Constant(dp.AbstractSource[Any]):
    """The same for all ids."""

    @property
    def size(self) -> int:
        return 8

    def rows(self, ids: Any) -> Any:
        return {"x": jnp.zeros(3)}


class Liar(dp.AbstractSource[Images]):
    @property
    def size(self) -> int:
        return 8

    def rows(self, ids: Any) -> Images:
        return {"image": jnp.zeros((*ids.shape, 2, 2)), "label": ids}


class Hidden(TypedDict):
    image: "Unseen"  # type: ignore[name-defined]


@dataclasses.dataclass
class Plain:
    image: Any


class Bare(OperatorModule):
    def apply(self, element: Images) -> Element[Any]:
        raise NotImplementedError


def fussy(batch: Any) -> Any:
    raise TypeError("The branches differ:\n  one is red,\n  one is blue.")


def images_halved(batch: Images) -> Halves:
    return {**batch, "image": batch["image"][:, ::2]}


# What is wrong: the graph, the stream if it is another, and the lines that name it.
WRONG: dict[str, tuple[dp.Pipeline, dp.Stream | None, list[str]]] = {
    "an output of another rank": (
        linear(images_with(image=lambda x: x[0])),
        None,
        [
            (
                'node `stage` output `image`: expected Float[Array, "batch h w c"], got '
                "f32[4,6,3] (batch=4, h=4, w=6, c=3). It has 3 axes where 4 are expected."
            )
        ],
    ),
    "an integer input where a float is stated": (
        linear(images),
        stream({**DATA, "image": np.zeros((8, 4, 6, 3), np.uint8)}),
        [
            (
                "node `images` input `batch` (from the source) `image`: expected Float[Array, "
                '"batch h w c"], got u8[4,4,6,3] (batch=4). Cast it before this node, '
                "`.astype(jnp.float32)`, or change the annotation."
            )
        ],
    ),
    "a float output where an integer is stated": (
        linear(gives(Int[Array, "batch"], lambda b: b["image"].mean((1, 2, 3)))),
        None,
        [
            (
                'node `stage` output: expected Int[Array, "batch"], got f32[4] (batch=4). Cast '
                "it, `.astype(jnp.int32)`, or change the annotation."
            )
        ],
    ),
    "an exact dtype": (
        linear(gives(UInt8[Array, "batch"], lambda b: b["label"])),
        None,
        [
            (
                'node `stage` output: expected UInt8[Array, "batch"], got i32[4] (batch=4). '
                "Cast it, `.astype(jnp.uint8)`, or change the annotation."
            )
        ],
    ),
    "a misspelt field beside the right ones": (
        linear(images),
        stream({**DATA, "labels": DATA["label"]}),
        [
            (
                "node `images` input `batch` (from the source) `labels`: expected no such field"
                " in Images, got i32[4]. Did you mean `label`?"
            )
        ],
    ),
    "too few axes before the dots": (
        linear(gives(Float[Array, "batch ... h c"], lambda b: b["image"][:, :, 0, 0])),
        None,
        [
            (
                'node `stage` output: expected Float[Array, "batch ... h c"], got f32[4,4] '
                "(batch=4). It has 2 axes where at least 3 are expected."
            )
        ],
    ),
    "an axis behind the dots": (
        linear(gives(Float[Array, "batch ... 4"], lambda b: b["image"])),
        None,
        [
            (
                'node `stage` output: expected Float[Array, "batch ... 4"], got f32[4,4,6,3] '
                "(batch=4). Its axis `4` is 3, not 4."
            )
        ],
    ),
    "a dtype without axes": (
        linear(gives(Float)),
        None,
        ['node `stage` output: Float has no axes; write Float[Array, "..."].'],
    ),
    "a record whose fields cannot be resolved": (
        linear(gives(Hidden)),
        None,
        [
            (
                "node `stage` output: the fields of Hidden name `Unseen`, which is not defined "
                "at run time; define or import it at the top level of its module, outside `if "
                "TYPE_CHECKING`."
            )
        ],
    ),
    "dims that no annotation names": (
        linear(images, dims=["hight"]),
        None,
        [
            (
                "dims names the axis `hight`, which no annotation does; they name `batch`, `c`,"
                " `h`, `w`."
            )
        ],
    ),
    "a dataclass that is no pytree": (
        linear(lambda b: Plain(b["image"])),
        None,
        [
            (
                "node `lambda` returned a Plain in its output, a dataclass that is no pytree; "
                "decorate its class with @jax.tree_util.register_dataclass."
            )
        ],
    ),
    "a string in a field": (
        linear(lambda b: {**b, "name": "x"}),
        None,
        [
            (
                "node `lambda` returned a str in its field `name`; expected a batch, a pytree "
                "of arrays. Return arrays alone."
            )
        ],
    ),
    "an array of strings": (
        linear(lambda b: {"name": np.array(["a"])}),
        None,
        [
            (
                "node `lambda` returned an array of <U1 in its field `name`; expected a batch, "
                "a pytree of arrays. Return arrays alone."
            )
        ],
    ),
    "an error of many lines": (
        linear(fussy),
        None,
        [
            (
                "node `fussy` (fussy) fails on input `batch` (from the source) {image: "
                "f32[4,4,6,3], label: i32[4]}: TypeError (here.py:1): The branches differ: one "
                "is red, one is blue."
            )
        ],
    ),
    "a look-up that is no field": (
        linear(lambda b: {"x": dict[str, int]()["lens"]}),
        None,
        [
            (
                "node `lambda` (<lambda>) fails on input `b` (from the source) {image: "
                "f32[4,4,6,3], label: i32[4]}: KeyError (here.py:1): 'lens'. If a field is "
                "meant, there are `image`, `label`."
            )
        ],
    ),
    "a last batch of another length": (
        linear(lambda b: {"x": b["image"].reshape(3, 72)}),
        stream(DATA, 3),
        [
            (
                "in the last batch, of 2 records: node `lambda` (<lambda>) fails on input `b` "
                "(from the source) {image: f32[2,4,6,3], label: i32[2]}: TypeError (here.py:1):"
                " cannot reshape array of shape (2, 4, 6, 3) (size 144) into shape (3, 72) "
                "(size 216)."
            )
        ],
    ),
    "a last batch that a contract forbids": (
        linear(gives(Float[Array, "3 h w c"], lambda b: b["image"])),
        stream(DATA, 3),
        [
            (
                'in the last batch, of 2 records: node `stage` output: expected Float[Array, "3'
                ' h w c"], got f32[2,4,6,3] (batch=2). Its axis `3` is 2, not 3.'
            )
        ],
    ),
    "an operator annotated with the record alone": (
        linear(Bare()),
        None,
        [
            (
                "node `bare`: `apply` is annotated with Images; expected an Element: write "
                "Element[Images]."
            )
        ],
    ),
    "an error in a function of one record": (
        linear(dp.per_record(lambda r: r["image"] @ r["image"])),
        None,
        [
            (
                "node `lambda` (<lambda>) fails on input `r` (from the source), one record, "
                "{image: f32[4,6,3], label: i32[]}: TypeError (here.py:1): dot_general requires"
                " contracting dimensions to have the same shape, got (3,) and (6,)."
            )
        ],
    ),
    "a missing field": (
        linear(images),
        stream({"image": DATA["image"]}),
        [
            (
                "node `images` input `batch` (from the source) `label`: expected Int[Array, "
                '"batch"], but there is no such field; there are `image`.'
            )
        ],
    ),
    "a misspelt field": (
        linear(images),
        stream({"imge": DATA["image"], "label": DATA["label"]}),
        [
            (
                "node `images` input `batch` (from the source) `image`: expected Float[Array, "
                '"batch h w c"], but there is no such field; there are `imge`, `label`. Did you'
                " mean `imge`?"
            )
        ],
    ),
    "an extra field": (
        linear(images),
        stream({**DATA, "mask": DATA["label"]}),
        [
            (
                "node `images` input `batch` (from the source) `mask`: expected no such field "
                "in Images, got i32[4]. Declare it there, or write `class Images(TypedDict, "
                "closed=False)`, of typing_extensions, to let other fields through."
            )
        ],
    ),
    "an extra field of a wrong kind": (
        linear(takes(Arrays)),
        stream({**DATA, "more": {"a": DATA["label"]}}),
        [
            (
                "node `stage` input `batch` (from the source) `more`: expected Shaped[Array, "
                '"batch ..."], got dict {a: i32[4]}.'
            )
        ],
    ),
    "an output that lacks a field": (
        linear(gives(Images, lambda b: {"image": b["image"]})),
        None,
        [
            (
                'node `stage` output `label`: expected Int[Array, "batch"], but there is no '
                "such field; there are `image`."
            )
        ],
    ),
    "an output with an extra field": (
        linear(images_with(mask=lambda x: x)),
        None,
        [
            (
                "node `stage` output `mask`: expected no such field in Images, got "
                "f32[4,4,6,3]. Declare it there, or write `class Images(TypedDict, "
                "closed=False)`, of typing_extensions, to let other fields through."
            )
        ],
    ),
    "an output with too few rows": (
        linear(images_with(label=lambda x: jnp.zeros(3, jnp.int32))),
        None,
        [
            (
                'node `stage` output `label`: expected Int[Array, "batch"], got i32[3] '
                "(batch=4, h=4, w=6, c=3). Its axis `batch` is 3, not 4."
            )
        ],
    ),
    "an axis that is not equal within an array": (
        linear(takes(Square)),
        None,
        [
            (
                "node `stage` input `batch` (from the source) `image`: expected Float[Array, "
                '"batch size size c"], got f32[4,4,6,3] (batch=4). Its axis `size` is 6, not 4.'
            )
        ],
    ),
    "an axis that is not equal across inputs": (
        graph(
            {"images": [], "halve": [], "merge": ["images", "halve"]},
            images=images,
            halve=halve,
            merge=merge,
        ),
        None,
        [
            (
                "node `merge` input `second` (from `halve`) `image`: expected Float[Array, "
                '"batch h w c"], got f32[4,2,3,3] (batch=4, h=4, w=6, c=3). Its axis `h` is 2, '
                "not 4. Its axis `w` is 3, not 6."
            )
        ],
    ),
    "an axis that is not equal across many inputs": (
        graph(
            {"images": [], "halve": [], "merge_all": ["images", "images", "halve"]},
            images=images,
            halve=halve,
            merge_all=merge_all,
        ),
        None,
        [
            (
                "node `merge_all` input `branches` (from `halve`) `image`: expected "
                'Float[Array, "batch h w c"], got f32[4,2,3,3] (batch=4, h=4, w=6, c=3). Its '
                "axis `h` is 2, not 4. Its axis `w` is 3, not 6."
            )
        ],
    ),
    "a graph-wide axis that changes": (
        linear(images, halve, images, dims=["h"]),
        None,
        [
            (
                "node `images_1` input `batch` (from `halve`) `image`: expected Float[Array, "
                '"batch h w c"], got f32[4,2,3,3] (batch=4, h=4 from node `images`). Its axis '
                "`h` is 2, not 4."
            )
        ],
    ),
    "a graph-wide axis of another declared size": (
        linear(images, dims={"h": 5}),
        None,
        [
            (
                "node `images` input `batch` (from the source) `image`: expected Float[Array, "
                '"batch h w c"], got f32[4,4,6,3] (batch=4, h=5 as declared). Its axis `h` is '
                "4, not 5."
            )
        ],
    ),
    "a declared batch size that contradicts the stream": (
        linear(images, dims={"batch": 16}),
        None,
        [
            (
                "dims says that `batch` is 16, but the stream hands out 4 records at a time; "
                "leave it out of dims."
            )
        ],
    ),
    "a computed axis that differs": (
        linear(images_halved),
        None,
        [
            (
                'node `images_halved` output `image`: expected Float[Array, "batch h//2 w//2 '
                'c"], got f32[4,2,6,3] (batch=4, h=4, w=6, c=3). Its axis `w//2` is 6, not 3.'
            )
        ],
    ),
    "a computed axis in an output that nothing binds": (
        linear(gives(Halves)),
        None,
        [
            (
                'node `stage` output `image`: expected Float[Array, "batch h//2 w//2 c"], got '
                "f32[4,4,6,3] (batch=4). The axis `h//2` cannot be computed, for nothing else "
                "binds `h`; name `h` as an axis of an input, or of another field."
            )
        ],
    ),
    "a computed axis that nothing binds": (
        linear(gives(Float[Array, "batch n//2"], lambda b: b["image"][:, :, 0, 0])),
        None,
        [
            (
                'node `stage` output: expected Float[Array, "batch n//2"], got f32[4,4] '
                "(batch=4). The axis `n//2` cannot be computed, for nothing else binds `n`; "
                "name `n` as an axis of an input, or of another field."
            )
        ],
    ),
    "an axis by an attribute": (
        linear(Crop(3, 2)),
        None,
        [
            (
                'node `crop` output: expected Float[Array, "batch {self.size} {self.size} c"], '
                "got f32[4,2,2,3] (batch=4, h=4, w=6, c=3). Its axis `{self.size}` is 2, not 3."
                " Its axis `{self.size}` is 2, not 3."
            )
        ],
    ),
    "an axis by an attribute that is not there": (
        linear(gives(Float[Array, "batch {self.nothing}"], lambda b: b["image"][:, :, 0, 0])),
        None,
        [
            (
                'node `stage` output: expected Float[Array, "batch {self.nothing}"], got '
                "f32[4,4] (batch=4). The annotation cannot be evaluated ('function' object has "
                "no attribute 'nothing'); correct it."
            )
        ],
    ),
    "an axis of a fixed size": (
        linear(gives(Logits, lambda b: b["image"][:, :, 0, 0])),
        None,
        [
            (
                'node `stage` output: expected Float[Array, "batch 10"], got f32[4,4] '
                "(batch=4). Its axis `10` is 4, not 10."
            )
        ],
    ),
    "a fixed batch size": (
        linear(gives(Float[Array, "5 h w c"], lambda b: b["image"])),
        None,
        [
            (
                'node `stage` output: expected Float[Array, "5 h w c"], got f32[4,4,6,3] '
                "(batch=4). Its axis `5` is 4, not 5."
            )
        ],
    ),
    "an array where a dict is stated": (
        linear(gives(Images, lambda b: b["image"])),
        None,
        ["node `stage` output: expected Images, got f32[4,4,6,3]. Put it into a dict."],
    ),
    "a dict where an array is stated": (
        linear(gives(Logits)),
        None,
        [
            (
                'node `stage` output: expected Float[Array, "batch 10"], got dict {image: '
                "f32[4,4,6,3], label: i32[4]}."
            )
        ],
    ),
    "a tuple where a NamedTuple is stated": (
        linear(gives(Views, lambda b: (b["image"], b["image"]))),
        None,
        [("node `stage` output: expected Views, got tuple {0: f32[4,4,6,3], 1: f32[4,4,6,3]}.")],
    ),
    "a field of a NamedTuple": (
        linear(gives(Views, lambda b: Views(b["image"], b["image"][:, 1:]))),
        None,
        [
            (
                'node `stage` output `right`: expected Float[Array, "batch h w c"], got '
                "f32[4,3,6,3] (batch=4, h=4, w=6, c=3). Its axis `h` is 3, not 4."
            )
        ],
    ),
    "a field of a generic NamedTuple": (
        linear(gives(Two[Logits], lambda b: Two(jnp.zeros((4, 10)), jnp.zeros((4, 9))))),
        None,
        [
            (
                'node `stage` output `second`: expected Float[Array, "batch 10"], got f32[4,9] '
                "(batch=4). Its axis `10` is 9, not 10."
            )
        ],
    ),
    "a field of a dataclass": (
        linear(gives(Boxes, lambda b: Boxes(jnp.zeros((4, 2, 3)), jnp.zeros(4, jnp.int32)))),
        None,
        [
            (
                'node `stage` output `corners`: expected Float[Array, "batch boxes 4"], got '
                "f32[4,2,3] (batch=4). Its axis `4` is 3, not 4."
            )
        ],
    ),
    "a dict where a dataclass is stated": (
        linear(gives(Boxes)),
        None,
        [("node `stage` output: expected Boxes, got dict {image: f32[4,4,6,3], label: i32[4]}.")],
    ),
    "fields of a nested batch": (
        linear(
            gives(
                Nested,
                lambda b: {"images": {**b, "label": b["image"]}, "meta": {"a": jnp.zeros(3)}},
            )
        ),
        None,
        [
            (
                'node `stage` output `images/label`: expected Int[Array, "batch"], got '
                "f32[4,4,6,3] (batch=4, h=4, w=6, c=3). Cast it, `.astype(jnp.int32)`, or "
                "change the annotation."
            ),
            (
                'node `stage` output `meta/a`: expected Shaped[Array, "batch ..."], got f32[3] '
                "(batch=4, h=4, w=6, c=3). Its axis `batch` is 3, not 4."
            ),
        ],
    ),
    "a leaf of a PyTree": (
        linear(gives(PyTree[Float[Array, "batch ..."]])),
        None,
        [
            (
                'node `stage` output `label`: expected Float[Array, "batch ..."], got i32[4] '
                "(batch=4). Cast it, `.astype(jnp.float32)`, or change the annotation."
            )
        ],
    ),
    "a PyTree whose leaves differ": (
        linear(
            gives(
                PyTree[Float[Array, "batch ?n"], "T"],
                lambda b: {"a": jnp.zeros((4, 2)), "b": jnp.zeros((3, 2))},
            )
        ),
        None,
        [
            (
                'node `stage` output: expected PyTree[Float[Array, "batch ?n"], "T"], got {a: '
                "f32[4,2], b: f32[3,2]} (batch=4)."
            )
        ],
    ),
    "an item of a list": (
        linear(gives(list[Float[Array, "batch ..."]], lambda b: [b["image"], b["label"]])),
        None,
        [
            (
                'node `stage` output `1`: expected Float[Array, "batch ..."], got i32[4] '
                "(batch=4). Cast it, `.astype(jnp.float32)`, or change the annotation."
            )
        ],
    ),
    "a tuple of another length": (
        linear(gives(tuple[Logits, Logits], lambda b: (jnp.zeros((4, 10)),))),
        None,
        [
            (
                'node `stage` output: expected tuple[Float[Array, "batch 10"], Float[Array, '
                '"batch 10"]], got tuple {0: f32[4,10]}.'
            )
        ],
    ),
    "a value of a dict": (
        linear(gives(dict[str, Float[Array, "batch ..."]])),
        None,
        [
            (
                'node `stage` output `label`: expected Float[Array, "batch ..."], got i32[4] '
                "(batch=4). Cast it, `.astype(jnp.float32)`, or change the annotation."
            )
        ],
    ),
    "an array where a plain dict is stated": (
        linear(gives(dict[str, Float[Array, "batch ..."]], lambda b: b["image"])),
        None,
        [
            (
                'node `stage` output: expected dict[str, Float[Array, "batch ..."]], got '
                "f32[4,4,6,3]. Put it into a dict."
            )
        ],
    ),
    "neither of two": (
        linear(gives(Logits | Float[Array, "batch 6"], lambda b: jnp.zeros((4, 7)))),
        None,
        [
            (
                'node `stage` output: expected Float[Array, "batch 10"] or Float[Array, "batch '
                '6"], got f32[4,7] (batch=4).'
            )
        ],
    ),
    "a field that may be None": (
        linear(gives(Masked, lambda b: {"mask": jnp.zeros(3)})),
        None,
        [
            (
                'node `stage` output `mask`: expected Float[Array, "batch"] or None, got f32[3]'
                " (batch=4). Its axis `batch` is 3, not 4."
            )
        ],
    ),
    "a record that may be None": (
        linear(gives(Images | None, lambda b: b["image"])),
        None,
        ["node `stage` output: expected Images or None, got f32[4,4,6,3]."],
    ),
    "a batch where None is stated": (
        linear(gives(None)),
        None,
        [("node `stage` output: expected None, got dict {image: f32[4,4,6,3], label: i32[4]}.")],
    ),
    "variadic axes that differ": (
        linear(gives(Variadic, lambda b: {"a": b["image"], "b": b["image"][:, 0]})),
        None,
        [
            (
                'node `stage` output `b`: expected Float[Array, "batch *shape"], got f32[4,6,3]'
                " (batch=4, shape=[4,6,3])."
            )
        ],
    ),
    "an axis that cannot be broadcast": (
        linear(gives(Broadcast, lambda b: {"a": jnp.zeros((4, 3)), "b": jnp.zeros((4, 2))})),
        None,
        [
            (
                'node `stage` output `b`: expected Float[Array, "batch #n"], got f32[4,2] '
                "(batch=4, n=3)."
            )
        ],
    ),
    "too few anonymous axes": (
        linear(gives(Float[Array, "batch _ _"], lambda b: b["image"])),
        None,
        [
            (
                'node `stage` output: expected Float[Array, "batch _ _"], got f32[4,4,6,3] '
                "(batch=4). It has 4 axes where 3 are expected."
            )
        ],
    ),
    "what an operator returns": (
        linear(Flip(wrong=True)),
        None,
        [
            (
                'node `flip` output, one record, `image`: expected Float[Array, "h w c"], got '
                "f32[6,3] (batch=4, h=4, w=6, c=3). It has 2 axes where 3 are expected."
            )
        ],
    ),
    "what an operator is given": (
        linear(Flip()),
        stream({"image": DATA["image"][..., 0], "label": DATA["label"]}),
        [
            (
                "node `flip` input `element` (from the source), one record, `image`: expected "
                'Float[Array, "h w c"], got f32[4,6] (batch=4). It has 2 axes where 3 are '
                "expected."
            )
        ],
    ),
    "what a function of one record returns": (
        linear(dp.per_record(one_row)),
        None,
        [
            (
                'node `one_row` output, one record, `image`: expected Float[Array, "h w c"], '
                "got f32[6,3] (batch=4, h=4, w=6, c=3). It has 2 axes where 3 are expected."
            )
        ],
    ),
    "what an nnx.Module returns": (
        linear(Affine(axis=1)),
        None,
        [
            (
                'node `affine` output `image`: expected Float[Array, "batch h w c"], got '
                "f32[4,6,3] (batch=4, h=4, w=6, c=3). It has 3 axes where 4 are expected."
            )
        ],
    ),
    "a shape that an unannotated stage cannot take": (
        linear(lambda batch: batch["image"] @ batch["image"]),
        None,
        [
            (
                "node `lambda` (<lambda>) fails on input `batch` (from the source) {image: "
                "f32[4,4,6,3], label: i32[4]}: TypeError (here.py:1): dot_general requires "
                "contracting dimensions to have the same shape, got (3,) and (6,)."
            )
        ],
    ),
    "a field that an unannotated stage misspells": (
        linear(lambda batch: {"y": batch["imagee"]}),
        None,
        [
            (
                "node `lambda` (<lambda>) fails on input `batch` (from the source) {image: "
                "f32[4,4,6,3], label: i32[4]}: there is no field `imagee` (here.py:1). Did you "
                "mean `image`?"
            )
        ],
    ),
    "a field read as an attribute": (
        linear(lambda batch: {"y": batch.image}),
        None,
        [
            (
                "node `lambda` (<lambda>) fails on input `batch` (from the source) {image: "
                'f32[4,4,6,3], label: i32[4]}: the batch is a dict (here.py:1); write ["image"]'
                " in place of .image."
            )
        ],
    ),
    "a forgotten return": (
        linear(images, lambda batch: None, images),
        None,
        [
            (
                "node `lambda` returned None; expected a batch, a pytree of arrays. Is a "
                "`return` missing?"
            ),
            "not checked, because of the above: `images_1`.",
        ],
    ),
    "a string for a batch": (
        linear(lambda batch: "x"),
        None,
        [
            (
                "node `lambda` returned a str in its output; expected a batch, a pytree of "
                "arrays. Return arrays alone."
            )
        ],
    ),
    "a choice by a traced value": (
        linear(lambda batch: batch if batch["label"][0] else {}),
        None,
        [
            (
                "node `lambda` (<lambda>) fails on input `batch` (from the source) {image: "
                "f32[4,4,6,3], label: i32[4]}: TracerBoolConversionError (here.py:1): Attempted"
                " boolean conversion of traced array with shape int32[]. A stage is traced, "
                "without values: choose by jnp.where or jax.lax.cond, compute by jnp in place "
                "of np, and let no shape depend on data."
            )
        ],
    ),
    "a sum in NumPy": (
        linear(lambda batch: {"x": np.asarray(batch["label"])}),
        None,
        [
            (
                "node `lambda` (<lambda>) fails on input `batch` (from the source) {image: "
                "f32[4,4,6,3], label: i32[4]}: TracerArrayConversionError (here.py:1): The "
                "numpy.ndarray conversion method __array__() was called on traced array with "
                "shape int32[4]. A stage is traced, without values: choose by jnp.where or "
                "jax.lax.cond, compute by jnp in place of np, and let no shape depend on data."
            )
        ],
    ),
    "several nodes at once": (
        graph(
            {"a": [], "b": [], "c": ["a"], "d": ["b"], "e": ["c", "d"]},
            a=images_with(image=lambda x: x[0]),
            b=lambda x: x["no"],
            c=images,
            d=images,
            e=lambda x, y: x,
        ),
        None,
        [
            (
                'node `a` output `image`: expected Float[Array, "batch h w c"], got f32[4,6,3] '
                "(batch=4, h=4, w=6, c=3). It has 3 axes where 4 are expected."
            ),
            (
                "node `b` (<lambda>) fails on input `x` (from the source) {image: f32[4,4,6,3],"
                " label: i32[4]}: KeyError (here.py:1): 'no'. If a field is meant, there are "
                "`image`, `label`."
            ),
            (
                'node `c` input `batch` (from `a`) `image`: expected Float[Array, "batch h w '
                'c"], got f32[4,6,3] (batch=4). It has 3 axes where 4 are expected.'
            ),
            "not checked, because of the above: `d`, `e`.",
        ],
    ),
    "a node that does not lead to the sink": (
        graph({"spare": [], "sink": []}, spare=lambda batch: batch["no"], sink=images),
        None,
        [
            (
                "node `spare` (<lambda>) fails on input `batch` (from the source) {image: "
                "f32[4,4,6,3], label: i32[4]}: KeyError (here.py:1): 'no'. If a field is meant,"
                " there are `image`, `label`."
            )
        ],
    ),
    "a padded sink that is no dict": (
        linear(lambda b: b["image"]),
        stream(DATA, 3, "pad"),
        [
            (
                'node `lambda`: remainder="pad" hands out the field `valid` with each batch, '
                "but the pipeline returned Array; return a dict from the sink, or choose "
                'another remainder, such as "drop".'
            )
        ],
    ),
    "a padded sink of fewer rows": (
        linear(lambda b: {"x": b["image"][:1]}),
        stream(DATA, 3, "pad"),
        [
            (
                "node `lambda`: The sink changes the number of rows, 3, so the field `valid` of"
                ' remainder="pad" does not fit its output; return a boolean field `valid` for '
                "the new rows from the sink."
            )
        ],
    ),
    "a source whose rows have no batch axis": (
        linear(images),
        dp.Stream(Constant(), batch_size=4),
        [
            (
                'the source `x`: expected Shaped[Array, "batch ..."], got f32[3] (batch=4). Its'
                " axis `batch` is 3, not 4."
            )
        ],
    ),
    "a source that breaks its own contract": (
        linear(free),
        dp.Stream(Liar(), batch_size=4),
        [
            (
                'the source `image`: expected Float[Array, "batch h w c"], got f32[4,2,2] '
                "(batch=4). It has 3 axes where 4 are expected."
            ),
            (
                'the source `label`: expected Int[Array, "batch"], got u32[4] (batch=4). Cast '
                "it, `.astype(jnp.int32)`, or change the annotation."
            ),
        ],
    ),
    "a number for an array": (
        linear(gives(Float[Array, "batch"], lambda b: 3)),
        None,
        [
            (
                'node `stage` output: expected Float[Array, "batch"], got i32[] (batch=4). Cast'
                " it, `.astype(jnp.float32)`, or change the annotation."
            )
        ],
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_graph_that_does_not_fit_is_refused_field_by_field(wrong: str) -> None:
    pipeline, other, lines = WRONG[wrong]
    with pytest.raises(ValueError) as error:
        dp.check(pipeline, other or stream())
    told = re.sub(r"test_check_wrong.py:\d+", "here.py:1", str(error.value))
    assert told.split("\n  - ") == ["The graph cannot be built:", *lines]
