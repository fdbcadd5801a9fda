"""Which numbers a program can hold: the dtypes that JAX knows, and the range that is left of them.

Without `jax_enable_x64`, 64-bit numbers become 32-bit ones; what would not fit is refused by field.
"""

import types

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

_OTHER = "Encode the field as integers, or drop it."
_MENDS = types.MappingProxyType(
    {
        "m": "Write it in a unit: x / np.timedelta64(1, 's').",
        "M": "Write it from a start on: (x - x.min()) / np.timedelta64(1, 's').",
        "V2": "If np.save wrote it of bfloat16, write x.view(ml_dtypes.bfloat16).",
        "V1": "If np.save wrote it of a small type of ml_dtypes, view it as that: "
        "x.view(ml_dtypes.float8_e4m3fn), say.",
        "f": "Write x.astype(np.float64).",
        "c": "Write x.astype(np.complex128).",
    }
)


def native(dtype: np.dtype) -> np.dtype:
    """The same numbers in the order of bytes of this machine."""
    return dtype.newbyteorder("=")


def held_as(dtype: np.dtype) -> np.dtype:
    """The dtype that JAX holds such numbers in: native, and without x64 of 32 bits at most."""
    return jax.dtypes.canonicalize_dtype(native(dtype))


def check_numeric(where: str, dtype: np.dtype) -> None:
    """Refuse a dtype that JAX has not, by where they stand: "Field `x`"."""
    known = dtype.kind in "biufc" or jnp.issubdtype(dtype, np.number)
    if known and dtype.kind != "m" and dtype.char not in "gG":
        return
    if dtype.names:
        mend = "Make a field of each part: {name: x[name] for name in x.dtype.names}."
    else:
        mend = _MENDS.get(dtype.kind, _MENDS.get(f"{dtype.kind}{dtype.itemsize}", _OTHER))
    expected = "numbers of at most 64 bits" if known and dtype.kind != "m" else "numbers"
    raise TypeError(
        f"{where} is an array of dtype {dtype}; expected {expected} or booleans. {mend}"
    )


def check_unmasked(where: str, array: object) -> None:
    """Refuse an array with a mask, by the name of the field."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{where} is a masked array, whose mask a source would lose; pass x.filled(value), and "
            "the mask as a field of its own."
        )


def check_range(where: str, array: Shaped[np.ndarray, "..."]) -> None:
    """Refuse numbers that `held_as` cannot hold, by the name of the field."""
    kind, dtype = array.dtype.kind, held_as(array.dtype)
    if dtype == array.dtype.newbyteorder("=") or not array.size or kind not in "iufc":
        return
    limits = np.iinfo(dtype) if kind in "iu" else np.finfo(dtype)
    parts = (np.real(array), np.imag(array)) if kind == "c" else (array,)
    ends = [_ends(part) for part in parts]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if low < limits.min or high > limits.max:
        what = {"f": "numbers", "c": "complex numbers of parts"}.get(kind, "integers")
        mend = "re-number" if kind in "iu" else "re-scale"
        raise ValueError(
            f"{where} holds {what} from {low} to {high}, which {dtype} cannot hold; "
            f"{mend} them, or set `jax_enable_x64`."
        )


def _ends(array: Shaped[np.ndarray, "..."]) -> tuple[np.number, np.number]:
    with np.errstate(invalid="ignore"):
        ends = array.min(), array.max()
    if array.dtype.kind in "iu" or np.isfinite(ends).all():
        return ends
    finite = np.isfinite(array)  # infinities and NaN are held as they are
    return array.min(where=finite, initial=np.inf), array.max(where=finite, initial=-np.inf)
