"""Sound, tokens, labels and features, against SciPy and plain NumPy."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from jax.experimental import checkify

from dagrax.pure import ops

KEY = jax.random.key(3)
RATE = 8000
WAVE = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)


def under_checkify(function: Callable[..., Any], *arguments: Any) -> str | None:
    with ops.checking():
        error, _ = checkify.checkify(jax.jit(function), errors=checkify.user_checks)(*arguments)
    message: str | None = error.get()
    return message


# Sound


def test_a_gain_of_20_decibels_is_ten_times_the_amplitude() -> None:
    np.testing.assert_allclose(ops.gain(WAVE, 20), 10 * WAVE, rtol=1e-6)
    assert ops.gain(WAVE.astype(np.float16), -6.0).dtype == np.float16


def test_noise_stands_at_the_ratio_that_was_asked_for() -> None:
    noisy = jax.jit(lambda wave, db: ops.noise_at_snr(wave, db, key=KEY))
    for decibels in (-10.0, 0.0, 30.0):
        noise = np.asarray(noisy(WAVE, decibels)) - WAVE
        ratio = 10 * np.log10(np.mean(WAVE**2) / np.mean(noise**2))
        # The noise is a difference of float32 numbers thirty times as large.
        np.testing.assert_allclose(ratio, decibels, atol=1e-4)


def test_silence_stays_silence_and_has_a_gradient() -> None:
    silence = jnp.zeros(8)
    loss = jax.value_and_grad(lambda wave: ops.noise_at_snr(wave, 3.0, key=KEY).sum())
    value, slope = jax.jit(loss)(silence)
    assert value == 0
    assert np.isfinite(slope).all()


def test_a_wave_is_shifted_by_whole_samples_with_silence_in_its_place() -> None:
    shifted = jax.jit(ops.time_shift)
    wave = np.arange(1, 6, dtype=np.int16)
    expected = {
        0: [1, 2, 3, 4, 5],
        2: [0, 0, 1, 2, 3],
        -2: [3, 4, 5, 0, 0],
        5: [0] * 5,
        -9: [0] * 5,
        2**31 - 1: [0] * 5,
    }
    assert {n: shifted(wave, n).tolist() for n in expected} == expected
    each = jax.vmap(ops.time_shift)(jnp.asarray([wave, wave]), jnp.array([1, -1]))
    assert each.tolist() == [[0, 1, 2, 3, 4], [2, 3, 4, 5, 0]]


@pytest.mark.parametrize(("size", "hop", "power"), [(64, None, 2.0), (50, 17, 1.0)])
def test_a_spectrogram_is_that_of_scipy(size: int, hop: int | None, power: float) -> None:
    step = hop or size // 2
    window: Any = scipy.signal.get_window("hann", size)
    transform: Any = scipy.signal.ShortTimeFFT(window, step, RATE, mfft=size)
    frames = 1 + (1000 - size) // step
    starts = {"p0": 0, "p1": frames, "k_offset": size // 2}  # or frames have their middles there
    expected = np.abs(transform.stft(WAVE, **starts)) ** power
    taken = functools.partial(ops.spectrogram, size=size, hop=hop, power=power, centered=False)
    found = jax.jit(taken)(WAVE)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def plain_spectrogram(wave: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Frame by frame, sample `i * hop` in the middle of frame i."""
    window = np.array([0.5 - 0.5 * np.cos(2 * np.pi * i / size) for i in range(size)])
    around = np.pad(wave.astype(np.float64), size // 2, mode="reflect")
    frames = [around[at : at + size] for at in range(0, len(around) - size + 1, hop)]
    return np.stack([np.abs(np.fft.rfft(frame * window)) ** 2 for frame in frames], axis=1)


def test_frames_are_centered_as_in_torchaudio_and_librosa() -> None:
    found = ops.spectrogram(WAVE, 64, 20)
    assert found.shape == (2, 33, 1 + 1000 // 20)
    for channel in (0, 1):
        expected = plain_spectrogram(WAVE[channel], 64, 20)
        np.testing.assert_allclose(found[channel], expected, rtol=1e-4, atol=1e-4)


# Middles of 8 bands from 0 to 4 kHz; of Slaney's scale, which is linear up to 1 kHz, the first of
# its table of 40 from 133 Hz on. Both are written out from their formulas by hand.
HTK = [700 * (10 ** (2146.0645 * k / 9 / 2595) - 1) for k in range(10)]


def slaney(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


SLANEY = [slaney((15 + 27 * np.log(4) / np.log(6.4)) * k / 9) for k in range(10)]


def plain_mel(wave: np.ndarray, corners: list[float], normalized: bool) -> np.ndarray:
    spectrum = plain_spectrogram(wave, 64, 32)
    bands = np.zeros((8, spectrum.shape[1]))
    for band in range(8):
        low, middle, high = corners[band : band + 3]
        for bin_ in range(33):
            f = bin_ * RATE / 64
            rise, fall = (f - low) / (middle - low), (high - f) / (high - middle)
            height = max(0.0, min(rise, fall)) * (2 / (high - low) if normalized else 1)
            bands[band] += height * spectrum[bin_]
    return bands


@pytest.mark.parametrize(
    ("scale", "corners", "normalized"),
    [("htk", HTK, False), ("slaney", SLANEY, True)],
)
def test_mel_bands_are_triangles_on_their_scale(
    scale: Any, corners: list[float], normalized: bool
) -> None:
    found = ops.mel_spectrogram(WAVE[0], RATE, 8, 64, scale=scale, normalized=normalized)
    # 2146.0645 is rounded; hence 1e-4.
    np.testing.assert_allclose(found, plain_mel(WAVE[0], corners, normalized), rtol=1e-3)


def test_the_magnitude_of_silence_has_a_gradient() -> None:
    loss = jax.jit(jax.grad(lambda wave: ops.spectrogram(wave, 8, power=1.0).sum()))
    assert np.isfinite(loss(jnp.zeros(32))).all()


# Tokens

TOKENS = np.random.default_rng(1).integers(10, 1000, (10, 1000)).astype(np.int32)


def within_4_sigma(count: int, of: int, p: float) -> bool:
    return abs(count - of * p) <= 4 * np.sqrt(of * p * (1 - p))  # type: ignore[no-any-return]


@pytest.mark.parametrize("vocabulary", [1000, None])
def test_a_token_is_masked_as_in_BERT(vocabulary: int | None) -> None:
    mask = functools.partial(ops.mask_tokens, rate=0.3, mask_id=3, keep=(10,))
    keys = jax.random.split(KEY, 10)
    masked = jax.jit(jax.vmap(lambda x, key: mask(x, key=key, vocabulary=vocabulary)))
    tokens, targets = map(np.asarray, masked(TOKENS, keys))
    chosen = targets != -100
    assert (targets[chosen] == TOKENS[chosen]).all()
    assert (tokens[~chosen] == TOKENS[~chosen]).all()
    assert not chosen[TOKENS == 10].any()
    count = int(chosen.sum())
    assert within_4_sigma(count, int((TOKENS != 10).sum()), 0.3)
    assert within_4_sigma(int((tokens[chosen] == 3).sum()), count, 0.8)
    kept = int((tokens[chosen] == TOKENS[chosen]).sum())
    assert within_4_sigma(kept, count, 0.1 + 0.1 / 990)
    others = tokens[chosen & (tokens != 3) & (tokens != TOKENS)]
    assert others.min() >= (0 if vocabulary else 10) and others.max() < 1000
    assert len(set(others.tolist())) > 0.5 * len(others)


def test_targets_of_unsigned_tokens_can_be_negative() -> None:
    short = TOKENS[0].astype(np.uint16)
    tokens, targets = jax.jit(lambda x: ops.mask_tokens(x, 0.5, 3, key=KEY))(short)
    assert (tokens.dtype, targets.dtype) == (np.uint16, np.int32)
    assert targets.min() == -100


def test_tokens_are_replaced_by_any_of_the_vocabulary() -> None:
    replaced = np.asarray(ops.replace_tokens(TOKENS, 0.25, 50, key=KEY))
    changed = replaced != TOKENS
    # A token from 10 to 49 is replaced by itself once in 50 times.
    assert within_4_sigma(int(changed.sum()), TOKENS.size, 0.25 * (1 - 40 / 990 / 50))
    counts = np.bincount(replaced[changed], minlength=50)
    assert counts.min() > 0 and len(counts) == 50


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_no_token_or_every_one(rate: float) -> None:
    targets = masked(TOKENS[0], rate, KEY)[1]
    assert ((np.asarray(targets) != -100) == (rate == 1)).all()
    assert ((np.asarray(dropped(WAVE, rate, KEY)) == 0) == (rate == 1)).all()


masked = jax.jit(lambda x, rate, key: ops.mask_tokens(x, rate, 3, key=key))
dropped = jax.jit(lambda x, rate, key: ops.feature_dropout(x, rate, key=key))


# Labels and features


def test_labels_are_one_hot_floats() -> None:
    found = ops.one_hot(np.array([2, 0], np.uint8), 3)
    assert (found.dtype, found.tolist()) == (np.float32, [[0, 0, 1], [1, 0, 0]])  # type: ignore[comparison-overlap]
    assert ops.one_hot(1, 2).tolist() == [0, 1]


def test_a_constant_is_not_divided_by_its_deviation() -> None:
    x = jnp.array([[1.0, 5.0], [3.0, 5.0]])
    mean, std = np.array([2.0, 5.0]), np.array([1.0, 0.0])
    assert ops.standardize(x, mean, std).tolist() == [[-1, 0], [1, 0]]
    slope = jax.grad(lambda std: ops.standardize(x, mean, std).sum())(jnp.asarray(std, "float32"))
    assert np.isfinite(slope).all()


def test_numbers_are_clipped_to_the_bounds_that_are_given() -> None:
    clipped = ops.quantile_clip(jnp.array([[-3.0, 9.0], [0.5, 0.5]]), np.array([0, 0]), 1)
    assert clipped.tolist() == [[0, 1], [0.5, 0.5]]


def test_features_are_dropped_at_their_rate_and_not_scaled() -> None:
    x = np.ones(10_000, np.float32)
    dropped = np.asarray(ops.feature_dropout(x, 0.3, key=KEY))
    assert set(dropped.tolist()) == {0.0, 1.0}
    assert within_4_sigma(int((dropped == 0).sum()), 10_000, 0.3)


def test_a_window_is_a_slice_and_none_leaves_its_series() -> None:
    series = np.arange(12).reshape(6, 2)
    cut = jax.jit(lambda series, start: ops.window(series, start, 3))
    assert all((cut(series, at) == series[at : at + 3]).all() for at in range(4))
    for start in (-1, 4):
        with pytest.raises(Exception, match="A window of 3 leaves the series of 6"):
            jax.block_until_ready(cut(series, start))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (lambda x: ops.one_hot(x, 3), [np.array([1, 3])], "one_hot takes labels from 0 to 2"),
        (lambda x: ops.one_hot(x, 3), [np.array([-1])], "one_hot takes labels from 0 to 2"),
        (
            lambda r: ops.feature_dropout(WAVE, r, key=KEY),
            [1.5],
            "feature_dropout takes a rate from 0 to 1, not 1.5",
        ),
        (
            lambda r: ops.replace_tokens(TOKENS, r, 9, key=KEY),
            [-0.5],
            "replace_tokens takes a rate",
        ),
        (
            lambda s: ops.standardize(WAVE, 0, s),
            [-1.0],
            "standardize takes a std of at least 0, not -1",
        ),
        (lambda s: ops.quantile_clip(WAVE, s, 0), [1.0], "quantile_clip takes a low bound"),
        (lambda s: ops.gain(WAVE, s), [np.nan], "decibels are nan"),
    ],
)
def test_a_value_that_cannot_be_is_told_under_checkify(
    function: Callable[..., Any], arguments: list[Any], message: str
) -> None:
    assert str(under_checkify(function, *arguments)).startswith(message)


def test_the_gradients_of_magnitudes_are_those_of_finite_differences() -> None:
    def loss(magnitudes: Any) -> Any:
        db, snr, mean, std = magnitudes
        louder = ops.noise_at_snr(ops.gain(jnp.asarray(WAVE), db), snr, key=KEY)
        return jnp.mean(jnp.sin(ops.standardize(louder, mean, std)))

    at = jnp.array([1.0, 12.0, 0.3, 1.4])
    slope, value = jax.jit(jax.grad(loss))(at), jax.jit(loss)
    for i, step in enumerate(0.01 * np.eye(4, dtype=np.float32)):
        difference = (value(at + step) - value(at - step)) / 0.02
        # Steps of a hundredth, in float32: 1e-7 / 0.02 of noise.
        np.testing.assert_allclose(slope[i], difference, rtol=1e-2, atol=1e-4)
