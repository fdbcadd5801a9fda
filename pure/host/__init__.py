"""Records larger than memory: sources that are read on the host, and the thread that reads ahead.

    source = host.DiskSource({"image": "images.npy", "label": "labels"})    # files and folders
    stream = dp.Stream(source, dp.Shuffled(key), batch_size=256)            # as over arrays
    cursor, carry, ys = host.scan(body, carry, pipeline, stream, cursor, key=key, length=100)

The one room of the core with side effects: files are read here, and threads run.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

# isort: off
from .._late import late as _late
from .._sources._host_source import AbstractHostSource as AbstractHostSource
from .._sources._fetched import at_record as at_record
from ._sources._disk import DiskSource as DiskSource
from ._sources._random_access import RandomAccessSource as RandomAccessSource
from ._sources._arrow import ArrowSource as ArrowSource
from ._sources._iterable import IterableSource as IterableSource
from .._sources._mixture import Mixture as Mixture
from ._loops import scan as scan
from ._loops import epoch as epoch
from ._saved._checkpoints import Checkpoints as Checkpoints
from ._saved._resumable import Place as Place

if not _TYPE_CHECKING:  # or a type checker would take any name
    __getattr__, __dir__, __all__ = _late(__name__)
