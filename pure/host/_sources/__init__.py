"""WHERE RECORDS COME FROM: files, tables, and data sets of other libraries, as sources.

`_disk`, `_arrow`, `_random_access` and `_iterable` are what a user makes; the rest is how each kind
of file is read. Nothing here knows of batches.
"""
