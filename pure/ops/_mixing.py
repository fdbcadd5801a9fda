"""Two records of a batch as one: mixed number by number, or with a rectangle of the other.

Each record has a share of its own, drawn from its own key; who its partner is, is drawn once for
the batch. Rows that `valid` marks as fill take no part, and change no draw.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, Key, PRNGKeyArray, PyTree, Shaped, UInt32

from .._checking import checked, known
from .._mesh import by_compiler
from .._random._keys import check_key
from .._text import listed, near, of_type, spec_text
from ._arguments import numbers

Batch: TypeAlias = Mapping[str, PyTree]
RecordKeys: TypeAlias = Key[Array, " batch"] | UInt32[Array, "batch words"]
Fields: TypeAlias = dict[str, Shaped[Array, "batch ..."]]
Image: TypeAlias = Shaped[Array, "batch h w *c"]
_SHARE, _PLACE = 0, 1  # what is folded into a record's key


def mixup(
    batch: Batch,
    fields: Collection[str],
    alpha: Shaped[ArrayLike, ""],
    *,
    key: PRNGKeyArray,
    record_keys: RecordKeys,
    valid: str = "valid",
) -> dict[str, PyTree]:
    """Each record mixed with another one of its batch: `x * share + other * (1 - share)`.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018. Gradients flow into
    `alpha`.

    - `batch`: a dict of arrays whose leading axis is the records.
    - `fields`: the fields to mix, floating-point: images, and labels that are one-hot.
    - `alpha`: each record's share is drawn from Beta(alpha, alpha).
    - `key`: decides who is mixed with whom; nobody is mixed with itself, unless it is alone.
    - `record_keys`: one for each record, which decides its share.
    - `valid`: the field that says which rows are records, if the batch has it; fill stays.

    **Errors:** TypeError for integers, which would be rounded or wrap; ValueError for a field that
    is not there, and an alpha that is not above 0.
    """
    check_key("key", key)
    arrays = _mixable("mixup", batch, fields)
    own = _Draws.of("mixup", batch, arrays, alpha, key, record_keys, valid)

    def mixing(arrays: Fields, own: _Draws) -> Fields:
        share, partner = shares(own.alpha, own.record_keys), partners(own.key, own.valid)
        mixed = {name: _mixed(array, _of(partner, array), share) for name, array in arrays.items()}
        return _where_paired(partner, arrays, mixed)

    return {**batch, **by_compiler(mixing, arrays, own, like=arrays)}


def cutmix(
    batch: Batch,
    fields: Collection[str],
    alpha: Shaped[ArrayLike, ""],
    *,
    key: PRNGKeyArray,
    record_keys: RecordKeys,
    valid: str = "valid",
) -> dict[str, PyTree]:
    """Each record with a rectangle of another one of its batch, labels mixed by the area.

    Yun et al., "CutMix", ICCV 2019. The rectangle has the sides of the image times
    `sqrt(1 - share)`, rounded down to an even number of pixels; its middle is anywhere, and what
    lies outside is cut off. The labels are mixed by the pixels that are left.

    Fields with three axes and more, `batch h w` and `batch h w c`, get the rectangle, of whatever
    dtype they are; those with fewer, floating-point, are mixed. What is not told here is as for
    `mixup`. **Errors:** those of `mixup`; ValueError for images of different sizes, and for none.
    """
    check_key("key", key)
    arrays = _found("cutmix", batch, fields)
    images = {name: array for name, array in arrays.items() if array.ndim > 2}
    others = {name: array for name, array in arrays.items() if array.ndim <= 2}
    size = _size(images, arrays)
    _check_floats("cutmix", others)
    own = _Draws.of("cutmix", batch, arrays, alpha, key, record_keys, valid)

    def cutting(images: Fields, others: Fields, own: _Draws) -> Fields:
        share, partner = shares(own.alpha, own.record_keys), partners(own.key, own.valid)
        inside = jax.vmap(lambda key, share: _rectangle(key, share, size))(own.record_keys, share)
        kept = 1 - jnp.mean(inside.astype(jnp.float32), axis=(1, 2))
        cut = {name: _cut(array, _of(partner, array), inside) for name, array in images.items()}
        mixed = {name: _mixed(array, _of(partner, array), kept) for name, array in others.items()}
        return _where_paired(partner, images | others, cut | mixed)

    return {**batch, **by_compiler(cutting, images, others, own, like=arrays)}


class _Draws(NamedTuple):
    """What decides who is mixed with whom, and by how much."""

    alpha: Float[Array, ""]
    key: PRNGKeyArray
    record_keys: RecordKeys
    valid: Bool[Array, " batch"]

    @classmethod
    def of(
        cls,
        function: str,
        batch: Batch,
        arrays: Fields,
        alpha: Shaped[ArrayLike, ""],
        key: PRNGKeyArray,
        record_keys: RecordKeys,
        valid: str,
    ) -> "_Draws":
        number = _above_0(function, alpha)
        rows = len(_keys(function, record_keys, arrays))
        return cls(number, key, record_keys, _valid(batch, valid, rows))


def shares(alpha: Float[Array, ""], record_keys: RecordKeys) -> Float[Array, " batch"]:
    """Each record's own share, a draw of Beta(alpha, alpha)."""
    keys = jax.vmap(lambda key: jax.random.fold_in(key, _SHARE))(record_keys)
    return jax.vmap(lambda key: symmetric_beta(key, alpha))(keys)


