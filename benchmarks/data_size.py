"""What a `step()` costs on 1 MB and on 256 MB of data: the same, for the data are never copied.

Records of 1 kB, shuffled, batch 64, one stage. Prints medians and their ratio.
"""

import argparse
from typing import Any

import numpy as np
from flax import nnx
from rounds import machine, medians

from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline

STEPS = 100


class Halve(nnx.Module):
    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"x": batch["x"] / 2}


def make_pipeline(megabytes: int) -> Pipeline:
    data = {"x": np.zeros((megabytes * 1000, 250), np.float32)}
    config = MemorySourceConfig(shuffle=True)
    return Pipeline(
        source=MemorySource(config, data=data, rngs=nnx.Rngs(0)),
        stages=[Halve()],
        batch_size=64,
        rngs=nnx.Rngs(0),
        remainder="carry",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    pipelines = {f"{megabytes} MB": make_pipeline(megabytes) for megabytes in (1, 256)}
    seconds = medians(
        {
            name: lambda pipeline=pipeline: [pipeline.step() for _ in range(STEPS)][-1]
            for name, pipeline in pipelines.items()
        },
        rounds,
    )
    print(f"{machine()}; medians of {rounds} interleaved rounds of {STEPS} steps\n")
    print("| data | us a step | / 1 MB |\n|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value / STEPS * 1e6:.0f} | {value / seconds['1 MB']:.2f} |")


if __name__ == "__main__":
    main()
