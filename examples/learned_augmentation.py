"""Which augmentation, and how much of it: a policy learned by the gradient of whole trainings.

The data are 100 of the handwritten digits of 8 by 8 pixels that ship with scikit-learn. A record
goes through two `SoftChoice`s: of motions (nothing, a translation, a rotation, an elastic warp, or
a flip, which suits photographs and spoils digits), and of nothing or noise. How likely each arm is
and how strong: that is the policy, Params of the pipeline.

As in Maclaurin et al., 2015 (Gradient-based hyperparameter optimization through reversible
learning) a whole training, from the first draw to the mistakes of the network that comes out, is
one scan, differentiated backwards by all numbers of the policy at once. (One number is learned
forwards in examples/augmentation_search.py.) A choice that has a gradient is as in DADA (Li et
al., 2020), which looks one step ahead where this looks to the end.

It is held against a grid: each arm alone at three strengths, the best taken by validation. These
are `SoftChoice`s with other weights, so that all policies, each with five seeds for weights and
draws, are variants of one program.
"""

import argparse
import time
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Shaped
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from dagrax.nnx_api import Element, MemorySource, Pipeline, stack
from dagrax.nnx_api import operators as op
from dagrax.pure import fast_key

Batch = dict[str, Shaped[Array, "batch ..."]]
# Weights, and logarithms of strengths, which are positive and have units of their own.
Policy: TypeAlias = tuple[nnx.State, nnx.State]  # type: ignore[type-arg]
# The accuracies of a policy's networks in per cent: of validation, and of test.
Scores: TypeAlias = dict[str, Float[np.ndarray, "2 seeds"]]

RECORDS = 100  # for training
STEPS, EPOCHS = 14, 300  # of the descent, and of a training
SEEDS = range(5)  # of the comparison
PAIR = 2  # networks whose mean loss a step of the descent looks at
TEMPERATURE, RATE = 0.5, 0.25  # of the choices, and of the descent
ARMS = {"translation": (1, 0), "rotation": (2, 0), "elastic": (3, 0), "noise": (0, 1)}
NAMES = ("nothing", "translation", "rotation", "elastic", "flip"), ("no noise", "noise")
WEIGHTS = nnx.PathContains("weights")
STRENGTHS = nnx.Any(*map(nnx.PathContains, ("x", "y", "degrees", "alpha", "std")))
COLOURS = {"nothing": "gray", "translation": "C0", "rotation": "C1", "elastic": "C2"}
COLOURS |= {"noise": "C5", "flip": "C4", "all": "black"}
# The root of zero has no derivative: `eps_root` keeps Adam differentiable.
ADAM = optax.adam(5e-3, eps_root=1e-8)


