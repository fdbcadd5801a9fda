"""Print the lower bounds that pyproject.toml names, as pip constraints that pin them."""

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

EXTRAS = ("examples", "test", "bench", "checkpoints")
LOWER_BOUND = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)$")


def lowest(project: dict[str, Any]) -> list[str]:
    """Each `name>=version` of the runtime and of the extras that tests need."""
    extras = [project["optional-dependencies"][name] for name in EXTRAS]
    requirements = [*project["dependencies"], *itertools.chain(*extras)]
    others = [r for r in requirements if not r.startswith(f"{project['name']}[")]
    unbounded = [r for r in others if not LOWER_BOUND.match(r)]
    if unbounded:
        raise SystemExit(f"pyproject.toml: no single `name>=version` in {', '.join(unbounded)}")
    return sorted({LOWER_BOUND.sub(r"\1==\2", r) for r in others})


if __name__ == "__main__":
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    print("\n".join(lowest(tomllib.loads(pyproject.read_text())["project"])))
