"""What comes before the first batch: the import, and the first call of a graph or a wide table.

The first call traces and compiles. By hand it is one jitted function with the same 30 operations,
over a permutation table that is compiled too; every round is a process of its own. The import is
what `import dagrax.nnx_api` takes in a process that has imported flax, equinox and beartype, once
its bytecode is written. The wide table has 200 columns of float32, which come in batches of 64 or
of 256.
"""

import os
import subprocess
import sys
import time
from typing import Any

from rounds import Bound, Report, spread

NODES, BATCH, RECORDS, COLUMNS = 30, 64, 6400, 200


def first_by_hand() -> float:
    import jax
    import jax.numpy as jnp

    data, weights = {"x": make_data()}, [jnp.float32(1)] * NODES
    warm_up()
    start = time.perf_counter()

    @jax.jit
    def order_of(key: Any) -> Any:
        return jax.random.permutation(key, RECORDS)

    @jax.jit
    def batch_at(data: Any, order: Any, step: Any, weights: Any) -> Any:
        ids = jax.lax.dynamic_slice(order, (step * BATCH,), (BATCH,))
        outputs = [{"x": data["x"].at[ids].get(mode="promise_in_bounds")}]
        for node, weight in enumerate(weights):
            left, right = outputs[node], outputs[max(node - 2, 0)]
            outputs.append({"x": jnp.tanh(left["x"] * weight) + right["x"]})
        return outputs[-1]

    data = {"x": jnp.asarray(data["x"])}
    order = order_of(jax.random.key(0))
    jax.block_until_ready(batch_at(data, order, 0, weights))
    return time.perf_counter() - start


def first_of_dagrax(*, construct: bool) -> float:
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline

    class Mix(nnx.Module):
        def __init__(self) -> None:
            self.weight = nnx.Param(jnp.float32(1))

        def __call__(self, left: Any, right: Any = None) -> Any:
            right = left if right is None else right
            return {"x": jnp.tanh(left["x"] * self.weight[...]) + right["x"]}

    data = {"x": make_data()}
    nodes = {f"node_{i}": Mix() for i in range(NODES)}
    edges: dict[str, list[str]] = {"node_0": [], "node_1": ["node_0"]}
    edges |= {f"node_{i}": [f"node_{i - 1}", f"node_{i - 2}"] for i in range(2, NODES)}
    warm_up()
    start = time.perf_counter()
    source: MemorySource[Any] = MemorySource(
        MemorySourceConfig(shuffle=True), data=data, rngs=nnx.Rngs(0)
    )
    pipeline: Pipeline[Any, Any] = Pipeline.from_dag(
        source=source,
        nodes=nodes,
        edges=edges,
        sink=f"node_{NODES - 1}",
        batch_size=BATCH,
        rngs=nnx.Rngs(0),
    )
    if not construct:
        start = time.perf_counter()
    jax.block_until_ready(pipeline.step())
    return time.perf_counter() - start


def first_of_columns(batch_size: int) -> float:
    import jax
    import numpy as np
    from flax import nnx

    from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline

    data = {f"column_{i}": np.ones(RECORDS, np.float32) for i in range(COLUMNS)}
    source: MemorySource[Any] = MemorySource(
        MemorySourceConfig(shuffle=True), data=data, rngs=nnx.Rngs(0)
    )
    pipeline: Pipeline[Any, Any] = Pipeline(
        source=source,
        stages=[lambda batch: {name: x * 2 for name, x in batch.items()}],
        batch_size=batch_size,
        rngs=nnx.Rngs(0),
    )
    warm_up()
    start = time.perf_counter()
    jax.block_until_ready(pipeline.step())
    return time.perf_counter() - start


def make_data() -> Any:
    import numpy as np

    return np.ones((RECORDS, 32), np.float32)


def warm_up() -> None:
    """What the first use of JAX in a process costs, whatever it is used for."""
    import jax
    import jax.numpy as jnp

    jax.block_until_ready(jax.jit(lambda x: jnp.tanh(x))(jnp.ones((BATCH, 32))))


def import_alone() -> float:
    import beartype  # noqa: F401
    import equinox  # noqa: F401
    import flax.nnx  # noqa: F401

    start = time.perf_counter()
    import dagrax.nnx_api  # noqa: F401

    return time.perf_counter() - start


MODES = {
    "by hand: first call": first_by_hand,
    "dagrax: first step": lambda: first_of_dagrax(construct=False),
    "dagrax: constructor, checks, first step": lambda: first_of_dagrax(construct=True),
    "import dagrax.nnx_api, beyond flax, equinox, beartype": import_alone,
    "200 columns, batch 64": lambda: first_of_columns(64),
    "200 columns, batch 256": lambda: first_of_columns(256),
}
COLUMNAR = {"200 columns, batch 64": 64, "200 columns, batch 256": 256}


def in_process(mode: str) -> float:
    """Seconds that a mode prints when it runs as a process of its own."""
    env = {name: x for name, x in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run(
        [sys.executable, __file__, mode], capture_output=True, text=True, check=True, env=env
    )
    return float(run.stdout)


def main() -> None:
    report = Report("startup", str(__doc__), rounds=9)
    report.say(str(__doc__))
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    in_process("import dagrax.nnx_api, beyond flax, equinox, beartype")  # writes the bytecode
    for _ in range(report.rounds):
        for mode in MODES:
            seconds[mode].append(in_process(mode))
    medians = {mode: spread(values) for mode, values in seconds.items()}
    ms = {mode: median * 1e3 for mode, (_, median, _) in medians.items()}
    spans = {
        mode: f"{low * 1e3:.0f} to {high * 1e3:.0f}" for mode, (low, _, high) in medians.items()
    }
    hand, step, whole, imported, narrow, wide = MODES
    report.table(
        "Before the first batch",
        ["", "ms", "quartiles", "/ by hand"],
        [
            [mode, ms[mode], spans[mode], ms[mode] / ms[hand]]
            for mode in MODES
            if mode not in COLUMNAR
        ],
        [
            Bound("first step of 30 nodes / first call by hand", 1.3, ms[step] / ms[hand]),
            Bound("constructor and first step of 30 nodes / by hand", 1.3, ms[whole] / ms[hand]),
            Bound("import, beyond flax, equinox and beartype, ms", 100, ms[imported]),
        ],
    )
    report.table(
        f"The first step of {COLUMNS} columns",
        ["batch", "ms", "quartiles", "/ batch 256"],
        [[COLUMNAR[mode], ms[mode], spans[mode], ms[mode] / ms[wide]] for mode in COLUMNAR],
        [Bound(f"first step of {COLUMNS} columns, batch 64 / 256", 1.5, ms[narrow] / ms[wide])],
    )
    report.save()


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in MODES:
        print(MODES[sys.argv[1]]())
    else:
        main()
