"""The minibatches of a rollout, inside a user's own jitted update; and blocks beside one scan.

A rollout of 65,536 steps is data of one update of a policy of two layers: 4 epochs of 32 shuffled
minibatches, each a step of SGD. By hand, each epoch makes a `jax.random.permutation` and takes its
rows by it; here, the rollout is a `dp.Stream` that is made anew inside `jax.jit`, and is scanned.
The whole program is timed. Below, 2,000 training steps of batch 64 as one `pipeline.scan`, and as
`pipeline.blocks` of 100.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rounds import Bound, Report, measure

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, Pipeline

MANY, EPOCHS, MINIBATCHES = 65_536, 4, 32
SIZE = MANY // MINIBATCHES
STEPS, EVERY, BATCH = 2_000, 100, 64


def learn(policy: Any, batch: Any) -> tuple[Any, Any]:
    """One step of a policy that is carried on."""

    def loss(policy: Any) -> Any:
        first, second = policy
        out = jnp.tanh(batch["seen"] @ first) @ second
        chosen = jnp.take_along_axis(jax.nn.log_softmax(out), batch["action"][:, None], axis=1)
        ratio = jnp.exp(chosen[:, 0] - batch["said"])
        return -jnp.minimum(ratio * batch["gain"], jnp.clip(ratio, 0.8, 1.2) * batch["gain"]).mean()

    value, slopes = jax.value_and_grad(loss)(policy)
    return jax.tree.map(lambda x, slope: x - 0.01 * slope, policy, slopes), value


@jax.jit
def by_hand(policy: Any, rollout: Any, key: Any) -> Any:
    def epoch(policy: Any, key: Any) -> Any:
        order = jax.random.permutation(key, MANY)
        rows = jax.tree.map(
            lambda x: jnp.take(x, order, axis=0).reshape(MINIBATCHES, SIZE, *x.shape[1:]), rollout
        )
        return jax.lax.scan(learn, policy, rows)

    return jax.lax.scan(epoch, policy, jax.random.split(key, EPOCHS))


@jax.jit
def streamed(policy: Any, rollout: Any, key: Any) -> Any:
    source, order = dp.ArraySource(rollout), dp.Shuffled(key)
    stream = dp.Stream(source, order, batch_size=SIZE, remainder="drop")
    _, policy, losses = dp.scan(
        learn,
        policy,
        dp.Pipeline.linear([]),
        stream,
        stream.start(),
        length=EPOCHS * MINIBATCHES,
    )
    return policy, losses


def updates() -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(0)
    numbers = {
        "seen": rng.normal(size=(MANY, 8)),
        "said": -rng.random(MANY),
        "gain": rng.normal(size=MANY),
    }
    rollout = {name: jnp.asarray(x, jnp.float32) for name, x in numbers.items()}
    rollout["action"] = jnp.asarray(rng.integers(0, 4, MANY), jnp.int32)
    policy = tuple(jnp.asarray(rng.normal(size=s) / 4, jnp.float32) for s in ((8, 64), (64, 4)))
    key = jax.random.key(0)
    return {
        "by hand": lambda: by_hand(policy, rollout, key),
        "dagrax": lambda: streamed(policy, rollout, key),
    }


def train(model: Any, optimizer: Any, batch: Any) -> Any:
    def loss(model: Any) -> Any:
        logits = model(batch["x"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean()

    value, slopes = nnx.value_and_grad(loss)(model)
    optimizer.update(model, slopes)
    return value


def loops() -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(0)
    data = {"x": rng.random((64 * BATCH, 64), np.float32), "y": np.zeros(64 * BATCH, np.int32)}
    source = MemorySource(data=data, shuffle=True, rngs=nnx.Rngs(0))
    pipeline = Pipeline(source=source, batch_size=BATCH)
    layers = (
        nnx.Linear(64, 128, rngs=nnx.Rngs(0)),
        nnx.relu,
        nnx.Linear(128, 10, rngs=nnx.Rngs(1)),
    )
    model = nnx.Sequential(*layers)
    modules = model, nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    return {
        "scan": lambda: pipeline.scan(train, length=STEPS, modules=modules),
        "blocks": lambda: list(pipeline.blocks(train, every=EVERY, length=STEPS, modules=modules)),
    }


def main() -> None:
    report = Report("minibatches", str(__doc__), rounds=15)
    report.say(str(__doc__))
    update, loop = (measure(runs, report.rounds) for runs in (updates(), loops()))
    ratio = update["dagrax"].median / update["by hand"].median
    rows = [["update", *(1e3 * update[x].median for x in ("by hand", "dagrax")), ratio]]
    bound = Bound("update of minibatches / by hand", 1.0, ratio)
    report.table("Minibatches", ["", "by hand, ms", "dagrax, ms", "ratio"], rows, [bound])
    ratio = loop["blocks"].median / loop["scan"].median
    rows = [[f"{STEPS} steps", *(1e3 * loop[x].median for x in ("scan", "blocks")), ratio]]
    bound = Bound("blocks of 100 / scan", 1.02, ratio)
    report.table("Blocks", ["", "scan, ms", "blocks, ms", "ratio"], rows, [bound])
    report.save()


if __name__ == "__main__":
    main()
