"""What `dagrax.nnx_api` takes from the core and nobody else should: it promises nothing.

What a user needs stands in `dagrax.pure`.
"""

from ._contract._check import Findings as Findings
from ._contract._check import survey as survey
from ._fingerprint import combined as combined
from ._fingerprint import graph_digest as graph_digest
from ._fingerprint import source_digest as source_digest
from ._flow._apart import apart as apart
from ._flow._batching import Batching as Batching
from ._flow._batching import check_length as check_length
from ._flow._carry import check_carry as check_carry
from ._flow._listed import stacked_records as stacked_records
from ._flow._order import positions_of as positions_of
from ._flow._places import AbstractPlaces as AbstractPlaces
from ._flow._shard import Shard as Shard
from ._graph._pipeline import declared as declared
from ._graph._pipeline import with_stages as with_stages
from ._graph._stage import bare as bare
from ._graph._stage import random_arguments as random_arguments
from ._graph._stage import type_name as type_name
from ._loop import step_function as step_function
from ._mesh import alike as alike
from ._mesh import entry as entry
from ._static._call import on_device as on_device
from ._static._key import StaticKey as StaticKey
from ._static._key import static_key as static_key
from ._static._key import watched as watched
from ._static._reader import Watch as Watch
from ._text import listed as listed
from ._text import near as near
from ._text import of_type as of_type
from ._text import path_text as path_text
from ._text import spec_text as spec_text
from ._text import valued as valued
from ._variants import differences as differences
from ._variants import told_apart as told_apart
from .ops._arguments import known as known
from .ops._chance import blended as blended
from .ops._chance import child_key as child_key
from .ops._chance import gumbel_softmax as gumbel_softmax
from .ops._chance import happens as happens
from .ops._chance import one_of as one_of
from .ops._chance import picked as picked
from .ops._features import as_floats as as_floats
