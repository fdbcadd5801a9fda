"""Names of a package that are imported when they are first used, as few programs use them.

Type checkers are shown the imports themselves, beside the call of `late`.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version


def late(package: str, **homes: str) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package.

    - `homes`: for each name the module it is of, or "" for a module of the package.

    `__version__` is looked up when it is asked for too.
    """

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return version("dagrax")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if homes[name]:
            return getattr(import_module(homes[name], package), name)
        return import_module(f".{name}", package)

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, "__version__"})

    return __getattr__, __dir__
