"""Operators over the Explicit axes of a mesh, the default of `jax.make_mesh`, and over Auto ones.

All is run in one process of four CPU devices, for the other tests have one.
"""

import pytest

from tests.plainly import FOUR_DEVICES, told

SETUP = (
    FOUR_DEVICES
    + """
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from jax.sharding import AxisType
import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, OperatorModule, Pipeline
from dagrax.nnx_api import operators as op

rng = np.random.default_rng(0)
IMAGES = {
    "image": rng.random((16, 12, 12, 3)).astype(np.float32),
    "label": np.eye(4, dtype=np.float32)[np.arange(16) % 4],
}
MESHES = {
    "explicit": jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,)),
    "auto": jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,)),
    None: None,
}

class SetsWhileMapped(OperatorModule):
    def __init__(self):
        self.seen = nnx.Variable(jnp.int32(0))

    def apply(self, element):
        self.seen[...] += 1
        return element

def pipe(mesh, *stages):
    return Pipeline(
        source=MemorySource(data=IMAGES, shuffle=True, rngs=nnx.Rngs(0)), stages=list(stages),
        batch_size=8, rngs=nnx.Rngs(pipeline=dp.fast_key(1)), mesh=MESHES[mesh])

def fits(mesh, *stages):
    for output in pipe(mesh, *stages).check().values():
        assert output["image"].shape[0] == 8

def agree(mesh, *stages):
    found, expected = pipe(mesh, *stages).step(), pipe(None, *stages).step()
    assert found["image"].sharding.spec[0] == "data", found["image"].sharding
    for name in IMAGES:
        np.testing.assert_allclose(np.asarray(found[name]), expected[name], atol=1e-5)

def slopes_agree(mesh, stage):
    def slope(pipeline):
        return nnx.jit(nnx.grad(lambda p: (p.step()["image"] ** 2).sum()))(pipeline)
    found, expected = (
        jax.tree.leaves(nnx.state(slope(pipe(own, stage)), nnx.Param)) for own in (mesh, None))
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-3, atol=1e-3)
"""
)
# What looks pixels, arms or records up by what is drawn, and each kind of what does not.
STAGES = {
    "RandomCrop": "op.RandomCrop(8, padding=2)",
    "RandomAffine": "op.RandomAffine(15.0)",
    "RandomPerspective": "op.RandomPerspective(0.3)",
    "RandomResizedCrop": "op.RandomResizedCrop(8)",
    "RandomElastic": "op.RandomElastic(2.0, 2.0)",
    "Warp": "op.Warp([op.RandomFlip(), op.RandomRotation(10.0)])",
    "OneOf": "op.OneOf([op.Invert(), op.Brightness(0.1)])",
    "RandomApply": "op.RandomApply(op.GaussianBlur(1.0), 0.5)",
    "PerBatch": "op.PerBatch(op.RandomApply(op.Invert(), 0.5))",
    "SoftChoice": "op.SoftChoice([op.Invert(), op.Brightness(0.1)], 1.0)",
    "ColorJitter": "op.ColorJitter(0.2, 0.2, 0.2, 0.1)",
    "RandAugment": "op.RandAugment()",
    "TrivialAugment": "op.TrivialAugment()",
    "AugMix": "op.AugMix()",
    "MixUp": "op.MixUp(1.0)",
    "CutMix": "op.CutMix(1.0)",
    "CoarseDropout": "op.CoarseDropout(2, 3)",
    "Equalize": "op.Equalize()",
    "PoissonNoise": "op.PoissonNoise(50.0)",
}
STEPPED = {"explicit": ("RandomCrop", "Warp", "OneOf", "CutMix"), "auto": ("RandomCrop", "MixUp")}
CALLS = {
    **{
        f"{name} fits explicit axes": f"fits('explicit', {stage})" for name, stage in STAGES.items()
    },
    **{
        f"{name} gives on {mesh} axes what it gives on one device": f"agree('{mesh}', {stage})"
        for mesh, names in STEPPED.items()
        for name in names
        if (stage := STAGES[name])
    },
    "magnitudes learn on explicit axes": f"slopes_agree('explicit', {STAGES['OneOf']})",
}


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[str, str]]:
    return told(SETUP, [*CALLS.values(), SETS])


@pytest.mark.parametrize("item", CALLS)
def test_an_operator(answers: dict[str, tuple[str, str]], item: str) -> None:
    assert answers[CALLS[item]] == ("nothing", "")


SETS = "pipe('explicit', SetsWhileMapped())"


def test_an_operator_that_sets_a_variable_is_refused_there_too(
    answers: dict[str, tuple[str, str]],
) -> None:
    kind, text = answers[SETS]
    assert (kind, "SetsWhileMapped.apply works on one record of many" in text) == (
        "ValueError",
        True,
    )
