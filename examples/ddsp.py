"""Fit a synthesizer to plucked strings, by gradient through a branching DAG.

The strings are made by an algorithm of their own: a burst of noise goes round a delay line that
averages neighbours (Karplus and Strong, 1983). The synthesizer knows nothing of it. One branch
adds harmonics, each with a loudness and a decay; another filters noise by bands, each with the same
two; their sum is compared with the string by its spectrograms, of three resolutions (Engel et al.,
2020).

Four notes are the records. What the branches learn are Params, and the noise of a note is drawn by
its record's key. The program fails if the spectral loss does not fall tenfold; it writes both
sounds of each note, and a picture of their spectrograms.
"""

import argparse
import time
import wave
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from dagrax.nnx_api import Element, MemorySource, OperatorModule, Pipeline
from dagrax.pure import ops

RATE, SECONDS = 8_000, 1.0
SAMPLES = int(RATE * SECONDS)
PERIODS = (73, 55, 49, 36)  # of the delay lines, in samples
HARMONICS, BANDS = 24, 16
WINDOWS = (512, 1_024, 2_048)
Batch = dict[str, Any]


def plucked(period: int, seed: int) -> Float[np.ndarray, " samples"]:
    """A string by Karplus and Strong: each sample is the mean of two of a period before."""
    sound = np.zeros(SAMPLES + period + 1)
    sound[: period + 1] = np.random.default_rng(seed).uniform(-1, 1, period + 1)
    for place in range(period + 1, len(sound)):
        sound[place] = 0.5 * (sound[place - period] + sound[place - period - 1])
    sound = sound[period + 1 :] - sound.mean()  # what does not swing goes round for ever
    return (sound / np.abs(sound).max()).astype(np.float32)  # type: ignore[no-any-return]


class Harmonics(OperatorModule):
    """Sines at the multiples of a note's pitch, each of a loudness and a decay of its own."""

    def __init__(self, notes: int):
        self.loudness = nnx.Param(jnp.full((notes, HARMONICS), -3.0))
        self.decay = nnx.Param(jnp.full((notes, HARMONICS), 1.0))

    def apply(self, element: Element) -> Element:
        note, pitch = element.data["note"], element.data["pitch"]
        time = jnp.arange(SAMPLES, dtype=jnp.float32) / RATE
        multiples = jnp.arange(1, HARMONICS + 1, dtype=jnp.float32)[:, None]
        frequency = multiples * pitch
        heard = (frequency < RATE / 2).astype(jnp.float32)
        fading = jnp.exp(self.loudness[...][note, :, None] - _rate(self.decay, note) * time[None])
        return element.update_data(
            {"sound": (heard * fading * jnp.sin(2 * jnp.pi * frequency * time[None])).sum(axis=0)}
        )


class FilteredNoise(OperatorModule):
    """Noise in bands, each of a loudness and a decay of its own."""

    def __init__(self, notes: int):
        self.loudness = nnx.Param(jnp.full((notes, BANDS), -6.0))
        self.decay = nnx.Param(jnp.full((notes, BANDS), 3.0))

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        note = element.data["note"]
        time = jnp.arange(SAMPLES, dtype=jnp.float32) / RATE
        waves = jnp.fft.rfft(jax.random.normal(key, (SAMPLES,)))
        band = jnp.arange(len(waves)) * BANDS // len(waves)
        masks = (band[None] == jnp.arange(BANDS)[:, None]).astype(jnp.float32)
        bands = jnp.fft.irfft(masks * waves[None], SAMPLES)
        fading = jnp.exp(self.loudness[...][note, :, None] - _rate(self.decay, note) * time[None])
        return element.update_data({"sound": (fading * bands).sum(axis=0)})


def _rate(decay: nnx.Param[Array], note: Array) -> Float[Array, "voices 1"]:
    # Positive, and in proportion to a step of the optimizer.
    return jnp.exp(decay[...][note, :, None])


def mix(harmonics: Batch, noise: Batch) -> Batch:
    """A stage: the sum of both branches."""
    return {**harmonics, "sound": harmonics["sound"] + noise["sound"]}


