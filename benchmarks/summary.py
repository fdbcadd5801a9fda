"""The figures that the other benchmarks have saved, beside the bounds that dagrax sets itself.

Reads the tables in the folder of `--save` and measures nothing. Of benchmarks/results, where
`make bench` puts them, the tables are also written into docs/benchmarks.md.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rounds import shown

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
LIGHT = ("images 32x32x3", "100 features", "512 tokens")
HEAVY = ("augmented images 64x64x3",)
PEERS = ("tf.data", "grain", "torch DataLoader")


class Results:
    """The tables of a folder, by script and the beginning of a title."""

    def __init__(self, folder: Path):
        self._folder = folder

    def row(
        self, script: str, title: str, start: str, end: str = "", *, order: str = ""
    ) -> dict[str, Any]:
        """A row by its heads: its cells, joined, start so, and the first of them ends so.

        The title of its table ends with the `order`.
        """
        for table in self._read(script)["tables"]:
            if table["title"].startswith(title) and table["title"].endswith(order):
                for cells in table["rows"]:
                    if " ".join(map(str, cells)).startswith(start) and str(cells[0]).endswith(end):
                        return dict(zip(table["heads"], cells, strict=True))
        raise KeyError(f"{script}: no row `{start}` in a table `{title}`")

    def machine(self, script: str) -> str:
        """The machine that a script ran on."""
        machine: str = self._read(script)["machine"]
        return machine

    def _read(self, script: str) -> Any:
        return json.loads((self._folder / f"{script}.json").read_text())


def measures(results: Results) -> Iterator[tuple[str, str, list[float]]]:
    """Each measure, its bound, and what was seen; several figures where it names several."""

    def peers(workloads: tuple[str, ...], order: str, *names: str) -> list[float]:
        rows = [results.row("delivered", "Time of dagrax", f"{w}, batch", order) for w in workloads]
        return [max(float(row[name]) for row in rows) for name in names]

    def rate(workload: str, order: str, name: str) -> float:
        row = results.row("delivered", f"{workload}, batch", name, order=order)
        return float(row["records/s"].removesuffix("k"))

    def training(task: str, column: str) -> float:
        return float(results.row("training", f"{task}, shuffled:", "dagrax scan")[column])

    def call(nodes: int, way: str) -> float:
        return float(results.row("call", "A call", f"{nodes} {way}")["beyond the bare call"])

    def size(row: str) -> float:
        return float(results.row("data_size", "us a batch", f"{row} ")["1e8 / 1e4"])

    light = "delivered, light work (the worst of images, features, tokens)"
    heavy = "delivered, crop, flip and jitter"
    yield (
        "`for` over a graph of 3 nodes, shuffled / jitted loop over a permutation table",
        "1.05",
        peers(("graph of 3 nodes",), "shuffled", "hand-written JAX"),
    )
    yield (
        "`step()` beyond the bare call, 3 and 30 nodes, us",
        "50, 120",
        [
            call(3, "step()"),
            call(30, "step()"),
        ],
    )
    yield (
        "`for` beyond the bare call, 3 and 30 nodes, us",
        "12, 20",
        [
            call(3, "for"),
            call(30, "for"),
        ],
    )
    yield "`scan`, MLP / one jitted step in a loop", "0.85", [training("MLP", "/ one jitted step")]
    yield "`scan`, CNN / one jitted step in a loop", "1.00", [training("CNN", "/ one jitted step")]
    yield (
        "`scan` / `lax.scan` by hand: MLP, CNN, transformer",
        "1.02",
        [training(task, "/ lax.scan") for task in ("MLP", "CNN", "transformer")],
    )
    yield (
        "a batch at 1e8 records / at 1e4: `for`, `scan`, the order alone (`lax.scan` by hand)",
        "1.3",
        [size(row) for row in ("for", "scan", "order alone", "scan by hand")],
    )
    yield (
        "extra memory of an epoch / the data: `scan`, `for`",
        "0.2",
        [
            max(0.0, float(results.row("data_size", "Peak memory", row)["beyond the data / data"]))
            for row in ("an epoch by scan", "an epoch by for")
        ],
    )
    yield (
        "first step of 30 nodes / first call by hand",
        "1.3",
        [float(results.row("startup", "Before", "dagrax: first step")["/ by hand"])],
    )
    yield (
        "import, beyond flax, equinox and beartype, ms",
        "100",
        [float(results.row("startup", "Before", "import")["ms"])],
    )
    yield (
        f"{light}, shuffled / hand-written JAX",
        "",
        peers(LIGHT, "shuffled", "hand-written JAX"),
    )
    yield (
        f"{light}, shuffled: / tf.data, grain, torch",
        "0.15, 0.05, 0.1",
        peers(LIGHT, "shuffled", *PEERS),
    )
    yield (
        f"{heavy}, shuffled: / tf.data, grain, torch",
        "0.5 each",
        peers(HEAVY, "shuffled", *PEERS),
    )
    yield (
        "`for`, shuffled / datarax `for`, in order, light (the worst)",
        "0.5",
        [
            max(
                rate(workload, "sequential", "datarax `for`")
                / rate(workload, "shuffled", "dagrax `for`")
                for workload in LIGHT
            )
        ],
    )
    yield (
        "`for` / datarax `for`, both shuffled, light (the worst)",
        "0.012",
        peers(LIGHT, "shuffled", "datarax `for`"),
    )
    stepped = [
        results.row("delivered", "Time of dagrax", f"{w}, batch", "sequential") for w in LIGHT
    ]
    yield (
        "`step()` / datarax `step()`, both in order, light (the worst)",
        "0.02",
        [max(float(x["datarax `step()`"]) / float(x["dagrax `step()`"]) for x in stepped)],
    )


def quote(folder: Path, page: Path) -> None:
    """Put the tables of each script between `<!-- script -->` and `<!-- end -->` of a page."""

    def tables(match: re.Match[str]) -> str:
        kept = [
            line
            for line in (folder / f"{match[1]}.md").read_text().splitlines()
            if not line or line.startswith(("|", "**")) or "CPU cores" in line
        ]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
        return f"<!-- {match[1]} -->\n\n{text}\n\n<!-- end -->"

    marked = re.compile(r"<!-- (\w+) -->\n.*?<!-- end -->", re.DOTALL)
    page.write_text(marked.sub(tables, page.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=RESULTS, help="the folder of the tables")
    folder = parser.parse_args().save
    results = Results(folder)
    lines = [
        f"{results.machine('delivered')}.",
        "",
        "| measure | at most | seen |",
        "|---|---|---|",
    ]
    lines += [
        f"| {measure} | {bound} | {', '.join(map(shown, seen))} |"
        for measure, bound, seen in measures(results)
    ]
    print("\n".join(lines))
    (folder / "summary.md").write_text("\n".join(lines) + "\n")
    if folder.resolve() == RESULTS.resolve():
        quote(folder, PAGE)


if __name__ == "__main__":
    main()
