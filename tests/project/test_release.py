"""What a release is made of says one thing: versions, dates, licences, what is in the archive."""

import importlib.metadata
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

import dagrax.nnx_api
import dagrax.pure

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def tool(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / f"{name}.py"))


def cited(field: str) -> str:
    (found,) = re.findall(rf"^{field}: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    return str(found)


def test_a_package_says_the_version_that_is_installed() -> None:
    installed = importlib.metadata.version("dagrax")
    assert dagrax.pure.__version__ == dagrax.nnx_api.__version__ == installed


@pytest.mark.parametrize("package", ["pure", "nnx_api"])
def test_a_name_that_is_not_there_is_told(package: str) -> None:
    module = importlib.import_module(f"dagrax.{package}")
    with pytest.raises(AttributeError, match=f"'dagrax.{package}' has no attribute 'Pipelin'"):
        module.Pipelin  # noqa: B018


def test_the_citation_and_the_changelog_tell_the_version_of_the_project() -> None:
    assert cited("version") == PROJECT["version"]
    assert cited("license") == PROJECT["license"]
    heads = re.findall(r"^## \[([\d.]+)\] - (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert heads[0] == (PROJECT["version"], cited("date-released"))


def test_the_licence_of_everything_that_is_named_is_told() -> None:
    licences = tool("licences")
    page = (ROOT / "docs" / "licences.md").read_text()
    told = licences["written"](page)
    named = licences["requirements"]()
    assert len(named) > 30
    assert sorted(set(named) - set(told)) == []
    found = {name: licence for name in named if (licence := licences["licence"](name))}
    # Another release may say the same in other words.
    words = {name: {*re.findall(r"[A-Z]{2,}|Apache", licence)} for name, licence in found.items()}
    assert [
        name for name, some in words.items() if not some & {*re.findall(r"\w+", told[name])}
    ] == []


def test_an_archive_has_the_files_that_a_reader_looks_for() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    packed = set(config["targets"]["sdist"]["only-include"])
    assert {"CITATION.cff", "CONTRIBUTING.md", "LICENSE", "docs", "tools"} <= packed
    assert packed | {"pyproject.toml"} >= set(tool("check_dist")["SDIST"])
    assert [name for name in packed if not (ROOT / name).exists()] == []
