"""Data pipelines as pure functions: a pytree of stages, a static schedule, explicit keys."""

from ._batching import Batching as Batching
from ._batching import Cursor as Cursor
from ._batching import Pad as Pad
from ._batching import Remainder as Remainder
from ._batching import check_length as check_length
from ._carry import check_carry as check_carry
from ._describe import describe as describe
from ._fingerprint import fingerprint as fingerprint
from ._loop import check_arguments as check_arguments
from ._loop import epoch as epoch
from ._loop import pair as pair
from ._loop import scan as scan
from ._loop import step as step
from ._order import AbstractOrder as AbstractOrder
from ._order import Sequential as Sequential
from ._order import Shuffled as Shuffled
from ._origin import Origin as Origin
from ._pipeline import Pipeline as Pipeline
from ._pipeline import apply as apply
from ._pipeline import outputs as outputs
from ._random import RecordKeys as RecordKeys
from ._schedule import Schedule as Schedule
from ._source import AbstractSource as AbstractSource
from ._source import ArraySource as ArraySource
from ._stage import per_record as per_record
from ._stream import Stream as Stream
