"""What a source gave, held against what it said, in this room.

It is what flows, and stands there.
"""

from .._flow._fetched import at_record as at_record
from .._flow._fetched import buffers as buffers
from .._flow._fetched import fetched as fetched
