"""WHAT IS COMPUTED: a schedule of named nodes, the stages they stand for, and how they are run.

`_schedule` is the graph alone, `_stage` what a stage declares, `_pipeline` both together, a pytree;
`_evaluate` maps a batch to the outputs of its nodes. Who made a NaN is found by `_finite`, node by
node, and told by `_refused`. Nothing here knows where batches come from.
"""
