"""WHAT FLOWS: records of a source, in an order, batch by batch.

`_batching` is the arithmetic of positions, `_order` tells which record stands at which position,
`_source` holds the records (`_staging` brings them in, `_gather` reads them), and `_stream` puts
the three together. Nothing here knows of stages.
"""
