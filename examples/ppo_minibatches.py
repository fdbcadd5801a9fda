"""Reinforcement learning whose minibatches are a stream, inside one compiled update.

Proximal policy optimisation (Schulman et al., 2017) on the cart and pole of Barto, Sutton and
Anderson (1983): sixty-four carts are pushed for 128 steps, then the policy learns from those 8,192
steps in four shuffled epochs of minibatches. The rollout is the data of a `dp.Stream` that is made
anew in every update, inside the user's own `jax.jit`: to the compiler it is an argument like any
other, the order is computed for the minibatch at hand, and no permutation is ever stored.

The reward is one for each step that the pole stays up, at most 500 in a row. The program fails if
the policy has not learned to balance.
"""

import argparse
import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

import dagrax.pure as dp

CARTS, STEPS, EPOCHS, MINIBATCH = 64, 128, 4, 1024
DISCOUNT, TRACE, CLIP, ENTROPY = 0.99, 0.95, 0.2, 0.01
LONGEST = 500

Batch = dict[str, Shaped[Array, "batch ..."]]


class Policy(eqx.Module):
    """The logits of pushing left or right, and the value of where the cart stands."""

    actor: eqx.nn.MLP
    critic: eqx.nn.MLP

    def __init__(self, key: PRNGKeyArray):
        actor, critic = jax.random.split(key)
        self.actor = eqx.nn.MLP(4, 2, 32, 2, activation=jnp.tanh, key=actor)
        self.critic = eqx.nn.MLP(4, 1, 32, 2, activation=jnp.tanh, key=critic)

    def __call__(self, where: Float[Array, "4"]) -> tuple[Float[Array, "2"], Float[Array, ""]]:
        return self.actor(where), self.critic(where)[0]


class Carts(NamedTuple):
    """Position, speed, angle and its speed of each cart; and for how long its pole has stood."""

    where: Float[Array, "carts 4"]
    age: Int[Array, " carts"]


class Training(NamedTuple):
    """All that an update changes."""

    policy: Policy
    memory: optax.OptState
    carts: Carts
    key: PRNGKeyArray


def upright(key: PRNGKeyArray) -> Carts:
    """Carts that stand almost still."""
    where = jax.random.uniform(key, (CARTS, 4), minval=-0.05, maxval=0.05)
    return Carts(where, jnp.zeros(CARTS, jnp.int32))


def push(
    carts: Carts, right: Int[Array, " carts"], key: PRNGKeyArray
) -> tuple[Carts, Bool[Array, " carts"], Int[Array, " carts"]]:
    """A fiftieth of a second later: the carts, which of them have fallen, and their ages before
    those that had fallen, or had stood long enough, were set upright."""
    _, speed, angle, turning = carts.where.T
    force = jnp.where(right == 1, 10.0, -10.0)
    # A pole of half a metre to its middle and 0.1 kg, on a cart of 1 kg.
    push = (force + 0.05 * turning**2 * jnp.sin(angle)) / 1.1
    twist = (9.8 * jnp.sin(angle) - jnp.cos(angle) * push) / (
        0.5 * (4 / 3 - 0.1 * jnp.cos(angle) ** 2 / 1.1)
    )
    pull = push - 0.05 * twist * jnp.cos(angle) / 1.1
    moved = jnp.stack([speed, pull, turning, twist], axis=1)
    where, age = carts.where + 0.02 * moved, carts.age + 1
    fallen = (jnp.abs(where[:, 0]) > 2.4) | (jnp.abs(where[:, 2]) > 12 * jnp.pi / 180)
    done = fallen | (age >= LONGEST)
    fresh = upright(key)
    after = Carts(jnp.where(done[:, None], fresh.where, where), jnp.where(done, fresh.age, age))
    return after, done, age


def rollout(training: Training, key: PRNGKeyArray) -> tuple[Carts, dict[str, Array]]:
    """What the carts met in some steps, each field of shape `(steps, carts, ...)`."""

    def tick(carts: Carts, key: PRNGKeyArray) -> tuple[Carts, dict[str, Array]]:
        choose, reset = jax.random.split(key)
        logits, value = jax.vmap(training.policy)(carts.where)
        action = jax.random.categorical(choose, logits)
        after, done, age = push(carts, action, reset)
        said = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=1)[:, 0]
        met = {"where": carts.where, "action": action, "said": said, "value": value}
        return after, {**met, "done": done, "age": age}

    return jax.lax.scan(tick, training.carts, jax.random.split(key, STEPS))


