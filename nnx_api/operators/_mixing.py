"""Records of a batch mixed with each other: plain modules, since a record alone cannot be.

Who is mixed with whom, and how, stands in `dagrax.pure.ops`. In `eval()` nothing is mixed.
"""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

import dagrax.pure as dp
from dagrax.pure import internal, ops

from ._magnitudes import magnitude
from ._names import count, name, names


class MixUp(nnx.Module):
    """Each image and label mixed with those of another record: see `dagrax.pure.ops.mixup`.

    - `alpha`: each record's share is drawn from Beta(alpha, alpha); learnable.
    - `label`: the field of the labels; integers become one-hot floats of `classes`, in `eval()`
      too. None if there are none.
    - `fields`: what else is mixed.
    - `valid`: the field that says which rows are records, if the batch has it.

    **Errors:** ValueError for an alpha that is not above 0, a missing field, and integer labels
    without `classes`; TypeError for images of integers.
    """

    alpha: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        alpha: Shaped[ArrayLike, ""] = 1.0,
        label: str | None = "label",
        classes: int | None = None,
        *,
        fields: Sequence[str] = ("image",),
        valid: str = "valid",
    ):
        self.alpha, self.label, self.classes, self.fields, self.valid = _arguments(
            alpha, label, classes, fields, valid
        )
        self.deterministic = False

    def __call__(
        self,
        batch: Mapping[str, PyTree],
        *,
        key: PRNGKeyArray | None = None,
        record_keys: dp.RecordKeys | None = None,
    ) -> dict[str, PyTree]:
        return _mixed(self, ops.mixup, batch, key, record_keys)


class CutMix(nnx.Module):
    """Each image with a rectangle of another record's, labels mixed by the area: see
    `dagrax.pure.ops.cutmix`.

    Arguments and errors are those of `MixUp`; images may be of integers, and masks are fields as
    well. The rectangle has whole pixels, so that nothing can be learned of `alpha` by gradient.
    """

    alpha: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        alpha: Shaped[ArrayLike, ""] = 1.0,
        label: str | None = "label",
        classes: int | None = None,
        *,
        fields: Sequence[str] = ("image",),
        valid: str = "valid",
    ):
        self.alpha, self.label, self.classes, self.fields, self.valid = _arguments(
            alpha, label, classes, fields, valid
        )
        self.deterministic = False

    def __call__(
        self,
        batch: Mapping[str, PyTree],
        *,
        key: PRNGKeyArray | None = None,
        record_keys: dp.RecordKeys | None = None,
    ) -> dict[str, PyTree]:
        return _mixed(self, ops.cutmix, batch, key, record_keys)


def _arguments(
    alpha: Shaped[ArrayLike, ""],
    label: str | None,
    classes: int | None,
    fields: Sequence[str],
    valid: str,
) -> tuple[nnx.Param[Float[Array, ""]], str | None, int | None, tuple[str, ...], str]:
    return (
        magnitude("alpha", alpha, above=0.0),
        None if label is None else name("label", label),
        None if classes is None else count("classes", classes),
        names("fields", fields),
        name("valid", valid),
    )


def _mixed(
    mix: MixUp | CutMix,
    function: Callable[..., dict[str, PyTree]],
    batch: Mapping[str, PyTree],
    key: PRNGKeyArray | None,
    record_keys: dp.RecordKeys | None,
) -> dict[str, PyTree]:
    named = _one_hot(mix, batch)
    if mix.deterministic:
        return named
    if key is None or record_keys is None:
        raise ValueError(
            f"{type(mix).__name__} draws random numbers, but was given no keys. A pipeline gives "
            "them to its stages; by hand, pass key=key and record_keys=jax.random.split(key, "
            "records)."
        )
    fields = mix.fields if mix.label is None else (*mix.fields, mix.label)
    return function(
        named, fields, mix.alpha[...], key=key, record_keys=record_keys, valid=mix.valid
    )


def _one_hot(mix: MixUp | CutMix, batch: Mapping[str, PyTree]) -> dict[str, PyTree]:
    if mix.label is None or mix.label not in batch:
        return dict(batch)  # what is missing is told where it is mixed
    labels = jnp.asarray(batch[mix.label])
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        return dict(batch)
    if mix.classes is None:
        kind = type(mix).__name__
        raise ValueError(
            f"{kind} mixes labels, but `{mix.label}` is {internal.spec_text(labels)}; say how many "
            f"classes there are: {kind}(classes=…)."
        )
    return {**batch, mix.label: ops.one_hot(labels, mix.classes)}
