"""WHAT FLOWS: records of a source, in an order, batch by batch.

`_batching` is the arithmetic of positions, `_stream` puts source, order and positions together, and
`_fed` is how it is handed batches that were read beside the program. Nothing here knows of stages.
"""