def partners(key: PRNGKeyArray, valid: Bool[Array, " batch"]) -> Int32[Array, " batch"]:
    """For each record another one of its batch: the next one on a random round of all of them.

    A row that is not valid, and one that is alone, is its own. What is drawn for a row does not
    depend on how many rows follow.
    """
    rows = jnp.arange(valid.shape[0], dtype=jnp.uint32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    drawn = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys)
    round_ = jnp.lexsort((drawn, ~valid)).astype(jnp.int32)  # the valid ones first
    count = jnp.maximum(jnp.sum(valid, dtype=jnp.int32), 1)
    place = rows.astype(jnp.int32)
    after = round_[(place + 1) % count]
    return place.at[round_].set(jnp.where(place < count, after, round_))


def _above_0(function: str, alpha: Shaped[ArrayLike, ""]) -> Float[Array, ""]:
    number = numbers("alpha", alpha).astype(jnp.float32)
    if known(number) and not number > 0:
        raise ValueError(f"{function}: alpha is {alpha}; expected a number above 0.")
    checked(number > 0, f"{function}: alpha is {{alpha}}; expected above 0", alpha=number)
    return number


def symmetric_beta(key: PRNGKeyArray, alpha: Float[Array, ""]) -> Float[Array, ""]:
    """A draw of Beta(alpha, alpha), differentiable in `alpha`.

    In closed form, where `jax.random.beta` is a loop of rejections that takes seconds to compile:
    Bailey's Student t, "Polar generation of random variates with the t-distribution", Mathematics
    of Computation 1994, as Devroye turns it, "Random variate generation in one line of code", 1996.
    """
    tiny = float(np.finfo(np.float32).tiny)
    u, angle = jax.random.uniform(key, (2,), minval=tiny)
    cosine = jnp.cos(2 * jnp.pi * angle)
    log = jnp.log(u) / alpha
    power, rest = jnp.exp(log), -jnp.expm1(log)
    return 0.5 + 0.5 * cosine * jnp.sqrt(rest / (power + cosine**2 * rest))


def _rectangle(
    key: PRNGKeyArray, share: Float[Array, ""], size: tuple[int, int]
) -> Bool[Array, "h w"]:
    """Where the rectangle is, which leaves about `share` of the image."""
    middle = jax.random.uniform(jax.random.fold_in(key, _PLACE), (2,))
    root = 0.5 * jnp.sqrt(1 - share)

    def within(side: int, at: Float[Array, ""]) -> Bool[Array, " side"]:
        center, half = jnp.floor(at * side), jnp.floor(root * side)
        pixel = jnp.arange(side, dtype=jnp.float32)
        return (pixel >= center - half) & (pixel < center + half)

    return within(size[0], middle[0])[:, None] & within(size[1], middle[1])[None, :]


