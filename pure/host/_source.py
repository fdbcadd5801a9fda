"""What a source of one's own is made of, in this room: records by id, and errors with their record.

It is what flows, and stands there.
"""

from .._flow._fetched import at_record as at_record
from .._flow._host_source import AbstractHostSource as AbstractHostSource
from .._flow._host_source import Batch as Batch
from .._flow._host_source import Ids as Ids
from .._flow._host_source import check_host_source as check_host_source
from .._flow._host_source import spec_of as spec_of
