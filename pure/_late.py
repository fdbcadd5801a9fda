"""The names of a package: those that are imported when they are first used, as few programs use
them, all that `import *` brings, and the one that was meant where there is none.

Type checkers are shown the imports themselves, beside the call of `late`.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import TypeAlias

Names: TypeAlias = tuple[Callable[[str], object], Callable[[], list[str]], tuple[str, ...]]


def late(package: str, **homes: str) -> Names:
    """The `__getattr__`, the `__dir__` and the `__all__` of a package, called where all its other
    names are there.

    - `homes`: for each name the module it is of, or "" for a module of the package.

    `__version__` is looked up when it is asked for too.
    """

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return version("dagrax")
        if name not in homes:
            told = "" if name.startswith("_") else _meant(name, public)
            own = f"module {package!r} has no attribute {name!r}{told}"
            raise AttributeError(own, name=None, obj=None)  # or Python would add what was meant too
        if homes[name]:
            return getattr(import_module(homes[name], package), name)
        return import_module(f".{name}", package)

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, "__version__"})

    own = vars(sys.modules[package]).items()
    public = tuple(x for x, value in own if x[0] != "_" and not isinstance(value, ModuleType))
    public += tuple(name for name in homes if name not in public)
    return __getattr__, __dir__, public


def _meant(name: str, known: tuple[str, ...]) -> str:
    from ._text import near

    return near(name, known).replace(" Did", "; did")