def with_advantages(
    met: dict[str, Array], last: Float[Array, " carts"]
) -> dict[str, Float[Array, "steps carts ..."]]:
    """With generalised advantages (Schulman et al., 2016), and the returns that they amount to."""

    def back(
        later: tuple[Array, Array], step: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], Array]:
        (advantage, following), (value, done) = later, step
        goes_on = 1.0 - done.astype(jnp.float32)
        surprise = 1.0 + DISCOUNT * following * goes_on - value
        advantage = surprise + DISCOUNT * TRACE * goes_on * advantage
        return (advantage, value), advantage

    start = (jnp.zeros_like(last), last)
    _, advantage = jax.lax.scan(back, start, (met["value"], met["done"]), reverse=True)
    return {**met, "advantage": advantage, "return": advantage + met["value"]}


def standardised(batch: Batch) -> Batch:
    """A stage: the advantages of a minibatch with mean 0 and deviation 1."""
    advantage = batch["advantage"]
    return {**batch, "advantage": (advantage - advantage.mean()) / (advantage.std() + 1e-8)}


def loss(policy: Policy, batch: Batch) -> Float[Array, ""]:
    """The clipped objective, the error of the values, and a bonus for undecided policies."""
    logits, value = jax.vmap(policy)(batch["where"])
    says = jax.nn.log_softmax(logits)
    now = jnp.take_along_axis(says, batch["action"][:, None], axis=1)[:, 0]
    ratio = jnp.exp(now - batch["said"])
    clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
    gain = jnp.minimum(ratio * batch["advantage"], clipped * batch["advantage"]).mean()
    error = ((value - batch["return"]) ** 2).mean()
    undecided = -(jnp.exp(says) * says).sum(axis=1).mean()
    return 0.5 * error - gain - ENTROPY * undecided


optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3))
minibatches = dp.Pipeline.linear([standardised])


@eqx.filter_jit
def update(training: Training) -> tuple[Training, Float[Array, ""]]:
    """Push the carts, then learn from what they met. Also for how long poles stood that fell."""
    key, acting, order = jax.random.split(training.key, 3)
    carts, met = rollout(training, acting)
    last = jax.vmap(training.policy)(carts.where)[1]
    steps = jax.tree.map(
        lambda x: x.reshape(STEPS * CARTS, *x.shape[2:]), with_advantages(met, last)
    )
    stream = dp.Stream(dp.ArraySource(steps), dp.Shuffled(order), batch_size=MINIBATCH)

    def learn(
        carry: tuple[Policy, optax.OptState], batch: Any
    ) -> tuple[tuple[Policy, optax.OptState], None]:
        policy, memory = carry
        slopes = eqx.filter_grad(loss)(policy, batch)
        changes, memory = optimizer.update(slopes, memory)
        return (eqx.apply_updates(policy, changes), memory), None

    _, (policy, memory), _ = dp.scan(
        learn,
        (training.policy, training.memory),
        minibatches,
        stream,
        stream.start(),
        length=EPOCHS * stream.steps_per_epoch,
    )
    lived = jnp.sum(met["age"] * met["done"]) / jnp.maximum(1, met["done"].sum())
    return Training(policy, memory, carts, key), lived


def main() -> None:
    """Learn, and show that it was learned."""
    parser = argparse.ArgumentParser(description="Learn to balance a pole.")
    parser.add_argument("--updates", type=int, default=60)
    updates = parser.parse_args().updates
    start = time.perf_counter()
    made, upright_key, key = jax.random.split(jax.random.key(0), 3)
    policy = Policy(made)
    memory = optimizer.init(eqx.filter(policy, eqx.is_array))
    training = Training(policy, memory, upright(upright_key), key)
    history = []
    for index in range(updates):
        training, lived = update(training)
        history.append(float(lived))
        if index % 10 == 0 or index == updates - 1:
            print(f"update {index:3d}: poles that fell had stood for {history[-1]:5.0f} steps")
    steps = updates * STEPS * CARTS
    print(f"{steps} steps and {time.perf_counter() - start:.0f} s later: ", end="")
    late = sum(history[-10:]) / 10
    assert late > 5 * history[0], f"after {late:.0f} steps poles still fall"
    print("it balances")


if __name__ == "__main__":
    main()
