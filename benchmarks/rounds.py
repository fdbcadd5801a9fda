"""Interleaved rounds: every contestant runs once a round, so that a slow moment hits all alike.

The order is another one each round, for what a contestant leaves behind hits the next. What was
measured goes into a report, and beside a figure the bound that dagrax sets itself for it.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Seconds:
    """Seconds a call: the first, which compiles, and of the others median and quartiles."""

    first: float
    median: float
    low: float
    high: float


def measure(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Seconds]:
    """Seconds a call of each contestant; what a call returns is waited for."""
    calls: dict[str, list[float]] = {name: [] for name in contestants}
    rng = random.Random(0)
    for _ in range(rounds + 1):
        for name in rng.sample(list(contestants), len(contestants)):
            start = time.perf_counter()
            jax.block_until_ready(contestants[name]())
            calls[name].append(time.perf_counter() - start)
    quartiles = {name: spread(rest) for name, (_, *rest) in calls.items()}
    return {
        name: Seconds(first=calls[name][0], low=low, median=median, high=high)
        for name, (low, median, high) in quartiles.items()
    }


def medians(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds a call of each contestant, its first call, which compiles, left out."""
    return {name: seconds.median for name, seconds in measure(contestants, rounds).items()}


def machine(peers: Sequence[str] = ()) -> str:
    """The machine in general terms, and versions, for the head of a table."""
    backend = jax.default_backend()
    device = "" if backend == "cpu" else f" ({jax.devices()[0].device_kind})"
    return (
        f"{os.cpu_count()} CPU cores ({platform.machine()}), {backend} backend{device}, "
        f"Python {platform.python_version()}, {versions(['jax', 'flax', *peers])}"
    )


def versions(names: Sequence[str]) -> str:
    """Those of the named packages that are installed."""
    found = {name: _version(name) for name in names}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def peak_megabytes(script: str, *arguments: str) -> float:
    """What a script, run as a process of its own, prints in its last line: see `print_peak`."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_peak() -> None:
    """Print the most memory, in MB, that this process has held at any time (Linux)."""
    # `ru_maxrss` would start from the peak of the parent process.
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1000)


@dataclasses.dataclass(frozen=True)
class Bound:
    """What a measure may be at most, and what it was."""

    measure: str
    at_most: float
    seen: float


class Report:
    """The tables of one script: printed as Markdown, and saved as JSON if asked."""

    def __init__(self, name: str, doc: str, rounds: int, peers: Sequence[str] = (), **more: Any):
        parser = argparse.ArgumentParser(
            description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--rounds", type=int, default=rounds, help="interleaved rounds")
        parser.add_argument("--save", type=Path, help="a folder for the tables, as JSON")
        for option, default in more.items():
            if default is False:
                parser.add_argument(f"--{option}", action="store_true")
            else:
                parser.add_argument(f"--{option}", type=type(default), default=default)
        self.options = parser.parse_args()
        self.rounds: int = self.options.rounds
        self._name = name
        self._tables: list[dict[str, Any]] = []
        self._machine = machine(peers)
        self.say(headline({"machine": self._machine, "rounds": self.rounds}))

    def needs_accelerator(self) -> None:
        """End the script, with nothing saved, where there is none: unless `--anyway` is given."""
        if jax.default_backend() == "cpu" and not self.options.anyway:
            self.say("Nothing is measured: it needs an accelerator (or --anyway, to try it here).")
            raise SystemExit

    def run(self, tables: Mapping[str, Callable[[], object]]) -> None:
        """Measure one part after the other, and save after each.

        A part that fails is told, keeps no other from being measured, and is raised at the end.
        """
        errors: list[Exception] = []
        for name, part in tables.items():
            start = time.perf_counter()
            try:
                part()
            except Exception as error:  # time on an accelerator is dear
                self.say(f"{name} failed: {error!r}")
                errors.append(error)
            self.save()
            print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        if errors:
            raise ExceptionGroup("Some tables were not measured.", errors)

    def say(self, line: str) -> None:
        """A paragraph."""
        print(line, end="\n\n", flush=True)

    def table(
        self,
        title: str,
        heads: Sequence[str],
        rows: Sequence[Sequence[Any]],
        bounds: Sequence[Bound] = (),
    ) -> None:
        """A table with a title above it; a float is shown with three significant digits.

        The `bounds` are for figures of this table; summary.py collects them from all scripts.
        """
        kept = [dataclasses.asdict(bound) for bound in bounds]
        self._tables.append({"title": title, "heads": heads, "rows": rows, "bounds": kept})
        self.say("\n".join(markdown(self._tables[-1])))
        for bound in bounds:
            self.say(f"{bound.measure}: {shown(bound.seen)}, at most {shown(bound.at_most)}.")

    def save(self) -> None:
        """Write what was tabled so far, if `--save` asks for it."""
        if folder := self.options.save:
            folder.mkdir(parents=True, exist_ok=True)
            content = {"machine": self._machine, "rounds": self.rounds, "tables": self._tables}
            (folder / f"{self._name}.json").write_text(json.dumps(content, indent=1) + "\n")


def headline(content: Mapping[str, Any]) -> str:
    """Where and how often it was measured."""
    return f"{content['machine']}; medians of {content['rounds']} interleaved rounds."


def markdown(table: Mapping[str, Any]) -> list[str]:
    """The lines of a table as Markdown, with its title."""
    heads, *rows = (
        "| " + " | ".join(map(_cell, row)) + " |" for row in (table["heads"], *table["rows"])
    )
    return [f"**{table['title']}**", "", heads, "|---" * len(table["heads"]) + "|", *rows]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def shown(value: float) -> str:
    """A figure with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(value: Any) -> str:
    return shown(value) if isinstance(value, float) else str(value)
