"""WHAT A STAGE DOES to one record: functions of its arrays, without a batch axis, state or flax.

An image is `h w c` in [0, 1]; a random function takes `key`, and draws from nothing else. Modules
around them stand in `dagrax.nnx_api.operators`; mapped over a batch, they are stages of the core:
`dp.per_record(lambda record: {**record, "image": ops.invert(record["image"])})`.
"""

# isort: off
