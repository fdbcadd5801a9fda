"""On an accelerator: draws of each record, variants, and operators on large images.

Images of 32x32x3 uint8 on the device, shuffled and brought to [0, 1], in a `scan` that sums each
batch: flipped, or with normal noise, by a key of each record. By hand that is a `lax.scan` over a
permutation table, with one key for a batch or one for each record. Then 64 variants in one program
against one after the other, as in variants.py; and operators of operators.py on 64 images of
224x224x3, some calls in a row, beside the same by hand. `--scale small` is for trying the script,
with `--anyway` on a CPU; its figures say nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import operators
import variants
from accelerator import SCALES, Case, Records, Runs, beside, records, rows, scan_in_core, stream_of
from peers import images_by_hand as hand
from rounds import Report, measure
from workloads import unit

import dagrax.pure as dp
from dagrax.nnx_api import operators as op

Work = tuple[str, Any, Callable[..., Any] | None]  # a name, what dagrax does it by, and by hand


def flip(image: Any, key: Any) -> Any:
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def noise(image: Any, key: Any) -> Any:
    return image + 0.1 * jax.random.normal(key, image.shape)


def flips(image: Any, key: Any) -> Any:
    return jnp.where(
        jax.random.bernoulli(key, shape=(len(image), 1, 1, 1)), image[:, :, ::-1], image
    )


DRAWS = {"flip": (flip, flips), "normal noise": (noise, noise)}  # of a record, of a batch


def drawn(given: Records, kind: str, size: int, most: int) -> Case:
    of_record, of_batch = DRAWS[kind]
    data, order = given.data["image"], given.order
    steps = min(most, len(order) // size)

    def by_hand(work: Callable[..., Any]) -> Callable[[], Any]:
        @jax.jit
        def scanned(data: Any, order: jax.Array, key: Any) -> Any:
            def tick(_: None, now: Any) -> Any:
                step, ids = now
                return None, work(unit(rows(data, ids)), ids, key, step).sum()

            table = order[: steps * size].reshape(steps, size)
            return jax.lax.scan(tick, None, (jnp.arange(steps), table))

        return lambda: scanned(data, order, jax.random.key(0))

    def one_key(image: Any, ids: Any, key: Any, step: Any) -> Any:
        return of_batch(image, jax.random.fold_in(key, step))

    def keys(image: Any, ids: Any, key: Any, step: Any) -> Any:
        return jax.vmap(of_record)(image, jax.vmap(partial(jax.random.fold_in, key))(ids))

    def stage(record: Any, *, key: Any) -> Any:
        return of_record(record, key)

    linear, stream = dp.Pipeline.linear([unit, dp.per_record(stage)]), stream_of(data, size)
    body = lambda carry, batch: (carry, batch.sum())  # noqa: E731
    by_key = partial(scan_in_core, linear, stream, steps, body, None)
    runs: Runs = {
        "by hand, a key a batch": by_hand(one_key),
        "by hand, a key a record": by_hand(keys),
        "`dp.per_record`": by_key(jax.random.key(0)),
        "`dp.per_record`, `dp.fast_key`": by_key(dp.fast_key(0)),
    }
    return f"{kind}, batch {size}", steps, runs


# Variants, and operators on large images


def in_variants(report: Report, count: int) -> None:
    steps = variants.RECORDS // variants.BATCH
    lines: list[list[Any]] = []
    for name, workload in {"light, by `for`": "light", "training, by `scan`": "train"}.items():
        seconds = measure(variants.contestants(workload, count), report.rounds)
        us = [seconds[way].median / steps / count * 1e6 for way in ("one by one", "together")]
        lines.append([name, *us, us[1] / us[0]])
    heads = ["", "one by one, us a step of each", "together, us a step of each", "ratio"]
    report.table(f"{count} variants, batch {variants.BATCH}", heads, lines)


RAND_AUGMENT: Work = ("RandAugment", op.RandAugment(), None)  # which takes long to compile


def operators_on(shape: tuple[int, ...]) -> list[Work]:
    chain = operators.chain(shape), operators.hand_chain(shape)
    return [
        ("crop, flip, jitter", *chain),
        ("RandomAffine", operators.affine_warp(), hand.affine),
    ]


def on_large(report: Report, shape: tuple[int, ...], calls: int, *works: Work) -> None:
    """Operators on batches in a row, as in operators.py."""
    lines: list[list[Any]] = []
    for name, own, other in works:
        each = operators.contestants(operators.Row(name, own, {"by hand": other}, True, shape))
        runs = {way: partial(in_a_row, run, calls) for way, run in each.items()}
        us = {way: x.median / calls * 1e6 for way, x in measure(runs, report.rounds).items()}
        by_hand = us.get("by hand")
        ratio = "" if by_hand is None else us["dagrax"] / by_hand
        lines.append([name, us["dagrax"], "" if by_hand is None else by_hand, ratio])
    size = "x".join(map(str, shape[1:]))
    heads = ["", "dagrax, us a batch", "by hand, us", "/ by hand"]
    report.table(f"{shape[0]} images of {size} floats, {calls} batches in a row", heads, lines)


def in_a_row(run: Callable[[], Any], calls: int) -> Any:
    for _ in range(calls):
        last = run()
    return last


def main() -> None:
    report = Report("accelerator_draws", str(__doc__), rounds=7, scale="full", anyway=False)
    report.needs_accelerator()
    report.say(str(__doc__))
    scale = SCALES[report.options.scale]
    given, shape = records(scale.records), scale.images
    draws = (drawn(given, kind, scale.batches[1], scale.steps) for kind in DRAWS)
    report.run(
        {
            "draws": partial(beside, report, "`scan` with draws of each record, and a sum", draws),
            "variants": partial(in_variants, report, scale.variants),
            "large images": lambda: on_large(report, shape, scale.calls, *operators_on(shape)),
            "RandAugment": lambda: on_large(report, shape, scale.calls, RAND_AUGMENT),
        }
    )


if __name__ == "__main__":
    main()
