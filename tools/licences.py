"""Write docs/licences.md: the licence of everything that pyproject.toml names, and what it is for.

    python tools/licences.py [--check]

A licence is read from the metadata of what is installed here; of what is not, the page keeps what
it says. With `--check` nothing is written, and a page that would change is a failure.
"""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
HEAD = """\
# Licences

dagrax is under the Apache License, Version 2.0 (`LICENSE`). It holds no code of others; what its
functions follow is named where they stand. What it is installed with, by the metadata of each
package, is below; `python tools/licences.py` writes this page. An extra is installed only by
`pip install "dagrax[extra]"`: without one, the packages of the first table are all there is.
"""
SECTIONS = {
    "What dagrax needs": "needed",
    "What an extra adds": "extra",
    "What dagrax is tested, measured and built with": "dev",
}
OURS = ("build", "test", "dev", "peers", "docs", "bench", "examples")  # extras that no user needs
SPDX = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}


def requirements() -> dict[str, list[str]]:
    """Each package that is named, with the extras that name it, the first being ``""``."""
    file = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, found = file["project"], dict[str, list[str]]()
    lists = {"": project["dependencies"], "build": file["build-system"]["requires"]}
    for extra, lines in (lists | project["optional-dependencies"]).items():
        for line in lines:
            name = re.match(r"[\w.-]+", line)
            if name and name[0] != "dagrax":
                found.setdefault(name[0], []).append(extra)
    return found


def licence(package: str) -> str | None:
    """Its licence as an expression of SPDX, as its metadata say; None where it is not installed."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return None
    if expression := about.get("License-Expression"):
        return str(expression)
    marks = [x.rpartition(" :: ")[2] for x in about.get_all("Classifier", []) if "License" in x]
    first = (about.get("License") or "").strip().partition("\n")[0].strip()
    name = next((x for x in marks if x in SPDX), first)
    return SPDX.get(name, name) or None


def written(page: str) -> dict[str, str]:
    """The licences that a page says, by package."""
    return dict(re.findall(r"^\| \[([^\]]+)\][^|]*\| ([^|]+?) \|", page, re.M))


def text(page: str) -> str:
    """The page with what is installed here. **Errors:** SystemExit for a licence nobody knows."""
    kept, lines = written(page), [HEAD]
    for title, kind in SECTIONS.items():
        lines += [f"## {title}", "", "| package | licence | for |", "|---|---|---|"]
        for name, extras in sorted(requirements().items(), key=lambda x: x[0].lower()):
            if _kind(extras) != kind:
                continue
            own = licence(name) or kept.get(name)
            if own is None:
                raise SystemExit(f"{name} is not installed, and docs/licences.md does not name it")
            use = ", ".join(f"`{x}`" for x in extras if x) or "everything"
            lines.append(f"| [{name}](https://pypi.org/project/{name}/) | {own} | {use} |")
        lines.append("")
    return "\n".join(lines)


def _kind(extras: list[str]) -> str:
    if "" in extras:
        return "needed"
    return "dev" if set(extras) <= set(OURS) else "extra"


def main(arguments: list[str]) -> None:
    """Write the page, or say whether it is as it should be."""
    page = PAGE.read_text() if PAGE.exists() else ""
    new = text(page)
    if "--check" in arguments and new != page:
        raise SystemExit("docs/licences.md is not as it should be: python tools/licences.py")
    if "--check" not in arguments:
        PAGE.write_text(new)


if __name__ == "__main__":
    main(sys.argv[1:])
