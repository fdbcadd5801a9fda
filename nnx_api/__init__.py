"""Data pipelines as nnx.Modules: Variables in, one pure call, Variables out.

What is computed stands in `dagrax.pure`; no algorithm is told twice.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from dagrax.pure._late import late as _late

from ._array_source import ArraySource as ArraySource
from ._call._history import Compilations as Compilations
from ._call._history import RecompilationWarning as RecompilationWarning
from ._element import Element as Element
from ._element import OperatorModule as OperatorModule
from ._host_source import HostSource as HostSource
from ._iterator import BlockIterator as BlockIterator
from ._iterator import EpochIterator as EpochIterator
from ._pipeline import Pipeline as Pipeline
from ._records import Position as Position
from ._records import Records as Records
from ._records import Seed as Seed
from ._source import Source as Source
from ._source import View as View
from ._sources import MemorySource as MemorySource
from ._sources import MemorySourceConfig as MemorySourceConfig
from ._variants import stack as stack
from ._variants import unstack as unstack

if _TYPE_CHECKING:
    from . import operators as operators
    from .operators import BrightnessOperator as BrightnessOperator
    from .operators import NoiseOperator as NoiseOperator

    __version__: str
else:  # or a type checker would take any name
    __getattr__, __dir__, __all__ = _late(
        __name__, operators="", BrightnessOperator=".operators", NoiseOperator=".operators"
    )
