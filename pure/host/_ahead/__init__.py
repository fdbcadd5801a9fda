"""READING AHEAD: the thread that gathers chunks of batches while others are computed.

`_feed` is who asks it, `_line` what stands between the two, `_chunk` what it makes, in memory of
`_buffers`, and `_place` where that goes. Nothing here knows what a batch is used for.
"""
