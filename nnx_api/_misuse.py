"""How here is written what other libraries have a keyword for; told to who uses theirs.

Each table is of one function. That a call does not fit is seen in `dagrax.pure`.
"""

from types import MappingProxyType

_SEED = "write rngs=nnx.Rngs(0)"
_DROP = 'write remainder="drop"'
_STAGES = "write stages=[…]"
_THREADS = (
    "nothing is read by workers: records on disk are read ahead, "
    "by HostSource(source=host.RandomAccessSource(dataset, threads=4)) in several threads"
)
_BATCHES = "batches are made by the pipeline: Pipeline(source=…, batch_size=32)"

_SHARED = MappingProxyType(
    {
        **dict.fromkeys(("seed", "key", "rng", "random_state"), _SEED),
        **dict.fromkeys(("num_workers", "workers", "prefetch", "worker_count"), _THREADS),
    }
)
_OF_BATCHES = MappingProxyType(
    {
        **_SHARED,
        **dict.fromkeys(("drop_remainder", "drop_last"), _DROP),
        **dict.fromkeys(("data", "dataset"), "write source=MemorySource(data=…)"),
        "shuffle": "the source shuffles: MemorySource(data=…, shuffle=True, rngs=nnx.Rngs(0))",
        "order": "the source has the order: MemorySource(data=…, order=…)",
    }
)
_OTHER_STAGES = ("transforms", "transform", "operations", "operators", "ops", "map")
PIPELINE = MappingProxyType(
    {
        **_OF_BATCHES,
        **dict.fromkeys(_OTHER_STAGES, _STAGES),
        **dict.fromkeys(
            ("nodes", "edges", "sink"), "a graph is Pipeline.from_dag(nodes=…, edges=…, sink=…)"
        ),
    }
)
GRAPH = MappingProxyType(
    {**_OF_BATCHES, "stages": "a row of stages is Pipeline(source=…, stages=[…])"}
)
ARRAYS = MappingProxyType(
    {
        **_OF_BATCHES,
        **dict.fromkeys(_OTHER_STAGES, _STAGES),
        "source": "with a source it is Pipeline(source=…, stages=[…])",
        "order": "write Pipeline(source=MemorySource(data=…, order=…))",
    }
)
SOURCE = MappingProxyType(
    {
        **_SHARED,
        **dict.fromkeys(("batch_size", "remainder", "drop_last", "drop_remainder"), _BATCHES),
    }
)
_OWN_ORDER = (
    "a view has the order of the whole; one of its own goes to "
    "ArraySource(source=view.pure()[0], order=…)"
)
SPLIT = MappingProxyType(
    {
        **dict.fromkeys(("order", "shuffle"), _OWN_ORDER),
        **dict.fromkeys(("seed", "rngs"), "write key=jax.random.key(0)"),
    }
)
_MODULES = "write modules=(model, optimizer), which the step function takes before the batch"
SCAN = MappingProxyType(
    {
        **dict.fromkeys(("model", "models", "module", "optimizer", "state"), _MODULES),
        **dict.fromkeys(("carry", "init"), "write init_carry=…"),
        **dict.fromkeys(("steps", "num_steps", "n"), "write length=…"),
        **dict.fromkeys(
            ("epochs", "num_epochs"), "a call is an epoch: for _ in range(3): pipeline.scan(…)"
        ),
    }
)
# What is no attribute of a pipeline.
CALLS = MappingProxyType(
    {
        **dict.fromkeys(("map", "apply"), "a stage does so: Pipeline(source=…, stages=[f])"),
        "filter": "choose the records of the source: source[mask], of a boolean for each record",
        "batch": "write pipeline.batch_size = 32",
        "shuffle": "the source shuffles: MemorySource(data=…, shuffle=True, rngs=nnx.Rngs(0))",
        "repeat": "an epoch is one `for` over it, and the next `for` is the next epoch",
        "take": "write itertools.islice(pipeline, n), or pipeline.scan(step_fn, length=n)",
        "skip": "write pipeline.seek(offset=n)",
        "set_epoch": "write pipeline.seek(epoch=1)",
        "prefetch": "nothing is fetched: arrays lie on the device, and files are read ahead",
        **dict.fromkeys(("get_state", "set_state"), "a loop has it: iter(pipeline).get_state()"),
        **dict.fromkeys(
            ("state_dict", "load_state_dict", "save"),
            "write host.Checkpoints(directory).save(step, pipeline), or pipeline.checkpoint()",
        ),
    }
)
_JOINED = "write ArraySource(source=dp.{}([a.pure()[0], b.pure()[0]]))"
# What is no attribute of a source.
VERBS = MappingProxyType(
    {
        "take": "write source[:n]",
        "skip": "write source[n:]",
        **dict.fromkeys(("filter", "where"), "write source[mask], of a boolean for each record"),
        "shard": "write Pipeline(source=…, shard=(index, count))",
        "shuffle": "write MemorySource(data=…, shuffle=True, rngs=nnx.Rngs(0))",
        **dict.fromkeys(("map", "apply"), "a stage does so: Pipeline(source=…, stages=[f])"),
        "batch": "write Pipeline(source=…, batch_size=32)",
        "repeat": "an epoch is one `for` over a pipeline, and the next `for` is the next epoch",
        **dict.fromkeys(("concat", "concatenate"), _JOINED.format("Concat")),
        "zip": _JOINED.format("Zip"),
        "reorder": _OWN_ORDER,
    }
)
HOSTED = MappingProxyType({**SOURCE, "data": "write source=…, or MemorySource(data=…) for arrays"})