class Network(nnx.Module):
    """Two linear layers with a smooth function between, for slopes that last a whole training."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(64, 128, rngs=rngs)
        self.last = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, image: Float[Array, "batch 8 8 1"]) -> Float[Array, "batch 10"]:
        return self.last(nnx.tanh(self.first(image.reshape(len(image), 64))))


Learners: TypeAlias = tuple[Network, nnx.Optimizer[Network]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn an augmentation by gradient.")
    parser.add_argument("--steps", type=int, default=STEPS, help="the steps of the descent")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="the epochs of each training")
    parser.add_argument("--out", type=Path, default=Path(), help="for learned_augmentation.png")
    arguments = parser.parse_args()
    # In the full precision of float32 on accelerators too, for what is compared below.
    jax.config.update("jax_default_matmul_precision", "highest")
    train, validation, test = load()
    source = MemorySource(data=train, shuffle=True, rngs=nnx.Rngs(0))

    start = time.perf_counter()
    path, losses = descend(source, validation, arguments.steps, arguments.epochs // 2)
    print(f"Descent: {arguments.steps} steps, {time.perf_counter() - start:.1f} s; ", end="")
    print(f"mistakes in validation {losses[0]:.3f}, at the end {losses[-1]:.3f}", flush=True)
    for weights, names in zip(jax.tree.leaves(path[-1][0]), NAMES, strict=True):
        parts = 100 * jax.nn.softmax(weights)
        print("  ", ", ".join(f"{n} {p:.0f} %" for n, p in zip(names, parts, strict=True)))

    start = time.perf_counter()
    scores = compare(source, path[-1], (validation, test), arguments.epochs)
    print(f"\n{len(scores)} policies, {len(SEEDS)} seeds each: {time.perf_counter() - start:.1f} s")
    print(f"{'':16}{'validation':>14}{'test':>16}")
    for name, both in scores.items():
        print(f"{name:16}", *(f"  {x.mean():.2f} ± {x.std(ddof=1):.2f} %" for x in both))

    arguments.out.mkdir(parents=True, exist_ok=True)
    picture = arguments.out / "learned_augmentation.png"
    draw(source, path, scores).savefig(picture, dpi=150)
    print(f"\nThe descent, the accuracies and what the arms make of digits: {picture}")
    if arguments.steps < STEPS or arguments.epochs < EPOCHS:
        print("too short to be judged")
    else:
        judge(scores)


def judge(scores: Scores) -> None:
    """What is expected of the learned policy; AssertionError if it does not come true."""
    (validation, test), names = np.stack(list(scores.values())).mean(-1).T, list(scores)
    grid = slice(1, -2)
    best = names[grid][int(np.argmax(validation[grid]))]
    ahead = {name: test[-1] - test[names.index(name)] for name in ("nothing", "all alike", best)}
    print("Learned, on the test digits:", ", ".join(f"{ahead[n]:+.2f} % on {n}" for n in ahead))
    assert ahead[best] >= 0, f"{best}, the grid's best, is better than what was learned"
    assert ahead["nothing"] > 2, "what was learned is little better than no augmentation"
    assert ahead["all alike"] > 0, "what was learned is no better than where it began"


def load() -> list[Batch]:
    """Records for training, validation and testing."""
    pixels, label = load_digits(return_X_y=True)
    image = np.reshape(pixels, (-1, 8, 8, 1)).astype(np.float32) / 16
    number = np.random.default_rng(0).permutation(len(label))
    groups = np.split(number, [RECORDS, RECORDS + 800])
    return [{"image": jnp.asarray(image[n]), "label": jnp.asarray(label[n])} for n in groups]


def nothing(element: Element) -> Element:
    return element


def augmented(source: MemorySource, seed: int) -> Pipeline:
    """An ordinary pipeline, where the descent begins: each arm as likely, at moderate strengths."""
    motions = [
        op.Apply(nothing),
        op.RandomTranslation(0.05, 0.05),
        op.RandomRotation(15.0),
        op.RandomElastic(2.0, 2.0),
        op.RandomFlip(),
    ]
    noise = [op.Apply(nothing), op.GaussianNoise(0.1)]
    return Pipeline(
        source=source,
        stages=[op.SoftChoice(motions, TEMPERATURE), op.SoftChoice(noise, TEMPERATURE)],
        batch_size=RECORDS // 2,
        rngs=nnx.Rngs(fast_key(seed)),
    )


def policy_of(pipeline: Pipeline) -> Policy:
    """What is learned: each arm's weight, and the logarithms of strengths."""
    weights, strengths, _ = nnx.state(pipeline, WEIGHTS, STRENGTHS, ...)
    return weights, jax.tree.map(jnp.log, strengths)


def following(pipeline: Pipeline, policy: Policy) -> Pipeline:
    """The pipeline, with the same draws, by another policy."""
    copy = nnx.clone(pipeline)
    weights, logarithms = policy
    nnx.update(copy, weights, jax.tree.map(jnp.exp, logarithms))
    return copy


