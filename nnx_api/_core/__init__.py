"""VARIABLES <-> PURE: a pipeline's Variables are read, the pure core is called, and they are set.

`_kept` is what a process keeps beside a pipeline, `_module` the module itself: its parts for the
pure core, and its one position. `_traced` is what runs inside a compiled call, `_identity` what a
pipeline is told by when a position or a checkpoint comes back. What a user calls is not here.
"""
