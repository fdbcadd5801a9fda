"""Data pipelines as nnx.Modules: Variables in, one pure call, Variables out."""

from ._iterator import EpochIterator as EpochIterator
from ._operator import BrightnessOperator as BrightnessOperator
from ._operator import Element as Element
from ._operator import NoiseOperator as NoiseOperator
from ._operator import OperatorModule as OperatorModule
from ._pipeline import Pipeline as Pipeline
from ._records import Position as Position
from ._records import Records as Records
from ._records import Seed as Seed
from ._sources import MemorySource as MemorySource
from ._sources import MemorySourceConfig as MemorySourceConfig
from ._sources import Source as Source
from ._variants import stack as stack
from ._variants import unstack as unstack
