"""Print the lower bounds that pyproject.toml names, as pip constraints that pin them."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EXTRAS = (
    "examples",
    "test",
    "bench",
    "checkpoints",
    "arrow",
    "arrayrecord",
    "datasets",
    "grain",
    "hdf5",
    "zarr",
)
LOWER_BOUND = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)$")


def lowest(project: dict[str, Any]) -> list[str]:
    """Each `name>=version` of the runtime, and of the extras `test` and `bench`."""
    others = [*project["dependencies"], *needed(project, "test"), *needed(project, "bench")]
    unbounded = [r for r in others if not LOWER_BOUND.match(r)]
    if unbounded:
        raise SystemExit(f"pyproject.toml: no single `name>=version` in {', '.join(unbounded)}")
    return sorted({LOWER_BOUND.sub(r"\1==\2", r) for r in others})


def needed(project: dict[str, Any], extra: str) -> Iterator[str]:
    """The requirements of an extra, those of others that it names among them."""
    for requirement in project["optional-dependencies"][extra]:
        own = re.match(rf"{project['name']}\[(.*)\]$", requirement)
        if own is None:
            yield requirement
        for name in own[1].split(",") if own else ():
            yield from needed(project, name)


if __name__ == "__main__":
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    print("\n".join(lowest(tomllib.loads(pyproject.read_text())["project"])))