def spectral_loss(
    sound: Float[Array, "notes samples"], target: Float[Array, "notes samples"]
) -> Float[Array, ""]:
    """How far the spectrograms are apart, as a part of the target's, by three windows."""

    def at(window: int) -> Float[Array, ""]:
        def magnitudes(wave: Float[Array, " samples"]) -> Float[Array, "frames bins"]:
            power = ops.spectrogram(wave, window, window // 4, centered=False)
            return jnp.sqrt(power + 1e-8)

        made, given = (jax.vmap(magnitudes)(x) for x in (sound, target))
        return jnp.linalg.norm(made - given) / jnp.linalg.norm(given)  # type: ignore[no-any-return]

    return jnp.stack([at(window) for window in WINDOWS]).mean()


def learn(
    key: PRNGKeyArray, synth: Pipeline, optimizer: nnx.Optimizer[Pipeline], batch: Batch
) -> tuple[PRNGKeyArray, Float[Array, ""]]:
    """A step: the gradient goes through both branches."""
    key, own = jax.random.split(key)

    def loss(synth: Pipeline) -> Float[Array, ""]:
        return spectral_loss(synth(batch, key=own)["sound"], batch["wave"])

    value, slopes = nnx.value_and_grad(loss)(synth)
    optimizer.update(synth, slopes)
    return key, value


def write(path: Path, sound: Float[np.ndarray, " samples"]) -> None:
    """A sound file of 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


def draw(path: Path, rows: dict[str, Float[np.ndarray, "notes samples"]]) -> None:
    """The spectrograms of all notes: the strings above, the synthesizer below."""
    figure, axes = plt.subplots(2, len(PERIODS), figsize=(11, 5), sharex=True, sharey=True)
    for line, (name, sounds) in zip(axes, rows.items(), strict=True):
        for panel, sound, period in zip(line, sounds, PERIODS, strict=True):
            panel.specgram(sound, NFFT=256, Fs=RATE, noverlap=192, vmin=-120, vmax=-30)
            panel.set_title(f"{name}, {RATE / (period + 0.5):.0f} Hz", fontsize=9)
    for panel in axes[-1]:
        panel.set_xlabel("seconds")
    for panel in axes[:, 0]:
        panel.set_ylabel("Hz")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Make the strings, fit the synthesizer, and look whether it came near."""
    parser = argparse.ArgumentParser(description="Fit a synthesizer to plucked strings.")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    target = np.stack([plucked(period, seed) for seed, period in enumerate(PERIODS)])
    pitch = np.array([RATE / (period + 0.5) for period in PERIODS], np.float32)
    notes = np.arange(len(PERIODS), dtype=np.int32)
    source = MemorySource(data={"wave": target, "pitch": pitch, "note": notes})
    strings = Pipeline(source=source, batch_size=len(PERIODS))
    synth = Pipeline.from_dag(
        source=source,
        nodes={
            "harmonics": Harmonics(len(PERIODS)),
            "noise": FilteredNoise(len(PERIODS)),
            "mix": mix,
        },
        edges={"harmonics": [], "noise": [], "mix": ["harmonics", "noise"]},
        sink="mix",
        batch_size=len(PERIODS),
        rngs=nnx.Rngs(0),
    )
    rate = optax.cosine_decay_schedule(0.1, options.steps)
    optimizer = nnx.Optimizer(synth, optax.adam(rate), wrt=nnx.Param)
    _, losses = strings.scan(
        learn, length=options.steps, modules=(synth, optimizer), init_carry=jax.random.key(1)
    )
    first, last = float(losses[0]), float(losses[-10:].mean())
    made = np.asarray(synth.step()["sound"])
    for note, (string, sound) in enumerate(zip(target, made, strict=True)):
        write(options.out / f"string_{note}.wav", string)
        write(options.out / f"synthesizer_{note}.wav", sound)
    draw(options.out / "ddsp.png", {"string": target, "synthesizer": made})
    print(
        f"spectral loss {first:.3f} before, {last:.3f} after {options.steps} steps: "
        f"{first / last:.1f} times less, in {time.perf_counter() - start:.0f} s"
    )
    assert last < first / 10, "the synthesizer has not come near the strings"


if __name__ == "__main__":
    main()
