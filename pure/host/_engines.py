"""Libraries that are imported when they are used: one that is absent is told by name.

Which extra of dagrax brings it is told too. What the libraries do is not known here.
"""

import importlib
from types import ModuleType


def engine(module: str, package: str, extra: str, needs: str) -> ModuleType:
    """The module of a library, on which `needs` depends.

    **Errors:** ImportError where the library is not installed, with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise  # installed, and itself in want of something
        raise ImportError(
            f"{needs} needs the library {package}, which is not installed; run "
            f'pip install "dagrax[{extra}]".',
            name=error.name,
        ) from None