def alone(policy: Policy, arms: tuple[int, int], factor: float = 1.0) -> Policy:
    """A fixed policy: of each choice one arm, always, a factor stronger."""
    leaves, tree = jax.tree.flatten(policy[0])
    sure = [jnp.zeros_like(x).at[arm].set(30.0) for x, arm in zip(leaves, arms, strict=True)]
    return tree.unflatten(sure), jax.tree.map(lambda x: x + np.log(factor), policy[1])  # type: ignore[attr-defined]


def beginners(seeds: list[int]) -> Learners:
    """A stack of networks that have learned nothing, and their optimizers."""
    made = {seed: Network(rngs=nnx.Rngs(seed)) for seed in set(seeds)}
    optimizers = {s: nnx.Optimizer(network, ADAM, wrt=nnx.Param) for s, network in made.items()}
    return stack([made[seed] for seed in seeds]), stack([optimizers[seed] for seed in seeds])


def train_step(model: Network, optimizer: nnx.Optimizer[Network], batch: Batch) -> Any:
    """One step of one network on one batch: what `pipeline.scan` repeats, for all variants."""

    def mean_loss(model: Network) -> Float[Array, ""]:
        target = optax.smooth_labels(jax.nn.one_hot(batch["label"], 10), 0.1)
        return jnp.mean(optax.softmax_cross_entropy(model(batch["image"]), target))

    loss, gradients = nnx.value_and_grad(mean_loss)(model)
    optimizer.update(model, gradients)
    return loss


def mistakes(model: Network, batch: Batch) -> Float[Array, ""]:
    """The part that it does not recognise, made smooth: the loss of the descent. (Cross-entropy
    asks for the right confidence too, which augmentation changes.)"""
    believed = jax.nn.softmax(3 * model(batch["image"]))
    return 1 - jnp.mean(jnp.take_along_axis(believed, batch["label"][:, None], axis=1))


def accuracy(model: Network, batch: Batch) -> Float[Array, ""]:
    """How many records the network recognises, in per cent."""
    return 100 * jnp.mean(jnp.argmax(model(batch["image"]), axis=-1) == batch["label"])


@nnx.jit(static_argnums=4)
def slopes(
    policy: Policy, pipelines: Pipeline, learners: Learners, validation: Batch, epochs: int
) -> tuple[Float[Array, ""], Policy]:
    """The mean loss of networks trained by one policy, and its gradient, backwards through all."""

    def loss_after(policy: Policy) -> Float[Array, ""]:
        models, optimizers = nnx.clone(learners)
        copies = following(pipelines, jax.tree.map(lambda x: jnp.stack([x] * PAIR), policy))
        copies.scan(train_step, length=epochs * len(copies), modules=(models, optimizers))
        return jnp.mean(nnx.vmap(mistakes, in_axes=(0, None))(models, validation))

    result: tuple[Float[Array, ""], Policy] = jax.value_and_grad(loss_after)(policy)
    return result


def descend(
    source: MemorySource, validation: Batch, steps: int, epochs: int
) -> tuple[list[Policy], Float[np.ndarray, " steps"]]:
    """The policies on the way, and their losses; each step has new networks and new draws."""
    adam = optax.adam(optax.cosine_decay_schedule(RATE, steps), b1=0.8, b2=0.95)
    seeds = [100 + number for number in range(PAIR * steps)]  # none of the comparison
    pipelines = Pipeline.variants([augmented(source, seed) for seed in seeds[:PAIR]])
    policy = policy_of(augmented(source, 0))
    state, path, losses = adam.init(policy), [policy], []
    for step in range(steps):
        pipelines.seek(epoch=step * epochs)
        learners = beginners(seeds[PAIR * step :][:PAIR])
        loss, gradient = slopes(policy, pipelines, learners, validation, epochs)
        updates, state = adam.update(gradient, state)
        policy = jax.tree.map(jnp.add, policy, updates)
        path.append(policy)
        losses.append(loss)
    return path, np.asarray(losses)


