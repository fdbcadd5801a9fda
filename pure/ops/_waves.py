"""Sound: a wave is `*channels time`, its samples along the last axis.

Louder, later, with noise at a ratio; and what its spectrum is over time, with a power or on a mel
scale. Images and batches are not known here.
"""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer, PRNGKeyArray, Shaped

from .._checking import checked
from .._random._keys import check_key
from .._text import valued
from ._arguments import like, numbers
from ._kinds import count_of, floats_of

MelScale: TypeAlias = Literal["htk", "slaney"]


def gain(
    wave: Float[ArrayLike, "*channels time"], decibels: Shaped[ArrayLike, ""]
) -> Float[Array, "*channels time"]:
    """The wave so many decibels louder: its amplitude times `10 ** (decibels / 20)`."""
    value = floats_of("gain", wave, axes=1)
    return value * like(_amplitude(decibels), value)


def noise_at_snr(
    wave: Float[ArrayLike, "*channels time"],
    decibels: Shaped[ArrayLike, ""],
    *,
    key: PRNGKeyArray,
) -> Float[Array, "*channels time"]:
    """The wave with white noise, so that its mean square is `decibels` above that of the noise.

    The ratio is that of this draw, exactly, over the whole record. Silence stays silence.
    """
    check_key("key", key)
    value = floats_of("noise_at_snr", wave, axes=1)
    noise = jax.random.normal(key, value.shape, value.dtype)
    ratio = jnp.mean(value**2) / jnp.mean(noise**2)
    loud = ratio > 0
    root = jnp.where(loud, jnp.sqrt(jnp.where(loud, ratio, 1)), 0)
    return value + noise * root / like(_amplitude(decibels), value)


def time_shift(
    wave: Shaped[ArrayLike, "*channels time"], samples: Integer[ArrayLike, ""]
) -> Shaped[Array, "*channels time"]:
    """The wave so many whole samples later, silence before it; earlier where they are negative.

    What is shifted out is lost. `samples` may be traced. **Errors:** TypeError for samples that are
    no integer.
    """
    value = numbers("wave", wave)
    shift = numbers("samples", samples)
    if not jnp.issubdtype(shift.dtype, jnp.integer):
        raise TypeError(valued("samples", samples, "a whole number of samples."))
    length = value.shape[-1]
    shift = jnp.clip(shift.astype(jnp.int32), -length, length)
    silence = [(0, 0)] * (value.ndim - 1) + [(length, length)]
    padded = jnp.pad(value, silence)
    return jax.lax.dynamic_slice_in_dim(padded, length - shift, length, axis=-1)


