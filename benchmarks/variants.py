"""K variants in one program against K runs of one pipeline, and against the peer datarax.

2,048 images of 28x28 uint8, shuffled, batch 64, an epoch: a light augmentation (brightness) and a
heavy one (noise of its own for every variant) delivered batch by batch, and an MLP trained in a
`scan`. The runs one by one use one compiled program, into which each variant's values are put.
Then the memory of 64 variants over a source of 100 MB, in processes of their own.
"""

import collections
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rounds import Bound, Report, medians, peak_megabytes, print_peak

from dagrax.nnx_api import MemorySource, MemorySourceConfig, NoiseOperator, Pipeline, stack

RECORDS, BATCH, HIDDEN = 2048, 64, 64
COUNTS = (1, 4, 16, 64)
TX = optax.sgd(1e-2)


class Brighten(nnx.Module):
    """Bring images to [0, 1] and add a strength."""

    def __init__(self, strength: float):
        self.strength = nnx.Param(jnp.float32(strength))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        image = batch["image"].astype(jnp.float32) / 255
        return {**batch, "image": image + self.strength[...]}


class Classifier(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(28 * 28, HIDDEN, rngs=rngs)
        self.logits = nnx.Linear(HIDDEN, 10, rngs=rngs)

    def __call__(self, image: Any) -> Any:
        return self.logits(nnx.relu(self.hidden(image.reshape(len(image), -1))))


def loss_of(model: Classifier, batch: dict[str, Any]) -> Any:
    logits = model(batch["image"])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()


def train_step(model: Classifier, optimizer: Any, batch: dict[str, Any]) -> Any:
    loss, gradients = nnx.value_and_grad(loss_of)(model, batch)
    optimizer.update(model, gradients)
    return loss


def make_source() -> MemorySource:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (RECORDS, 28, 28), dtype=np.uint8)
    data = {"image": image, "label": rng.integers(0, 10, RECORDS, dtype=np.int32)}
    return MemorySource(MemorySourceConfig(shuffle=True), data=data, rngs=nnx.Rngs(0))


def make_pipeline(source: MemorySource, heavy: bool, index: int) -> Pipeline:
    strength = 0.01 * index
    stages = [Brighten(strength), NoiseOperator(strength)] if heavy else [Brighten(strength)]
    return Pipeline(source=source, stages=stages, batch_size=BATCH, rngs=nnx.Rngs(index))


def make_training(index: int) -> tuple[Classifier, Any]:
    model = Classifier(nnx.Rngs(index))
    return model, nnx.Optimizer(model, TX, wrt=nnx.Param)


def delivered(pipeline: Pipeline) -> Any:
    return collections.deque(pipeline, maxlen=1)[0]


def trained(pipeline: Pipeline, modules: tuple[Any, ...]) -> Any:
    return pipeline.scan(train_step, length=len(pipeline), modules=modules)


def contestants(workload: str, count: int) -> dict[str, Callable[[], Any]]:
    source = make_source()
    heavy, training = workload == "heavy", workload == "train"
    pipelines = [make_pipeline(source, heavy, index) for index in range(count)]
    together, alone = Pipeline.variants(pipelines), make_pipeline(source, heavy, 0)
    states = [nnx.state(pipeline, nnx.Param) for pipeline in pipelines]
    if not training:
        return {
            "together": lambda: delivered(together),
            "one by one": lambda: [_with(alone, state, delivered) for state in states],
        }
    pairs = [make_training(index) for index in range(count)]
    models, optimizers = (stack(modules) for modules in zip(*pairs, strict=True))
    model, optimizer = make_training(0)
    weights = [nnx.state(pair) for pair in pairs]

    def one(state: Any, weight: Any) -> Any:
        nnx.update((model, optimizer), weight)
        return _with(alone, state, lambda pipeline: trained(pipeline, (model, optimizer)))

    return {
        "together": lambda: trained(together, (models, optimizers)),
        "one by one": lambda: [one(*both) for both in zip(states, weights, strict=True)],
    }


def _with(pipeline: Pipeline, state: Any, run: Callable[[Pipeline], Any]) -> Any:
    nnx.update(pipeline, state)
    return run(pipeline)


