"""What `dagrax.nnx_api` takes from the core and nobody else should: it promises nothing.

What a user needs stands in `dagrax.pure`.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from ._apart import apart as apart
from ._checking import checking as checking
from ._checking import in_a_trace as in_a_trace
from ._checking import is_checking as is_checking
from ._checking import known as known
from ._contract._check import Findings as Findings
from ._contract._check import survey as survey
from ._debug import check_own as check_own
from ._debug import debugged as debugged
from ._debug import debugged_together as debugged_together
from ._fingerprint import combined as combined
from ._fingerprint import graph_digest as graph_digest
from ._fingerprint import graph_told as graph_told
from ._fingerprint import source_digest as source_digest
from ._flow._batching import Batching as Batching
from ._flow._batching import check_length as check_length
from ._flow._carry import check_carry as check_carry
from ._flow._fed import Fed as Fed
from ._flow._fed import at as at
from ._flow._fed import handed as handed
from ._flow._fed import looped as looped
from ._flow._fed import place_words as place_words
from ._flow._shard import Shard as Shard
from ._flow._spread import BatchAxis as BatchAxis
from ._flow._spread import Spread as Spread
from ._flow._spread import check_divides as check_divides
from ._flow._spread import spread_of as spread_of
from ._graph._evaluate import call as call
from ._graph._numbers import check_numbers as check_numbers
from ._graph._pipeline import checked_graph as checked_graph
from ._graph._pipeline import declared as declared
from ._graph._pipeline import with_stages as with_stages
from ._graph._schedule import warn_of_idle as warn_of_idle
from ._graph._stage import bare as bare
from ._graph._stage import random_arguments as random_arguments
from ._graph._stage import type_name as type_name
from ._graph._stepped import Stepped as Stepped
from ._graph._stepped import counted as counted
from ._graph._stepped import spelt_leaves as spelt_leaves
from ._graph._told import graph_changes as graph_changes
from ._late import late as _late
from ._loop import step_function as step_function
from ._mesh import alike as alike
from ._mesh import by_compiler as by_compiler
from ._mesh import entry as entry
from ._mesh import is_spread as is_spread
from ._misused import guided as guided
from ._orders._order import positions_of as positions_of
from ._random._origin import ids_of as ids_of
from ._sources._host_source import Ended as Ended
from ._sources._host_source import mend_to_host_source as mend_to_host_source
from ._sources._hosted import Handle as Handle
from ._sources._hosted import given_source as given_source
from ._sources._hosted import is_hosted as is_hosted
from ._sources._listed import stacked_records as stacked_records
from ._sources._places import AbstractPlaces as AbstractPlaces
from ._sources._unknown import UNKNOWN as UNKNOWN
from ._sources._unknown import check_known as check_known
from ._static._call import on_device as on_device
from ._static._callbacks import note_callbacks as note_callbacks
from ._static._installed import is_installed as is_installed
from ._static._key import StaticKey as StaticKey
from ._static._key import static_key as static_key
from ._static._key import watched as watched
from ._static._places import Watch as Watch
from ._static._reader import Instead as Instead
from ._summary._apart import chunk_of_one as chunk_of_one
from ._summary._cost import Apart as Apart
from ._summary._cost import Run as Run
from ._summary._cost import check_untraced as check_untraced
from ._summary._facts import Holding as Holding
from ._summary._facts import Holdings as Holdings
from ._summary._facts import source_name as source_name
from ._summary._facts import summary_of as summary_of
from ._summary._found import check_asked as check_asked
from ._summary._found import with_figures as with_figures
from ._tables import html_table as html_table
from ._tables import text_table as text_table
from ._text import kind_text as kind_text
from ._text import listed as listed
from ._text import near as near
from ._text import node_text as node_text
from ._text import of_type as of_type
from ._text import path_text as path_text
from ._text import spec_text as spec_text
from ._text import valued as valued
from ._variants import differences as differences
from ._variants import over_variants as over_variants
from ._variants import told_apart as told_apart
from ._warning import warn as warn
from .host._ahead._feed import Feed as Feed
from .host._ahead._feed import Some as Some
from .host._ahead._look import joined_rows as joined_rows
from .host._ahead._look import read_at as read_at
from .host._engines import engine as engine
from .host._loops import joined as joined
from .host._saved._arrays import Saved as Saved
from .host._saved._arrays import key_kinds as key_kinds
from .host._saved._arrays import leaves_of as leaves_of
from .host._saved._arrays import named as named
from .host._saved._arrays import refilled as refilled
from .host._saved._resumable import Whole as Whole
from .host._saved._resumable import check_holder as check_holder
from .host._saved._resumable import fill as fill
from .host._saved._resumable import policy as policy

if _TYPE_CHECKING:
    from .visual._draw import check_drawing as check_drawing
    from .visual._show import check_sheet as check_sheet
else:
    __getattr__ = _late("dagrax.pure", check_drawing=".visual._draw", check_sheet=".visual._show")[
        0
    ]
