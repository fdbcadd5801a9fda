"""Interleaved rounds: every contestant runs once a round, so that a slow moment hits all alike."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import jax


def medians(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds a call of each contestant, its first call, which compiles, left out."""
    for run in contestants.values():
        jax.block_until_ready(run())
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> str:
    """The machine in general terms, for the head of a table."""
    return (
        f"{os.cpu_count()} CPU cores ({platform.machine()}), {jax.default_backend()} backend, "
        f"jax {jax.__version__}, Python {platform.python_version()}"
    )