def _cut(array: Image, other: Image, inside: Bool[Array, "batch h w"]) -> Image:
    return jnp.where(jnp.expand_dims(inside, range(3, array.ndim)), other, array)


def _mixed(
    array: Float[Array, "batch ..."],
    other: Float[Array, "batch ..."],
    share: Float[Array, " batch"],
) -> Float[Array, "batch ..."]:
    own = share.astype(array.dtype).reshape(-1, *(1,) * (array.ndim - 1))
    return array * own + other * (1 - own)


def _of(
    partner: Int32[Array, " batch"], array: Shaped[Array, "batch ..."]
) -> Shaped[Array, "batch ..."]:
    return array.at[partner].get(mode="promise_in_bounds")


def _where_paired(
    partner: Int32[Array, " batch"], before: Batch, after: Batch
) -> dict[str, Shaped[Array, "batch ..."]]:
    # The other rows are kept bit for bit, whatever is in them.
    paired = partner != jnp.arange(len(partner), dtype=jnp.int32)

    def chosen(name: str) -> Shaped[Array, "batch ..."]:
        own = paired.reshape(-1, *(1,) * (before[name].ndim - 1))
        return jnp.where(own, after[name], before[name])

    return {name: chosen(name) for name in before}


def _valid(batch: Batch, valid: str, rows: int) -> Bool[Array, " batch"]:
    given = jnp.asarray(batch[valid]) if valid in batch else jnp.ones(rows, bool)
    if given.dtype != jnp.bool_ or given.shape != (rows,):
        raise ValueError(
            f"The field `{valid}` is {spec_text(given)}; expected bool[{rows}], which says of each "
            'row whether it is a record; pass valid="another name".'
        )
    return given


def _mixable(
    function: str, batch: Batch, fields: Collection[str]
) -> dict[str, Shaped[Array, "..."]]:
    arrays = _found(function, batch, fields)
    _check_floats(function, arrays)
    return arrays


def _found(function: str, batch: Batch, fields: Collection[str]) -> dict[str, Shaped[Array, "..."]]:
    if isinstance(fields, str) or not fields:
        raise TypeError(of_type("fields", fields, 'names of fields: write ("image", "label").'))
    for name in fields:
        if name not in batch:
            raise ValueError(
                f"{function} mixes the field `{name}`, but the batch has {listed(batch)}."
                f"{near(name, batch)}"
            )
    arrays = {name: jnp.asarray(batch[name]) for name in fields}
    for name, array in arrays.items():
        if not array.ndim:
            raise ValueError(f"{function} mixes records, but `{name}` is {spec_text(array)}.")
    return arrays


def _keys(function: str, record_keys: RecordKeys, arrays: Batch) -> RecordKeys:
    check_key("record_keys", record_keys)
    rows = {name: len(array) for name, array in arrays.items()}
    if len({*rows.values()}) > 1:
        given = ", ".join(f"`{name}` has {count}" for name, count in rows.items())
        raise ValueError(f"{function} mixes records, as many in each field, but {given}.")
    count = next(iter(rows.values()))
    if record_keys.shape[:1] != (count,):
        raise ValueError(
            f"{function} takes one of the record_keys for each of the {count} records, but was "
            f"given {spec_text(record_keys)}; write jax.random.split(key, {count})."
        )
    return record_keys


def _check_floats(function: str, arrays: Batch) -> None:
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            mend = (
                "cast it before: by ToFloat(), or image.astype(jnp.float32) / 255."
                if array.ndim > 2
                else "make labels one-hot before: by classes=…, OneHot, or ops.one_hot."
            )
            raise TypeError(
                f"{function} mixes floats, but `{name}` is {spec_text(array)}, whose numbers would "
                f"be rounded or wrap; {mend}"
            )


def _size(images: Mapping[str, Image], arrays: Batch) -> tuple[int, int]:
    sizes = {(array.shape[1], array.shape[2]) for array in images.values()}
    if len(sizes) != 1:
        given = ", ".join(f"`{name}`: {spec_text(array)}" for name, array in arrays.items())
        expected = "one size of all images `batch h w c`" if sizes else "an image `batch h w c`"
        raise ValueError(f"cutmix needs {expected}, but was given {given}; name others as fields.")
    return next(iter(sizes))