def peer(count: int) -> Callable[[], Any]:
    """datarax through `nnx.vmap`, as its users would stack modules: a light epoch."""
    from datarax.pipeline import Pipeline as PeerPipeline
    from datarax.sources import MemorySource as PeerSource
    from datarax.sources import MemorySourceConfig as PeerConfig

    data = make_source().pure()[0].data

    @nnx.vmap
    def make(strength: Any) -> Any:
        source = PeerSource(PeerConfig(), data=data, rngs=nnx.Rngs(0))
        return PeerPipeline(
            source=source, stages=[Brighten(strength)], batch_size=BATCH, rngs=nnx.Rngs(0)
        )

    stacked = make(0.01 * jnp.arange(count, dtype=jnp.float32))
    step = nnx.jit(nnx.vmap(lambda pipeline: pipeline.step()))

    def run() -> Any:
        for _ in range(RECORDS // BATCH):
            batch = step(stacked)
        return batch

    return run


def by_workload(report: Report) -> None:
    rows: list[list[Any]] = []
    for workload in ("light", "heavy", "train"):
        single = 0.0
        for count in COUNTS:
            seconds = medians(contestants(workload, count), report.rounds)
            each = seconds["together"] / count
            single = single or each
            ratio = seconds["together"] / seconds["one by one"]
            rows.append([workload, count, 1e3 * each, each / single, ratio])
    heads = ["workload", "K", "ms a variant", "/ K = 1", "together / one by one"]
    report.table("K variants in one program", heads, rows)


def against_peer(report: Report) -> None:
    if importlib.util.find_spec("datarax") is None:
        report.say("datarax is not installed (pip install '.[peers]'): no comparison with it.")
        return
    rows: list[list[Any]] = []
    for count in COUNTS:
        ours = contestants("light", count)["together"]
        seconds = medians({"dagrax": ours, "datarax": peer(count)}, report.rounds)
        both = [seconds["dagrax"], seconds["datarax"]]
        rows.append([count, *(1e3 * x for x in both), both[0] / both[1]])
    heads = ["K", "dagrax, shuffled, ms", "datarax, unshuffled, ms", "ratio"]
    report.table("Light, against datarax", heads, rows)


# Memory.

FEATURES, VARIANTS = 1000, 64


class Affine(nnx.Module):
    """A stage with a state of some size."""

    def __init__(self, gain: float):
        self.gain = nnx.Param(jnp.full((FEATURES, 16), gain, jnp.float32))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"x": batch["x"] @ self.gain[...]}


def run_variants(megabytes: int) -> None:
    """A few steps and a short `scan` of 64 variants, over so many MB."""
    data = {"x": jnp.ones((megabytes * 250, FEATURES), jnp.float32)}
    source = MemorySource(MemorySourceConfig(shuffle=True), data=data, rngs=nnx.Rngs(0))
    together = Pipeline.variants(
        [
            Pipeline(
                source=source,
                stages=[Affine(i)],
                batch_size=BATCH,
                rngs=nnx.Rngs(i),
                remainder="carry",
            )
            for i in range(VARIANTS)
        ]
    )
    for _ in range(3):
        jax.block_until_ready(together.step())
    jax.block_until_ready(together.scan(lambda batch: batch["x"].sum(), length=20))


def memory(report: Report) -> None:
    small, large = (peak_megabytes(__file__, "peak", str(size)) for size in (1, 101))
    more = (large - small) / 100
    report.table(
        f"Peak memory of {VARIANTS} variants, MB",
        ["over 1 MB of data", "over 101 MB", "more / 100 MB"],
        [[round(small), round(large), more]],
        [Bound(f"memory that data take with {VARIANTS} variants / the data", 1.2, more)],
    )


def main() -> None:
    report = Report("variants", str(__doc__), rounds=11, peers=["datarax"])
    report.say(str(__doc__))
    by_workload(report)
    against_peer(report)
    memory(report)
    report.save()


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        run_variants(int(sys.argv[2]))
        print_peak()
    else:
        main()
