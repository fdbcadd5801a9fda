"""What is wrong is refused by what was passed, what was expected, where, and how to mend it.

The import hook of the tests would speak first; so these calls are made without it.
"""

from collections.abc import Mapping

import pytest

from tests.plainly import told

SETUP = """import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from dagrax.nnx_api import MemorySource, MemorySourceConfig, NoiseOperator, Pipeline, Seed

class Scale(nnx.Module):
    def __init__(self):
        self.weight = nnx.Param(jnp.float32(1))
        self.calls = nnx.Variable(jnp.int32(0))
    def __call__(self, batch):
        self.calls[...] = self.calls[...] + 1
        return {"x": batch["x"] * self.weight[...]}

crop, model = Scale(), Scale()
numbers = lambda size: {"x": np.arange(size, dtype=np.float32)}
data = numbers(12)
memory = lambda data: MemorySource(data=data)

def line(stages=(crop,), data=data, **options):
    options = {"source": memory(data), "batch_size": 4, "rngs": nnx.Rngs(0), **options}
    return Pipeline(stages=stages, **options)

redone = lambda name, value: (lambda p: (setattr(p.source, name, value), p.step()))(line())
"""

SOURCES = {
    "memory([])": (
        "ValueError",
        "The data are an empty list; pass at least one record.",
    ),
    "memory({})": (
        "ValueError",
        'The data {} hold no arrays; pass a pytree of arrays, such as {"image": images, "label": '
        "labels}.",
    ),
    "memory(None)": (
        "ValueError",
        'The data None hold no arrays; pass a pytree of arrays, such as {"image": images, '
        '"label": labels}.',
    ),
    'memory({"x": np.zeros((0, 2))})': (
        "ValueError",
        "The data hold zero records (field `x` has shape (0, 2)); pass at least one.",
    ),
    'memory({"x": np.zeros(3), "y": np.zeros(4)})': (
        "ValueError",
        "The fields differ in their number of records: `x` has 3, `y` has 4. Give all of them the"
        " same leading axis.",
    ),
    'memory({"x": 3.0})': (
        "ValueError",
        "Field `x` is a scalar; expected an array whose leading axis is the records. Repeat it "
        "for each record, or drop it.",
    ),
    'memory({"x": np.array(["a"])})': (
        "TypeError",
        "Field `x` is an array of dtype <U1; expected numbers or booleans. Encode the field as "
        "integers, or drop it.",
    ),
    'memory({"x": np.array([{}])})': (
        "TypeError",
        "Field `x` is an array of dtype object; expected numbers or booleans. Encode the field as"
        " integers, or drop it.",
    ),
    'memory("images")': (
        "TypeError",
        "Field `data` is an array of dtype <U6; expected numbers or booleans. Encode the field as"
        " integers, or drop it.",
    ),
    "MemorySource(True, data=data)": (
        "TypeError",
        "config is True of type bool; expected a MemorySourceConfig: "
        "MemorySource(MemorySourceConfig(shuffle=True), data=…, rngs=nnx.Rngs(0)).",
    ),
    "MemorySource(MemorySourceConfig(shuffle=True), data=data)": (
        "ValueError",
        "MemorySourceConfig(shuffle=True) needs a seed; pass rngs=nnx.Rngs(0) to MemorySource.",
    ),
    "MemorySource(data=data, rngs=0)": (
        "TypeError",
        "rngs is of type int; expected nnx.Rngs: write rngs=nnx.Rngs(0).",
    ),
}

STAGES = {
    "line([lambda batch: batch['x'], NoiseOperator(field='x')])": (
        "ValueError",
        "The graph cannot be built:\n"
        "  - node `noise` (NoiseOperator) fails on input `element` (from `lambda`), one record, "
        "f32[]: TypeError: NoiseOperator takes a dict of fields, but was given an array; put a "
        "stage before it that returns a dict.",
    ),
    'redone("data", data)': (
        "TypeError",
        "source.data is of type dict; expected Records: to replace the data, write source.data = "
        "Records(data).",
    ),
    'redone("config", MemorySourceConfig(shuffle=True))': (
        "ValueError",
        "The source's config asks for a shuffle, but it was made without a seed; pass "
        "rngs=nnx.Rngs(0) to MemorySource.",
    ),
}

WRONG = SOURCES | STAGES

Answers = Mapping[str, tuple[str, str]]


@pytest.fixture(scope="module")
def answers() -> Answers:
    return told(SETUP, WRONG)


@pytest.mark.parametrize("call", SOURCES)
def test_data_and_seeds_that_cannot_work_are_refused_when_the_source_is_made(
    answers: Answers, call: str
) -> None:
    assert answers[call] == SOURCES[call]


@pytest.mark.parametrize("call", STAGES)
def test_a_wrong_stage_or_source_is_refused_by_the_next_step(answers: Answers, call: str) -> None:
    assert answers[call] == STAGES[call]
