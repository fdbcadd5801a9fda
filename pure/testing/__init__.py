"""Checks for stages, sources and orders of one's own: what each tried, what it saw, where it fails.

    print(dp.testing.check_order(order))                    # positions to ids
    dp.testing.check_source(source)                         # ids to records
    dp.testing.check_epoch(stream)                          # every record, by every policy
    dp.testing.check_invariance(pipeline, stream, key)      # one batch, however it is asked for
    dp.testing.check_resume(pipeline, stream, key)
    dp.testing.check_gradients(pipeline, stream, key)

Each returns a `Report`, or raises an AssertionError with the smallest case that fails. Of a
pipeline of the face: `dp.testing.check_invariance(*pipeline.pure())`.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

# isort: off
from .._late import late as _late
from ._report import Report as Report
from ._report import Seen as Seen
from ._order import check_order as check_order
from ._source import check_source as check_source
from ._epoch import check_epoch as check_epoch
from ._invariance import check_invariance as check_invariance
from ._resume import check_resume as check_resume
from ._gradients import check_gradients as check_gradients

if not _TYPE_CHECKING:  # or a type checker would take any name
    __getattr__, __dir__, __all__ = _late(__name__)
