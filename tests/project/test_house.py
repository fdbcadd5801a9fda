"""What holds for the project as a whole, whatever the code in it computes."""

import importlib
import inspect
import re
import subprocess
import sys
import traceback
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ["dagrax.pure", "dagrax.nnx_api"]
ROOT = Path(__file__).parents[2]


def sources(package: str) -> list[Path]:
    """The Python files of an importable package."""
    (folder,) = importlib.import_module(package).__path__
    return sorted(Path(folder).rglob("*.py"))


def public(package: str) -> Iterator[tuple[str, object]]:
    """The names that a user may import from a package, modules and type aliases aside."""
    for name, value in inspect.getmembers(importlib.import_module(package)):
        aside = isinstance(value, types.ModuleType) or typing.get_origin(value) is not None
        if not name.startswith("_") and not aside:
            yield name, value


def described(value: object) -> bool:
    """Whether somebody wrote a docstring: dataclasses and named tuples make up one of their own."""
    made_up = f"{getattr(value, '__name__', '')}("
    return bool(value.__doc__) and not str(value.__doc__).startswith(made_up)


def tracked() -> list[Path]:
    """The text files that are, or would be, committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [f for f in files if f.is_file() and b"\0" not in f.read_bytes()]


def test_the_pure_core_imports_no_flax() -> None:
    code = "import sys, dagrax.pure; print(*{m.split('.')[0] for m in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = run.stdout.split()
    assert "dagrax" in loaded
    assert "flax" not in loaded


LATE = {
    "dagrax.pure": {"host", "ops", "testing", "visual", "fit"},
    "dagrax.nnx_api": {"operators", "BrightnessOperator", "NoiseOperator"},
}


@pytest.mark.parametrize("package", PACKAGES)
def test_what_few_programs_use_is_imported_when_it_is_used(package: str) -> None:
    code = f"""if True:
        import sys, {package} as package
        own = [f"{{package.__name__}}.{{name}}" for name in {LATE[package]}]
        assert not {{*own, "dagrax.pure.ops"}} & {{*sys.modules}}
        assert {LATE[package]} <= {{*dir(package)}} > {{"__version__", "Pipeline"}}
        print(*(getattr(package, name).__name__ for name in {sorted(LATE[package])}))
        stars = {{}}
        exec("from {package} import *", stars)
        wanted = {{name for name in dir(package) if name[0] != "_"}} - {{"internal"}}
        assert wanted <= {{*stars}}, wanted - {{*stars}}
        package.of_nothing_like_it
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert {name.rpartition(".")[2] for name in run.stdout.split()} == LATE[package]
    last = f"AttributeError: module '{package}' has no attribute 'of_nothing_like_it'"
    assert run.stderr.splitlines()[-1] == last


MISSPELT = {
    "dagrax.pure": ("Shufled", "; did you mean `Shuffled`?"),
    "dagrax.pure.ops": ("hue_adjust", "; did you mean `adjust_hue`?"),
    "dagrax.pure.host": ("DiscSource", "; did you mean `DiskSource`?"),
    "dagrax.pure.testing": ("check_epochs", "; did you mean `check_epoch`?"),
    "dagrax.pure.visual": ("shows", "; did you mean `show`?"),
    "dagrax.nnx_api": ("Pipelne", "; did you mean `Pipeline`?"),
    "dagrax.nnx_api.operators": ("RandomFlp", "; did you mean `RandomFlip`?"),
}


@pytest.mark.parametrize("package", MISSPELT)
def test_a_name_that_is_misspelt_is_told_with_the_one_that_was_meant(package: str) -> None:
    module, (name, meant) = importlib.import_module(package), MISSPELT[package]
    for wrong, told in ((name, meant), ("of_nothing_like_it_xyz", ""), ("__of_python__", "")):
        with pytest.raises(AttributeError) as error:
            getattr(module, wrong)
        assert str(error.value) == f"module '{package}' has no attribute '{wrong}'{told}"
        assert "".join(traceback.format_exception(error.value)).endswith(f"'{wrong}'{told}\n")
    assert all(hasattr(module, public) for public in module.__all__)


def test_dagrax_is_a_namespace_and_owns_no_code() -> None:
    assert importlib.import_module("dagrax").__file__ is None


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_under_test_has_its_annotations_checked(package: str) -> None:
    importlib.import_module(package)
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(f"{package}."):
            assert "jaxtyping" in type(module.__loader__).__module__, name


@pytest.mark.parametrize("package", PACKAGES)
def test_annotations_stay_real_objects_that_jaxtyping_can_see(package: str) -> None:
    future = "from __future__ import annotations"
    assert [file for file in sources(package) if future in file.read_text()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_may_read_the_annotations(package: str) -> None:
    (folder,) = importlib.import_module(package).__path__
    assert (Path(folder) / "py.typed").read_text() == ""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_callable_has_a_docstring(package: str) -> None:
    found = dict(public(package))
    assert found
    assert [name for name, value in found.items() if callable(value) and not described(value)] == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    home = re.compile(r"(?<![\w.)])/(?:home|root|Users|work|tmp)/\w")
    named = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in tracked()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if home.search(line)
    ]
    assert named == []
