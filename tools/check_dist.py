"""Fail unless a folder holds a whole sdist, and a wheel of the two packages and nothing else."""

import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGES = ("dagrax/pure", "dagrax/nnx_api")
SDIST = (
    *("pure", "nnx_api", "tests", "examples", "benchmarks", "docs", "typing_stubs", "tools"),
    *(
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "pyproject.toml",
    ),
)


def wheel_faults(names: list[str]) -> list[str]:
    strays = [n for n in names if not n.startswith(tuple(f"{p}/" for p in PACKAGES))]
    strays = [n for n in strays if not n.split("/")[0].endswith(".dist-info")]
    wanted = [f"{p}/{file}" for p in PACKAGES for file in ("__init__.py", "py.typed")]
    return [f"wheel: stray {n}" for n in strays] + [
        f"wheel: missing {n}" for n in wanted if n not in names
    ]


def sdist_faults(names: list[str]) -> list[str]:
    tops = {n.split("/")[1] for n in names}
    return [f"sdist: missing {n}" for n in SDIST if n not in tops]


def main(folder: Path) -> None:
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    faults = wheel_faults(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        faults += sdist_faults(archive.getnames())
    if faults:
        raise SystemExit("\n".join(faults))
    print(f"{wheel.name} and {sdist.name} hold what they should")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
