"""What the check of a graph at construction costs: no data are read and nothing is compiled."""

from typing import Any, TypedDict

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from rounds import Report, medians

import dagrax.pure as dp

NODES = 100


class Images(TypedDict):
    image: Float[Array, "batch h w c"]
    label: Int[Array, "batch"]


def stated(batch: Images) -> Images:
    return {**batch, "image": batch["image"] * 2}


def bare(batch: Any) -> Any:
    return {**batch, "image": batch["image"] * 2}


def main() -> None:
    report = Report("check", str(__doc__), rounds=15)
    report.say(str(__doc__))
    data = {"image": np.zeros((64, 32, 32, 3), np.float32), "label": np.zeros(64, np.int32)}
    stream = dp.Stream(dp.ArraySource(data), dp.Shuffled(jax.random.key(0)), batch_size=32)
    with_contracts, without = (dp.Pipeline.linear([stage] * NODES) for stage in (stated, bare))
    seconds = medians(
        {
            "check, a contract at every node": lambda: dp.check(with_contracts, stream),
            "check, no contracts": lambda: dp.check(without, stream),
            "tracing alone": lambda: jax.eval_shape(
                lambda batch: dp.apply(without, batch), stream.batch_spec
            ),
        },
        report.rounds,
    )
    report.table(f"{NODES} nodes", ["", "ms"], [[name, 1e3 * x] for name, x in seconds.items()])
    report.save()


if __name__ == "__main__":
    main()
