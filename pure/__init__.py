"""Data pipelines as pure functions: a pytree of stages, a static schedule, explicit keys.

    pipeline = dp.Pipeline.from_dag(nodes={…}, edges={…}, sink="merge")
    stream = dp.Stream(dp.ArraySource(data), dp.Shuffled(key), batch_size=32)
    cursor = stream.start()
    cursor, batch = dp.step(pipeline, stream, cursor, key=key)
    cursor, carry, ys = dp.scan(body, carry, pipeline, stream, cursor, key=key, length=100)

The arrays of stages and the data are leaves, everything else is static. The names below stand in
the order in which they are best read: the graph, what flows through it, what a draw depends on,
the loops, the contracts, variants.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

# isort: off
from ._late import late as _late
from ._graph._schedule import Schedule as Schedule
from ._graph._stage import per_record as per_record
from ._graph._pipeline import Pipeline as Pipeline
from ._graph._pipeline import Dims as Dims
from ._graph._evaluate import apply as apply
from ._graph._evaluate import outputs as outputs
from ._sources._source import AbstractSource as AbstractSource
from ._sources._source import ArraySource as ArraySource
from ._sources._windows import Windows as Windows
from ._sources._views import Subset as Subset
from ._sources._views import split as split
from ._sources._views import where as where
from ._sources._joined import Concat as Concat
from ._sources._joined import Zip as Zip
from ._sources._mixture import Mixture as Mixture
from ._orders._order import AbstractOrder as AbstractOrder
from ._orders._order import Sequential as Sequential
from ._orders._order import Shuffled as Shuffled
from ._orders._replacement import WithReplacement as WithReplacement
from ._orders._replacement import Weighted as Weighted
from ._orders._balanced import Balanced as Balanced
from ._orders._windowed import Windowed as Windowed
from ._orders._repeat import Repeat as Repeat
from ._flow._batching import Cursor as Cursor
from ._flow._batching import Pad as Pad
from ._flow._batching import Remainder as Remainder
from ._flow._stream import Stream as Stream
from ._flow._spread import on_mesh as on_mesh
from ._random._origin import Origin as Origin
from ._random._keys import RecordKeys as RecordKeys
from ._random._fast_key import fast_key as fast_key
from ._loop import step as step
from ._loop import epoch as epoch
from ._loop import scan as scan
from ._contract._check import check as check
from ._contract._contract import AbstractContracted as AbstractContracted
from ._contract._contract import Contract as Contract
from ._contract._contract import contract_of as contract_of
from ._variants import stack as stack
from ._variants import unstack as unstack
from ._variants import select as select
from ._variants import variant_axes as variant_axes
from ._variants import vmap_variants as vmap_variants
from ._summary._summary import Summary as Summary
from ._summary._rows import SummaryRow as SummaryRow
from ._summary._rows import SummarySource as SummarySource
from ._summary._rows import SummaryTotals as SummaryTotals
from ._summary._found import summary as summary
from ._summary._found import describe as describe
from ._debug import debug as debug
from ._debug import Debugged as Debugged
from ._fingerprint import fingerprint as fingerprint

if _TYPE_CHECKING:
    from . import host as host
    from . import ops as ops
    from . import testing as testing
    from . import visual as visual
    from ._sources._fitted import fit as fit

    __version__: str
else:  # or a type checker would take any name
    __getattr__, __dir__, __all__ = _late(
        __name__, host="", ops="", testing="", visual="", fit="._sources._fitted"
    )