def compare(
    source: MemorySource, learned: Policy, groups: tuple[Batch, Batch], epochs: int
) -> Scores:
    """Train by all policies: none, the grid, all arms alike, and what was learned, as variants."""
    first = [augmented(source, seed) for seed in SEEDS]
    alike = policy_of(first[0])
    policies = {"nothing": alone(alike, (0, 0))}
    for name, arms in ARMS.items():
        policies |= {f"{name} x{x:g}": alone(alike, arms, x) for x in (0.5, 1.0, 2.0)}
    policies |= {"all alike": alike, "learned": learned}

    together = Pipeline.variants([following(p, x) for x in policies.values() for p in first])
    models, optimizers = beginners([seed for _ in policies for seed in SEEDS])
    together.scan(train_step, length=epochs * len(together), modules=(models, optimizers))
    judged = nnx.jit(nnx.vmap(accuracy, in_axes=(0, None)))
    each = [np.asarray(judged(models, group)).reshape(len(policies), -1) for group in groups]
    return dict(zip(policies, np.stack(each, axis=1), strict=True))


def draw(source: MemorySource, path: list[Policy], scores: Scores) -> Figure:
    """The policy along the descent, the accuracies, and digits."""
    figure = Figure(figsize=(9, 9.5), layout="constrained")
    places: list[Any] = [["weights", "strengths"], ["rows", "rows"], ["digits", "digits"]]
    panels: Any = figure.subplot_mosaic(places, height_ratios=(1, 1.2, 1.1))
    parts = [[jax.nn.softmax(x) for x in jax.tree.leaves(weights)] for weights, _ in path]
    for names, lines in zip(NAMES, map(np.stack, zip(*parts, strict=True)), strict=True):
        for name, line in zip(names, 100 * lines.T, strict=True):
            if name in COLOURS:
                panels["weights"].plot(line, color=COLOURS[name], label=name)
    panels["weights"].set(title="How likely each arm is, in per cent", xlabel="step", ylim=(0, 110))
    panels["weights"].legend(fontsize=8, ncols=3, loc="upper center")

    # Those of x, y, degrees, alpha and std, in this order.
    logarithms = np.asarray([jax.tree.leaves(strengths) for _, strengths in path])
    names = ["translation", *ARMS]  # type: ignore[assignment]
    for name, line in zip(names, np.exp(logarithms - logarithms[0]).T, strict=True):
        panels["strengths"].plot(line, color=COLOURS[name])
    panels["strengths"].set(title="How strong, in its first strengths", xlabel="step")

    for place, (name, (_, test)) in enumerate(scores.items()):
        colour = COLOURS.get(name.split()[0], "C3")
        panels["rows"].plot(np.full(len(test), place), test, "o", color=colour, alpha=0.3)
        panels["rows"].errorbar(place, test.mean(), test.std(ddof=1), fmt="_", ms=14, color=colour)
    panels["rows"].axhline(scores["learned"][1].mean(), color="C3", ls="--", lw=1, zorder=0)
    panels["rows"].set_xticks(range(len(scores)), list(scores), rotation=35, ha="right")
    panels["rows"].set(title="Test accuracy, five seeds, with mean and spread", ylabel="per cent")
    fixed = {"as they are": (0, 0), **ARMS}
    shown = {name: alone(path[-1], arms) for name, arms in fixed.items()} | {"learned": path[-1]}
    pipeline = augmented(source, 0)
    variants = Pipeline.variants([following(pipeline, policy) for policy in shown.values()])
    images = np.pad(variants.step()["image"][:, :16, ..., 0], ((0, 0), (0, 0), (1, 1), (1, 1)))
    lines = [np.concatenate(list(batch), axis=1) for batch in images]  # type: ignore[assignment]
    panels["digits"].imshow(np.concatenate(lines), cmap="gray_r", vmin=0, vmax=1)
    panels["digits"].set_yticks(10 * np.arange(len(images)) + 4.5, list(shown))
    panels["digits"].set(title="Digits, and what is made of them at the end", xticks=[])
    panels["digits"].tick_params(length=0)
    return figure


if __name__ == "__main__":
    main()
