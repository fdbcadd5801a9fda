"""WHAT A STAGE SAYS of its batches, and whether a graph keeps to it, told before anything runs.

Read in this order: `_contract` (what a stage is annotated with), `_annotation` (how annotations
are read), `_pairs` (a batch taken apart beside its annotation), `_axes` (sizes by name), `_fit`
(the two held against each other), `_node` (one node, run on shapes), `_check` (the whole graph).
"""
