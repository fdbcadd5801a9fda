"""Whose pipeline it is: `package.module:name` or `file.py:name`, imported, and made if it is a
function.

What becomes of it is not known here.
"""

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import dagrax.pure as dp
from dagrax.pure import internal

from .._pipeline import Pipeline
from ._told import Usage

_WRITE = "write package.module:make_pipeline, or path/to/file.py:make_pipeline."


@contextmanager
def made(target: str) -> Iterator[Pipeline[Any, Any]]:
    """The pipeline of a target; one that was made here is closed in the end.

    **Errors:** Usage; those of the user's code.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise Usage(f"TARGET is `{target}`; expected a module and a name in it: {_WRITE}")
    found = _found(_imported(place), name, place)
    if isinstance(found, Pipeline):
        yield found
        return
    with _called(target, found) as pipeline:
        yield pipeline


def _imported(place: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    if place.endswith(".py"):
        return _of_file(Path(place))
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise _while_importing(error, place) from error
        known = [path.stem for path in Path(here).glob("*.py")]
        known += [path.parent.name for path in Path(here).glob("*/__init__.py")]
        raise Usage(
            f"There is no module `{error.name}`.{internal.near(error.name, known)} It is looked "
            "for in the current folder first."
        ) from None
    except ImportError as error:
        raise _while_importing(error, place) from error


def _of_file(path: Path) -> ModuleType:
    if not path.is_file():
        known = [str(x) for x in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise Usage(f"There is no file `{path}`.{internal.near(path, known)}")
    name = path.stem if path.stem not in sys.modules else f"{path.stem} of dagrax"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise Usage(f"`{path}` cannot be imported; expected a file of Python.")
    sys.path.insert(0, str(path.resolve().parent))  # as `python file.py` does
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]  # half of a module is none
        if isinstance(error, ImportError):
            raise _while_importing(error, str(path)) from error
        raise
    return module


def _while_importing(error: ImportError, place: str) -> Exception:
    # No wrong usage: the module is there.
    return RuntimeError(f"`{place}` cannot be imported: {type(error).__name__}: {error}")


def _found(module: ModuleType, name: str, place: str) -> object:
    found: object = module
    for step in name.split("."):
        try:
            found = getattr(found, step)
        except AttributeError:
            known = [x for x in dir(found) if not x.startswith("_")]
            told = internal.near(step, known)
            raise Usage(f"`{place}` has no `{name}`.{told}") from None
    return found


def _called(target: str, found: object) -> Pipeline[Any, Any]:
    if not callable(found):
        expected = f"a Pipeline, or a function that makes one.{_core(found)}"
        raise Usage(internal.of_type(f"`{target}`", found, expected))
    if isinstance(found, type):
        _check_class(target, found)
    try:
        inspect.signature(found).bind()
    except TypeError:
        raise Usage(
            f"`{target}` takes arguments, {inspect.signature(found)}; expected a function of none: "
            "write one that calls it."
        ) from None
    except ValueError:  # builtins have none to read
        pass
    given = found()
    if not isinstance(given, Pipeline):
        raise Usage(
            internal.of_type(f"What `{target}` returned", given, f"a Pipeline.{_core(given)}")
        )
    return given


def _check_class(target: str, found: type) -> None:
    # Its own signature may be that of a metaclass, which takes anything.
    try:
        inspect.signature(found.__init__).bind(None)  # type: ignore[misc]
    except (TypeError, ValueError):
        place = target.rpartition(":")[0]
        raise Usage(
            f"`{target}` is a class that takes arguments; expected a Pipeline, or a function that "
            f"makes one: write `def make_pipeline(): return {found.__name__}(…)`, and give "
            f"{place}:make_pipeline."
        ) from None


def _core(value: object) -> str:
    parts = value if isinstance(value, tuple) else (value,)
    if not any(isinstance(x, dp.Pipeline | dp.Stream) for x in parts):
        return ""
    return " Of the core, put the graph and the source into one of dagrax.nnx_api."
