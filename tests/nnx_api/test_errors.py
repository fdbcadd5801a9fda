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

def whole(pipeline):
    leaves = jax.tree.leaves(nnx.state((pipeline, model), nnx.Not(Seed)))
    static = pipeline.cursor, pipeline.batch_size, pipeline.remainder
    return [*static, *(np.asarray(leaf).tolist() for leaf in leaves)]

def on(call, *, size=12, at=4, remainder="partial"):
    # A call on a pipeline under way; if it fails, the pipeline must go on as if nothing had been.
    pipeline = line([Scale()], numbers(size), remainder=remainder)
    pipeline.seek(offset=at)
    before = whole(pipeline)
    try:
        call(pipeline)
    except Exception:
        assert whole(pipeline) == before, "the pipeline has changed"
        assert pipeline.step()["x"][0] == at, "the next batch is another"
        raise

def scan(step, *, length=2, modules=(), init_carry=None, **options):
    call = lambda p: p.scan(step, length=length, modules=modules, init_carry=init_carry)
    on(call, **options)

two = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
narrowed = lambda c, b: ({"a": c["a"][:1], "b": c["b"].astype(jnp.int32)}, 0)
widened = lambda m, b: m.weight.set_value(jnp.zeros(3))
state_of = lambda **change: {**iter(line([Scale()])).get_state(), **change}
restored = lambda state: on(lambda p: iter(p).set_state(state))
run = lambda stage, **options: line([stage], **options).step()
changed = lambda **nodes: (lambda p: (p.nodes.update(nodes), p.step()))(line())
emptied = lambda: (lambda p: (p.nodes.clear(), p.step()))(line())
redone = lambda name, value: (lambda p: (setattr(p.source, name, value), p.step()))(line())
"""

ARGUMENTS = {
    "line(source=data)": (
        "TypeError",
        "source is of type dict; expected a source: MemorySource(MemorySourceConfig(), data=…).",
    ),
    "line(source=None)": (
        "TypeError",
        "source is of type NoneType; expected a source: MemorySource(MemorySourceConfig(), "
        "data=…).",
    ),
    "line(rngs=0)": (
        "TypeError",
        "rngs is of type int; expected nnx.Rngs: write rngs=nnx.Rngs(0).",
    ),
    "line(rngs=jax.random.key(0))": (
        "TypeError",
        "rngs is of type PRNGKeyArray; expected nnx.Rngs: write rngs=nnx.Rngs(0).",
    ),
    "line(rngs=nnx.Rngs(other=0))": (
        "ValueError",
        "rngs has neither a stream `pipeline` nor a default one; pass nnx.Rngs(0) or "
        "nnx.Rngs(pipeline=0).",
    ),
    "line(batch_size=0)": (
        "ValueError",
        "batch_size is 0; expected at least 1.",
    ),
    "line(batch_size=-4)": (
        "ValueError",
        "batch_size is -4; expected at least 1.",
    ),
    "line(batch_size=4.0)": (
        "TypeError",
        "batch_size is 4.0 of type float; expected an int.",
    ),
    'line(batch_size="4")': (
        "TypeError",
        "batch_size is '4' of type str; expected an int.",
    ),
    "line(batch_size=True)": (
        "TypeError",
        "batch_size is True of type bool; expected an int.",
    ),
    "line(batch_size=None)": (
        "TypeError",
        "batch_size is None of type NoneType; expected an int.",
    ),
    'line(batch_size=13, remainder="drop")': (
        "ValueError",
        'batch_size is 13 but the source has 12 records, so remainder="drop" would yield nothing;'
        " use a batch_size of at most 12, or another remainder.",
    ),
    'line(remainder="wrap")': (
        "ValueError",
        'remainder is \'wrap\'; expected "partial", "drop", "pad" or "carry", or Pad("name").',
    ),
    "line(remainder=None)": (
        "ValueError",
        'remainder is None; expected "partial", "drop", "pad" or "carry", or Pad("name").',
    ),
    'line(data={"x": data["x"], "valid": data["x"]}, remainder="pad")': (
        "ValueError",
        'remainder="pad" adds a field `valid`, which the data already have; rename theirs, or '
        'pass remainder=Pad("valid_row").',
    ),
    'line(data=data["x"], remainder="pad")': (
        "TypeError",
        'remainder="pad" adds a field `valid` to each batch, but the batches are '
        "ShapeDtypeStruct; pass the data as a dict, or choose another remainder.",
    ),
}

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

CALLS = {
    'on(lambda p: setattr(p, "batch_size", 0))': (
        "ValueError",
        "batch_size is 0; expected at least 1.",
    ),
    'on(lambda p: setattr(p, "batch_size", "8"))': (
        "TypeError",
        "batch_size is '8' of type str; expected an int.",
    ),
    'on(lambda p: setattr(p, "batch_size", 13), remainder="drop")': (
        "ValueError",
        'batch_size is 13 but the source has 12 records, so remainder="drop" would yield nothing;'
        " use a batch_size of at most 12, or another remainder.",
    ),
    'on(lambda p: setattr(p, "remainder", "wrap"))': (
        "ValueError",
        'remainder is \'wrap\'; expected "partial", "drop", "pad" or "carry", or Pad("name").',
    ),
    "on(lambda p: p.seek(offset=12))": (
        "ValueError",
        "offset is 12; expected at least 0 and less than 12.",
    ),
    'on(lambda p: p.seek(offset="4"))': (
        "TypeError",
        "offset is '4' of type str; expected an int.",
    ),
    "on(lambda p: p.seek(epoch=1.0))": (
        "TypeError",
        "epoch is 1.0 of type float; expected an int.",
    ),
    "on(lambda p: p.seek(epoch=True))": (
        "TypeError",
        "epoch is True of type bool; expected an int.",
    ),
    'on(lambda p: p.outputs("scales"))': (
        "ValueError",
        "There is no node `scales`. Did you mean `scale`?",
    ),
    'on(lambda p: p.outputs(["scale"]))': (
        "TypeError",
        "A node is named by ['scale'] of type list; expected its name: write "
        'pipeline.outputs("crop", "flip").',
    ),
    "on(nnx.jit(list))": (
        "TypeError",
        "The pipeline is iterated over inside a trace (jit, scan, vmap), where its position is no"
        " number that a Python loop could end by; call pipeline.step() or pipeline.scan(step_fn, "
        "length=…) there.",
    ),
    "on(nnx.jit(lambda p: p.step()), size=10)": (
        "ValueError",
        'The batch size 4 does not divide the 10 records, so under remainder="partial" the last '
        'batch is shorter and cannot be scanned or traced. Choose remainder="drop" to leave it '
        'out, "pad" to fill it up and mark the rows that count, or "carry" to run on into the '
        "next epoch.",
    ),
    "restored(3)": (
        "TypeError",
        "The state is 3 of type int; expected the dict that `get_state` returned.",
    ),
    'restored("{}")': (
        "TypeError",
        "The state is '{}' of type str; expected the dict that `get_state` returned.",
    ),
    "restored(None)": (
        "TypeError",
        "The state is None of type NoneType; expected the dict that `get_state` returned.",
    ),
    "restored({})": (
        "ValueError",
        "The state lacks `epoch`, `offset`, `source`, `order`, `seed`, `graph`; pass the whole "
        "dict that `get_state` returned.",
    ),
    'restored(state_of(seed="?"))': (
        "ValueError",
        "The state belongs to a pipeline with another seed; make this pipeline as that one was "
        "made, or use `pipeline.seek` to go to a position regardless.",
    ),
    'restored(state_of(source="?", order="?", graph="?"))': (
        "ValueError",
        "The state belongs to a pipeline with another source and another order and another graph;"
        " make this pipeline as that one was made, or use `pipeline.seek` to go to a position "
        "regardless.",
    ),
    "restored(state_of(offset=12))": (
        "ValueError",
        "offset is 12; expected at least 0 and less than 12.",
    ),
    'restored(state_of(offset="4"))': (
        "TypeError",
        "offset is '4' of type str; expected an int.",
    ),
    "restored(state_of(epoch=None))": (
        "TypeError",
        "epoch is None of type NoneType; expected an int.",
    ),
}

SCANS = {
    "scan(lambda b: 0, size=10)": (
        "ValueError",
        'The batch size 4 does not divide the 10 records, so under remainder="partial" the last '
        'batch is shorter and cannot be scanned or traced. Choose remainder="drop" to leave it '
        'out, "pad" to fill it up and mark the rows that count, or "carry" to run on into the '
        "next epoch.",
    ),
    "scan(lambda b: 0, at=2)": (
        "ValueError",
        "The cursor stands at offset 2, which is not a multiple of the batch size 4, so under "
        'remainder="partial" the last batch of this epoch is shorter and cannot be scanned. '
        'Choose remainder="drop", "pad" or "carry", or finish the epoch step by step first.',
    ),
    "scan(lambda b: 0, length=0)": (
        "ValueError",
        "length is 0; expected at least 1. One epoch is `steps_per_epoch` batches.",
    ),
    "scan(lambda b: 0, length=-1)": (
        "ValueError",
        "length is -1; expected at least 1. One epoch is `steps_per_epoch` batches.",
    ),
    "scan(lambda b: 0, length=2.0)": (
        "TypeError",
        "length is 2.0 of type float; expected an int.",
    ),
    "scan(lambda b: 0, length=None)": (
        "TypeError",
        "length is None of type NoneType; expected an int.",
    ),
    "scan(lambda m, b: 0, modules=model)": (
        "TypeError",
        "modules is of type Scale; expected a tuple of nnx modules: modules=(model, optimizer), "
        "or (model,) for one.",
    ),
    "scan(lambda m, b: 0, modules=[model])": (
        "TypeError",
        "modules is of type list; expected a tuple of nnx modules: modules=(model, optimizer), or"
        " (model,) for one.",
    ),
    "scan(lambda m, b: 0, modules=(model, 3))": (
        "TypeError",
        "modules is of type tuple of Scale, int; expected a tuple of nnx modules: modules=(model,"
        " optimizer), or (model,) for one.",
    ),
    "scan(lambda m, b: 0, modules=None)": (
        "TypeError",
        "modules is of type NoneType; expected a tuple of nnx modules: modules=(model, "
        "optimizer), or (model,) for one.",
    ),
    "line().scan(lambda m, b: 0, length=1, shared=model)": (
        "TypeError",
        "shared is of type Scale; expected a tuple of nnx modules: shared=(model, optimizer), or "
        "(model,) for one.",
    ),
    "scan(lambda m, b: 0)": (
        "TypeError",
        "The step function is called with (batch), but its signature is (m, b); give it 1 "
        "positional parameter, or pass modules=(…) and init_carry=… to scan.",
    ),
    "scan(lambda b: 0, modules=(model,))": (
        "TypeError",
        "The step function is called with (Scale, batch), but its signature is (b); give it 2 "
        "positional parameters.",
    ),
    "scan(lambda b: 0, init_carry=0)": (
        "TypeError",
        "The step function is called with (carry, batch), but its signature is (b); give it 2 "
        "positional parameters.",
    ),
    "scan(None)": (
        "TypeError",
        "The step function is None of type NoneType, which cannot be called; pass a function of "
        "(batch).",
    ),
    'scan("train")': (
        "TypeError",
        "The step function is 'train' of type str, which cannot be called; pass a function of "
        "(batch).",
    ),
    'scan(lambda c, b: b["x"], init_carry=0.0)': (
        "TypeError",
        "The step function returned f32[4]; with a carry it must return a pair (carry, "
        "y): return carry, None if there is nothing to stack.",
    ),
    "scan(lambda c, b: (c, 0, 0), init_carry=0.0)": (
        "TypeError",
        "The step function returned tuple; with a carry it must return a pair (carry, y): "
        "return carry, None if there is nothing to stack.",
    ),
    "scan(narrowed, init_carry=two)": (
        "TypeError",
        "The step function changes its carry, which must keep its shapes and dtypes:\n"
        "  - `carry['a']` came in as f32[2] and went out as f32[1].\n"
        "  - `carry['b']` came in as f32[3] and went out as i32[3].\n"
        "Give the initial carry the type that the step function returns, or cast what it returns.",
    ),
    'scan(lambda c, b: ({"a": c["a"]}, 0), init_carry=two)': (
        "TypeError",
        "The step function was given a carry of structure PyTreeDef({'a': *, 'b': *}) and "
        "returned one of structure PyTreeDef({'a': *}); return the carry in the structure it came"
        " in.",
    ),
    "scan(lambda c, b: (None, 0), init_carry=two)": (
        "TypeError",
        "The step function was given a carry of structure PyTreeDef({'a': *, 'b': *}) and "
        "returned one of structure PyTreeDef(None); return the carry in the structure it came in.",
    ),
    "scan(widened, modules=(model,))": (
        "TypeError",
        "The step function changes its state of (pipeline, modules), which must keep its shapes "
        "and dtypes:\n"
        "  - `state of (pipeline, modules)[1][0]['weight'].value` came in as f32[] and went "
        "out as f32[3].\n"
        "Give the initial state of (pipeline, modules) the type that the step function returns, "
        "or cast what it returns.",
    ),
    'scan(lambda m, b: setattr(m, "count", 1), modules=(model,))': (
        "ValueError",
        "The step function or a stage changed the structure of a module: it set `self.count`, "
        "which is not an nnx.Variable, or is a new one. A compiled call keeps only the values of "
        "Variables; hold what changes in an nnx.Variable made in `__init__`.",
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
    "run(lambda batch: None)": (
        "ValueError",
        "The graph cannot be built:\n"
        "  - node `lambda` returned None; expected a batch, a pytree of arrays. Is a `return` "
        "missing?",
    ),
    'run(lambda batch: 3, remainder="pad")': (
        "ValueError",
        "The graph cannot be built:\n"
        '  - node `lambda`: remainder="pad" hands out the field `valid` with each batch, but the '
        "pipeline returned int; return a dict from the sink, or choose another remainder, such as "
        '"drop".',
    ),
    "changed(scale=3)": (
        "TypeError",
        "Node `scale` is 3 of type int, which cannot be called; pass a function, or give its "
        "class a `__call__`.",
    ),
    "changed(scale=lambda a, b: a)": (
        "ValueError",
        "The graph cannot be built:\n"
        "  - node `scale` is called with 1 input (the source), but its signature is (a, b); "
        "change its parameters or its entry in `edges`.",
    ),
    "changed(other=crop)": (
        "ValueError",
        "The graph cannot be built:\n"
        "  - node `other` has no entry in `edges`; add `'other': []` to read the source, or list "
        "its predecessors.",
    ),
    "emptied()": (
        "ValueError",
        "The graph cannot be built:\n"
        "  - `edges` has the key `scale`, which is not a node. The nodes are none.\n"
        "  - the sink `scale` is not a node. The nodes are none.",
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

RIGHT = [
    "line(batch_size=np.int64(4))",
    "line(batch_size=13)",
    "on(lambda p: p.seek(epoch=np.int64(0), offset=np.uint32(4)))",
    "restored(state_of())",
    'scan(lambda b: 0, size=10, remainder="drop")',
    "scan(lambda *everything: 0, modules=(model,))",
    "scan(lambda b: None)",
]
WRONG = ARGUMENTS | SOURCES | CALLS | SCANS | STAGES

Answers = Mapping[str, tuple[str, str]]


@pytest.fixture(scope="module")
def answers() -> Answers:
    return told(SETUP, [*WRONG, *RIGHT])


@pytest.mark.parametrize("call", ARGUMENTS)
def test_a_wrong_argument_is_refused_when_the_pipeline_is_made(answers: Answers, call: str) -> None:
    assert answers[call] == ARGUMENTS[call]


@pytest.mark.parametrize("call", SOURCES)
def test_data_and_seeds_that_cannot_work_are_refused_when_the_source_is_made(
    answers: Answers, call: str
) -> None:
    assert answers[call] == SOURCES[call]


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_call_is_refused_and_leaves_the_pipeline_as_it_was(
    answers: Answers, call: str
) -> None:
    assert answers[call] == CALLS[call]


@pytest.mark.parametrize("call", SCANS)
def test_a_wrong_scan_is_refused_and_leaves_the_pipeline_as_it_was(
    answers: Answers, call: str
) -> None:
    assert answers[call] == SCANS[call]


@pytest.mark.parametrize("call", STAGES)
def test_a_wrong_stage_or_source_is_refused_by_the_next_step(answers: Answers, call: str) -> None:
    assert answers[call] == STAGES[call]


@pytest.mark.parametrize("call", RIGHT)
def test_what_is_unusual_but_right_is_welcome(answers: Answers, call: str) -> None:
    assert answers[call] == ("nothing", "")
