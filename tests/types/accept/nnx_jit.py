"""Methods under `nnx.jit` keep their parameters and results: `typing_stubs/` sees to it."""

from typing import assert_type

import optax
from flax import nnx
from jaxtyping import Array, Float

from dagrax.nnx_api import MemorySource, Pipeline
from tests.types.records import IMAGE, LABEL, Labelled


class Model(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(3, 2, rngs=rngs)

    @nnx.jit
    def __call__(self, batch: Labelled) -> Float[Array, "batch 2"]:
        return self.linear(batch["image"].mean(axis=(1, 2)))


class Shade(nnx.Module):
    """A stage."""

    @nnx.jit
    def __call__(self, batch: Labelled) -> Labelled:
        return {"image": batch["image"] / 2, "label": batch["label"]}


class Trainer(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.model = Model(rngs)
        self.optimizer = nnx.Optimizer(self.model, optax.sgd(0.1), wrt=nnx.Param)

    @nnx.jit
    def fit(self, batch: Labelled) -> Float[Array, ""]:
        loss: Array
        loss, gradients = nnx.value_and_grad(loss_of)(self.model, batch)
        self.optimizer.update(self.model, gradients)
        return loss

    @nnx.jit(static_argnames="mean")
    def losses(self, batch: Labelled, *, mean: bool = False) -> Float[Array, "..."]:
        each = cross_entropy(self.model(batch), batch)
        return each.mean() if mean else each

    @nnx.jit
    def epoch(self, pipeline: Pipeline[Labelled, Labelled]) -> Float[Array, " steps"]:
        return pipeline.scan(Trainer.fit, length=2, modules=(self,))


def cross_entropy(logits: Float[Array, "batch 2"], batch: Labelled) -> Float[Array, " batch"]:
    each: Array = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    return each


def loss_of(model: Model, batch: Labelled) -> Float[Array, ""]:
    return cross_entropy(model(batch), batch).mean()


@nnx.jit
def evaluate(trainer: Trainer, batch: Labelled) -> Float[Array, ""]:
    return loss_of(trainer.model, batch)


pipeline = Pipeline[Labelled, Labelled](
    source=MemorySource[Labelled](data={"image": IMAGE, "label": LABEL}),
    stages=[Shade()],
    batch_size=4,
    rngs=nnx.Rngs(0),
)
trainer, batch = Trainer(nnx.Rngs(0)), pipeline.step()

assert_type(Shade()(batch), Labelled)
assert_type(trainer.model(batch), Array)
assert_type(trainer.fit(batch), Array)
assert_type(Trainer.fit(trainer, batch), Array)
assert_type(trainer.losses(batch, mean=True), Array)
assert_type(trainer.epoch(pipeline), Array)
assert_type(evaluate(trainer, batch), Array)
assert_type(nnx.jit(loss_of)(trainer.model, batch), Array)

assert trainer.losses(batch).shape == (4,)
assert trainer.losses(batch, mean=True).shape == ()
assert trainer.epoch(pipeline).shape == (2,)
