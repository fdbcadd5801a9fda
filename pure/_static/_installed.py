"""Which modules come from installed libraries, whose globals and classes are taken to stay as they
are, and which from the user."""

import os
import sys
import sysconfig
from collections.abc import Mapping

import equinox as eqx
import jax
import numpy as np

# What installed libraries are made of is taken to stay as it is.
_INSTALLED = tuple(
    os.path.join(folder, "")
    for folder in {
        *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(os.path.dirname(os.path.dirname(str(m.__file__))) for m in (jax, np, eqx)),
        os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
    }
)


def is_installed(names: Mapping[str, object]) -> bool:
    file = names.get("__file__")
    if isinstance(file, str):
        return file.startswith(_INSTALLED)
    return names.get("__name__") in sys.builtin_module_names