def spectrogram(
    wave: Float[ArrayLike, "*channels time"],
    size: int = 400,
    hop: int | None = None,
    *,
    power: int | float = 2.0,
    centered: bool = True,
) -> Float[Array, "*channels bins frames"]:
    """The magnitudes of short Fourier transforms to a power, `size // 2 + 1` of them a frame.

    - `size`: samples of a frame, under a periodic Hann window; nothing is scaled.
    - `hop`: samples from one frame to the next, half a frame if it is not given.
    - `power`: 2 for the power, 1 for the magnitude.
    - `centered`: frame `i` has sample `i * hop` in its middle, the wave reflected at both ends,
      as in torchaudio and librosa; otherwise it starts there, as in scipy.

    **Errors:** ValueError for a wave that is too short.
    """
    value = floats_of("spectrogram", wave, axes=1)
    size = count_of("size", size, least=2)
    hop = count_of("hop", size // 2 if hop is None else hop)
    _check_length(value.shape[-1], size, centered)
    if centered:
        around = [(0, 0)] * (value.ndim - 1) + [(size // 2, size // 2)]
        value = jnp.pad(value, around, mode="reflect")
    wide = value.astype(jnp.promote_types(value.dtype, jnp.float32))  # what a transform is made of
    frames = _frames(wide, size, hop)
    spectrum = jnp.fft.rfft(frames * jnp.broadcast_to(like(_hann(size), wide), frames.shape))
    square = jnp.swapaxes(spectrum.real**2 + spectrum.imag**2, -1, -2)
    return (square if power == 2 else _root(square, power / 2)).astype(value.dtype)


def mel_spectrogram(
    wave: Float[ArrayLike, "*channels time"],
    rate: int | float,
    bands: int = 128,
    size: int = 400,
    hop: int | None = None,
    *,
    lowest: int | float = 0.0,
    highest: int | float | None = None,
    scale: MelScale = "htk",
    normalized: bool = False,
    power: int | float = 2.0,
    centered: bool = True,
) -> Float[Array, "*channels bands frames"]:
    """The spectrogram summed in bands that are equally wide on the mel scale.

    - `rate`: samples a second; `lowest` and `highest`, half the rate if it is not given, are in Hz.
    - `bands`: how many; each is a triangle over the frequencies whose corners are the middles of
      its neighbours, one high; with `normalized` its area is 1, as librosa has it.
    - `scale`: `"htk"`, 2595 log10(1 + f / 700), or `"slaney"`, linear below 1 kHz.
    - `size`, `hop`, `power`, `centered`: those of `spectrogram`.

    **Errors:** ValueError for frequencies that do not rise, or lie above half the rate.
    """
    count = count_of("bands", bands)
    most = rate / 2 if highest is None else highest
    if not 0 <= lowest < most <= rate / 2:
        raise ValueError(
            f"lowest is {lowest} and highest {most}; expected frequencies that rise from 0 to half "
            f"the rate, {rate / 2}."
        )
    if scale not in ("htk", "slaney"):
        raise ValueError(f'scale is {scale!r}; expected "htk" or "slaney".')
    square = spectrogram(wave, size, hop, power=power, centered=centered)
    bank = _bank(rate, count, size, (lowest, most), scale, normalized)
    return jnp.einsum("mb,...bf->...mf", like(bank, square), square)


def _amplitude(decibels: Shaped[ArrayLike, ""]) -> Shaped[Array, ""]:
    given = numbers("decibels", decibels).astype(jnp.float32)
    checked(jnp.isfinite(given), "decibels are {decibels}", decibels=given)
    return 10 ** (given / 20)


def _check_length(length: int, size: int, centered: bool) -> None:
    least = size // 2 + 1 if centered else size
    if length < least:
        raise ValueError(
            f"The wave has {length} samples, but frames of {size} need at least {least}; pass a "
            "smaller size."
        )


def _frames(
    wave: Float[Array, "*channels time"], size: int, hop: int
) -> Float[Array, "*channels frames size"]:
    starts = np.arange(0, wave.shape[-1] - size + 1, hop)
    return wave[..., starts[:, None] + np.arange(size)]


def _hann(size: int) -> Float[np.ndarray, " size"]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


def _root(square: Float[Array, "..."], exponent: float) -> Float[Array, "..."]:
    # The derivative of a root is infinite at zero, where a spectrum of silence is.
    some = square > 0
    return jnp.where(some, jnp.where(some, square, 1) ** exponent, 0)


def _bank(
    rate: int | float,
    bands: int,
    size: int,
    ends: tuple[int | float, int | float],
    scale: MelScale,
    normalized: bool,
) -> Float[np.ndarray, "bands bins"]:
    first, last = (_mel(np.float64(end), scale) for end in ends)
    mels = np.linspace(first, last, bands + 2)
    corners = _hertz(mels, scale)
    bins = np.arange(size // 2 + 1) * (rate / size)
    rise = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    fall = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    triangles = np.maximum(0, np.minimum(rise, fall))
    areas = (corners[2:] - corners[:-2])[:, None] / 2
    filters: Float[np.ndarray, "bands bins"] = triangles / areas if normalized else triangles
    return filters


# Slaney's scale: 3 mels for 200 Hz up to 1 kHz, then 27 for each factor of 6.4.
_LINEAR, _KNEE, _STEP = 200 / 3, 1000.0, np.log(6.4) / 27


def _mel(hertz: np.float64, scale: MelScale) -> np.float64:
    if scale == "htk":
        return np.float64(2595 * np.log10(1 + hertz / 700))
    above = _KNEE / _LINEAR + np.log(max(hertz, _KNEE) / _KNEE) / _STEP
    return np.float64(hertz / _LINEAR if hertz < _KNEE else above)


def _hertz(mels: Float[np.ndarray, " mels"], scale: MelScale) -> Float[np.ndarray, " mels"]:
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    above = _KNEE * np.exp(_STEP * (mels - _KNEE / _LINEAR))
    return np.where(mels < _KNEE / _LINEAR, mels * _LINEAR, above)
