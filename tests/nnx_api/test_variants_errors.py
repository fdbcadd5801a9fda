"""What cannot be one of the variants is told by place, with both values and with what to change."""

import re
from collections.abc import Mapping

import jax.numpy as jnp
import pytest
from flax import nnx
from flax.errors import TraceContextError

from dagrax.nnx_api import MemorySource, Pipeline
from tests.nnx_zoo import Scale
from tests.plainly import told
from tests.zoo import Batch

SETUP = """
import functools, jax, jax.numpy as jnp, numpy as np, equinox as eqx
from flax import nnx
import dagrax.pure as dp
from dagrax.nnx_api import (
    MemorySource, MemorySourceConfig, NoiseOperator, Pipeline, Position, Records, stack, unstack,
)
from tests.nnx_zoo import Scale

# The pure core

class Crop(eqx.Module):
    gain: object = 0.5
    size: int = eqx.field(static=True, default=2)
    mode: str = "edge"
    def __call__(self, batch):
        return {**batch, "x": batch["x"] * self.gain}

class Flip(eqx.Module):
    gain: object = 0.5
    def __call__(self, batch):
        return batch

class Other(dp.ArraySource):
    pass

def times(batch, *, by):
    return {**batch, "x": batch["x"] * by}

def sized(gain):
    return lambda batch: {**batch, "x": batch["x"] * gain}

x = jnp.arange(6, dtype=jnp.float32)
data = {"x": x}
source = dp.ArraySource(data)
cursor = dp.Cursor(0, 0)
line = lambda *stages: dp.Pipeline.linear(stages)
at = lambda stage: dp.Pipeline.from_dag(nodes={"a": stage}, edges={"a": []}, sink="a")
stream = lambda source=source, order=None, batch_size=2, remainder="partial": dp.Stream(
    source, order, batch_size=batch_size, remainder=remainder
)
stacked = dp.stack([line(Crop(1.0)), line(Crop(2.0)), line(Crop(3.0))])
keys = lambda count: jax.random.split(jax.random.key(0), count)
step = lambda *vary: dp.vmap_variants(dp.step, vary=vary)
body = lambda carry, batch: (carry, None)

# The nnx face

class Module(nnx.Module):
    def __init__(self, **settings):
        for name, value in settings.items():
            setattr(self, name, value)
    def __call__(self, batch):
        return batch

class Vector(nnx.Module):
    def __init__(self, size):
        self.w = nnx.Param(jnp.zeros(size))
    def __call__(self, batch):
        return batch

class Model(Vector):
    def __init__(self):
        super().__init__(())

class Tied(nnx.Module):
    def __init__(self, tied):
        self.a = nnx.Param(jnp.ones(()))
        self.b = self.a if tied else nnx.Param(jnp.ones(()))

def pipe(*stages, data=data, shuffle=False, seed=0, **options):
    source = MemorySource(MemorySourceConfig(shuffle=shuffle), data=data, rngs=nnx.Rngs(seed))
    options = {"source": source, "batch_size": 2, "rngs": nnx.Rngs(seed), **options}
    return Pipeline(stages=stages or [Scale()], **options)

def seen(pipeline, **where):
    pipeline.seek(**where)
    return pipeline

three = lambda: Pipeline.variants([pipe(Model()) for _ in range(3)])
scan = lambda step_fn, **options: three().scan(step_fn, length=2, **options)
AXES = {Records: None, Position: None, nnx.PathContains("source"): None, ...: 0}
replaced = lambda: (lambda p: (p.nodes.update(model=Model()), p.step()))(three())
"""

PURE = (
    "\nVariants are alike in all but the values of arrays and numbers: make what varies a leaf, "
    "and the rest equal."
)
NNX = (
    "\nVariants are alike in all but the values of their Variables: hold what varies in an "
    "nnx.Variable, and give all of them the same of the rest (functions, such as optax's, too)."
)


def unlike(*lines: str, end: str) -> tuple[str, str]:
    listed = "".join(f"\n  - {line}" for line in lines)
    return "ValueError", f"The variants cannot be stacked:{listed}{end}"


STACKS = {
    "dp.stack([])": ("ValueError", "There are no variants to stack; pass at least one."),
    "dp.stack(line(Crop()))": (
        "TypeError",
        "variants is of type Pipeline; expected a list of pytrees: write stack([a, b]).",
    ),
    "dp.stack([line(Crop(size=2)), line(Crop(size=3))])": unlike(
        "`stages['crop'].size` is 2 in variant 0 and 3 in variant 1.", end=PURE
    ),
    'dp.stack([line(Crop(mode="edge")), line(Crop(mode="wrap"))])': unlike(
        "`stages['crop'].mode` is 'edge' in variant 0 and 'wrap' in variant 1.", end=PURE
    ),
    "dp.stack([line(Crop(size=2)), line(Crop(size=3)), line(Crop(size=4, mode='wrap'))])": unlike(
        "`stages['crop'].size` is 2 in variant 0 and 3 in variant 1.", end=PURE
    ),
    "dp.stack([line(Crop(), Crop(size=2)), line(Crop(size=1), Crop(size=3))])": unlike(
        "`stages['crop'].size` is 2 in variant 0 and 1 in variant 1.",
        "`stages['crop_1'].size` is 2 in variant 0 and 3 in variant 1.",
        end=PURE,
    ),
    "dp.stack([line(sized(gain)) for gain in (1.0, 2.0)])": unlike(
        "`stages['lambda'].func` is <function sized.<locals>.<lambda>> in variant 0 and <function "
        "sized.<locals>.<lambda>> in variant 1.",
        end=PURE,
    ),
    "dp.stack([line(functools.partial(times, by=gain)) for gain in (1.0, 2.0)])": unlike(
        "`stages['times'].fn` is functools.partial(<function times>, by=1.0) in variant 0 and "
        "functools.partial(<function times>, by=2.0) in variant 1.",
        end=PURE,
    ),
    "dp.stack([at(Crop()), at(Flip())])": unlike(
        "`stages['a']` is of type Crop in variant 0 and of type Flip in variant 1.", end=PURE
    ),
    "dp.stack([line(Crop()), line(Crop(), Crop())])": unlike(
        "`schedule` is Schedule(edges=(('crop', ()),), sink='crop', order=('crop',)) in variant 0 "
        "and Schedule(edges=(('crop', ()), ('crop_1', ('crop',))), sink='crop_1', order=('crop', "
        "'crop_1')) in variant 1.",
        end=PURE,
    ),
    "dp.stack([line(Crop(jnp.zeros(2))), line(Crop(jnp.zeros(3)))])": unlike(
        "`stages['crop'].gain` is f32[2] in variant 0 and f32[3] in variant 1.", end=PURE
    ),
    "dp.stack([line(Crop(1.0)), line(Crop(1))])": unlike(
        "`stages['crop'].gain` is f32[] in variant 0 and i32[] in variant 1.", end=PURE
    ),
    "dp.stack([line(Crop(None)), line(Crop(1.0))])": unlike(
        "`stages['crop'].gain` is of type NoneType in variant 0 and of type float in variant 1.",
        end=PURE,
    ),
    'dp.stack([{"a": 1}, {"b": 1}])': unlike(
        "`variants` is made of `['a']` in variant 0 and made of `['b']` in variant 1.", end=PURE
    ),
    "dp.stack([jax.random.key(0), jax.random.PRNGKey(0)])": unlike(
        "`variants` is key<fry>[] in variant 0 and u32[2] in variant 1.", end=PURE
    ),
    "dp.stack([stream(batch_size=2), stream(batch_size=3)])": unlike(
        "`batching` is Batching(records=6, batch_size=2, remainder='partial') in variant 0 and "
        "Batching(records=6, batch_size=3, remainder='partial') in variant 1.",
        end=PURE,
    ),
    "dp.stack([stream(order=dp.Shuffled(jax.random.key(0))), stream()])": unlike(
        "`order` is of type Shuffled in variant 0 and of type Sequential in variant 1.", end=PURE
    ),
    'dp.stack([stream(dp.ArraySource({"x": np.zeros(6)})) for _ in range(2)])': unlike(
        "`source` is one source in variant 0 and another (make it once, for all) in variant 1.",
        end=PURE,
    ),
    'dp.stack([stream(), stream(dp.ArraySource({"y": x}))])': unlike(
        "`source` is one source in variant 0 and another (make it once, for all) in variant 1.",
        end=PURE,
    ),
    "dp.stack([stream(), stream(Other(data))])": unlike(
        "`source` is of type ArraySource in variant 0 and of type Other in variant 1.", end=PURE
    ),
}

AXIS = "All arrays of stacked variants have a leading axis of one length, the variants; here "
MEND = ". Stack them by `stack`."
NAME = ". Stack them by `stack`, and name the arguments that are stacks in `vary`."

UNSTACKS = {
    "dp.unstack(line(Crop()))": (
        "ValueError",
        f"{AXIS}`variants.stages['crop'].gain` has none{MEND}",
    ),
    'dp.unstack({"a": jnp.zeros(2), "b": jnp.zeros(3), "c": jnp.zeros(3)})': (
        "ValueError",
        f"{AXIS}`variants['a']` has 2, `variants['b']` has 3{MEND}",
    ),
    "dp.unstack({})": ("ValueError", f"{AXIS}there are no arrays{MEND}"),
    "dp.select(line(Crop()), 0)": (
        "ValueError",
        f"{AXIS}`variants.stages['crop'].gain` has none{MEND}",
    ),
    "dp.select(stacked, 3)": ("IndexError", "There is no variant 3; there are 3."),
}

VMAPS = {
    'dp.vmap_variants(dp.step, vary="pipeline")': (
        "TypeError",
        "vary is 'pipeline'; expected names of parameters, which are `pipeline`, `stream`, "
        "`cursor`, `key`. Write vary=['pipeline'].",
    ),
    'step("pipelin")': (
        "TypeError",
        "vary is ('pipelin',); expected names of parameters, which are `pipeline`, `stream`, "
        "`cursor`, `key`. Did you mean `pipeline`?",
    ),
    'step("seed", "pipeline")': (
        "TypeError",
        "vary is ('seed', 'pipeline'); expected names of parameters, which are `pipeline`, "
        "`stream`, `cursor`, `key`.",
    ),
    'step("pipeline", "key")(stacked, stream(), cursor, key=keys(2))': (
        "ValueError",
        f"{AXIS}`pipeline.stages['crop'].gain` has 3, `key` has 2{MEND}",
    ),
    'step("pipeline", "key")(stacked, stream(), cursor, key=jax.random.key(0))': (
        "ValueError",
        f"{AXIS}`pipeline.stages['crop'].gain` has 3, `key` has none{MEND}",
    ),
    'step("pipeline")(line(Crop()), stream(), cursor)': (
        "ValueError",
        f"{AXIS}`pipeline.stages['crop'].gain` has none{MEND}",
    ),
    "dp.vmap_variants(dp.scan)(body, 0.0, stacked, stream(), cursor, length=1)": (
        "ValueError",
        f"{AXIS}there are no arrays in `body`{NAME}",
    ),
}

PIPELINES = {
    "Pipeline.variants([])": ("ValueError", "There are no variants to stack; pass at least one."),
    "Pipeline.variants([pipe(), Scale()])": (
        "TypeError",
        "A variant is of type Scale; expected pipelines: write "
        "Pipeline.variants([pipeline_of(strength) for strength in strengths]).",
    ),
    "Pipeline.variants(pipe())": (
        "TypeError",
        "pipelines is of type Pipeline; expected a list of pipelines: write "
        "Pipeline.variants([pipeline_of(strength) for strength in strengths]).",
    ),
    "Pipeline.variants(pipe() for _ in range(2))": (
        "TypeError",
        "pipelines is of type generator; expected a list of pipelines: write "
        "Pipeline.variants([pipeline_of(strength) for strength in strengths]).",
    ),
    "Pipeline.variants([pipe(Module(size=3)), pipe(Module(size=4))])": unlike(
        "`nodes['module'].size` is 3 in variant 0 and 4 in variant 1.", end=NNX
    ),
    "Pipeline.variants([pipe(Module(size=size)) for size in (3, 4, 5)])": unlike(
        "`nodes['module'].size` is 3 in variant 0 and 4 in variant 1.", end=NNX
    ),
    "Pipeline.variants([pipe(Module(rate=np.float32(r))) for r in (0.5, 1.5)])": unlike(
        "`nodes['module'].rate` is np.float32(0.5) in variant 0 and np.float32(1.5) in variant 1.",
        end=NNX,
    ),
    "Pipeline.variants([pipe(Crop(np.float32(r))) for r in (0.5, 1.5)])": unlike(
        "`nodes['crop'].gain` is np.float32(0.5) in variant 0 and np.float32(1.5) in variant 1.",
        end=NNX,
    ),
    "Pipeline.variants([pipe(Crop(r)) for r in (0.5, 1.5)])": unlike(
        "`nodes['crop'].gain` is 0.5 in variant 0 and 1.5 in variant 1.", end=NNX
    ),
    "Pipeline.variants([pipe(sized(gain)) for gain in (1.0, 2.0)])": unlike(
        "`nodes['lambda'].func` is <function sized.<locals>.<lambda>> in variant 0 and <function "
        "sized.<locals>.<lambda>> in variant 1.",
        end=NNX,
    ),
    "Pipeline.variants([Pipeline(source=pipe().source, stages=at(stage), batch_size=2, "
    "rngs=nnx.Rngs(0)) for stage in (Scale(), Module())])": unlike(
        "`nodes['a']` is of type Scale in variant 0 and of type Module in variant 1.", end=NNX
    ),
    "Pipeline.variants([pipe(Scale()), pipe(Module())])": unlike(
        "`nodes` is made of ['scale'] in variant 0 and made of ['module'] in variant 1.",
        "`schedule` is Schedule(edges=(('scale', ()),), sink='scale', order=('scale',)) in variant "
        "0 and Schedule(edges=(('module', ()),), sink='module', order=('module',)) in variant 1.",
        end=NNX,
    ),
    "Pipeline.variants([pipe(Vector(3)), pipe(Vector(4))])": unlike(
        "`nodes['vector'].w` is f32[3] in variant 0 and f32[4] in variant 1.", end=NNX
    ),
    'Pipeline.variants([pipe(data={"x": np.zeros(6, np.float32)}) for _ in range(2)])': unlike(
        "`source.data` is one set of arrays in variant 0 and another (make all sources from the "
        "same JAX arrays) in variant 1.",
        end=NNX,
    ),
    'Pipeline.variants([pipe(), pipe(data={"x": x, "y": x})])': unlike(
        "`source.data` is one set of arrays in variant 0 and another (make all sources from the "
        "same JAX arrays) in variant 1.",
        end=NNX,
    ),
    'Pipeline.variants([pipe(Module()), pipe(Module(), data={"y": x})])': unlike(
        "`source.data` is one set of arrays in variant 0 and another (make all sources from the "
        "same JAX arrays) in variant 1.",
        end=NNX,
    ),
    "Pipeline.variants([pipe(), pipe(shuffle=True)])": unlike(
        "`source.config` is MemorySourceConfig(shuffle=False) in variant 0 and "
        "MemorySourceConfig(shuffle=True) in variant 1.",
        end=NNX,
    ),
    "Pipeline.variants([seen(pipe(), epoch=2), seen(pipe(), offset=4)])": unlike(
        "`epoch` is 2 in variant 0 and 0 (seek one place with all) in variant 1.",
        "`offset` is 0 in variant 0 and 4 (seek one place with all) in variant 1.",
        end=NNX,
    ),
    "Pipeline.variants([pipe(), pipe(batch_size=3)])": unlike(
        "`batch_size` is 2 in variant 0 and 3 in variant 1.", end=NNX
    ),
    'Pipeline.variants([pipe(), pipe(remainder="pad")])': unlike(
        "`remainder` is 'partial' in variant 0 and 'pad' in variant 1.", end=NNX
    ),
    "pipe().unstack()": (
        "ValueError",
        "This pipeline has no variants; make some by Pipeline.variants([...]).",
    ),
}

MODULES = {
    "stack([])": ("ValueError", "There are no variants to stack; pass at least one."),
    "stack(Scale())": (
        "TypeError",
        "modules is of type Scale; expected a list of modules: write stack([model, other]).",
    ),
    "stack([1, 2])": (
        "TypeError",
        "A variant is of type int; expected nnx modules: write stack([model, other]).",
    ),
    "stack([Scale(), Vector(3)])": unlike(
        "`variants` is of type Scale in variant 0 and of type Vector in variant 1.", end=NNX
    ),
    "stack([Vector(3), Vector(4)])": unlike(
        "`w` is f32[3] in variant 0 and f32[4] in variant 1.", end=NNX
    ),
    "stack([Tied(True), Tied(False)])": unlike(
        "`variants` is of one graph in variant 0 and of another in variant 1.", end=NNX
    ),
    "stack([Module(f=len), Module(f=max)])": unlike(
        "`f` is <built-in function len> in variant 0 and <built-in function max> in variant 1.",
        end=NNX,
    ),
    "unstack(Scale())": (
        "ValueError",
        "Scale is no stack of modules, whose Variables all have a leading axis of one length; make "
        "one by stack([...]).",
    ),
    "unstack(pipe())": (
        "ValueError",
        "Pipeline is no stack of modules, whose Variables all have a leading axis of one length; "
        "make one by stack([...]).",
    ),
}

LACKS = "The pipeline has 3 variants, but "
AXIS_OF_3 = " has no leading axis of 3: "
STACK = "Give each variant its own, by stack([...]), or pass it in shared=(…)."
START = "Give each variant its own, by jnp.zeros(3), say."

SCANS = {
    "scan(lambda m, b: 0, modules=(Model(),))": (
        "ValueError",
        f"{LACKS}modules[0] (Model){AXIS_OF_3}`['w'].value` is f32[]. {STACK}",
    ),
    "scan(lambda m, b: 0, modules=(Vector(5),))": (
        "ValueError",
        f"{LACKS}modules[0] (Vector){AXIS_OF_3}`['w'].value` is f32[5]. {STACK}",
    ),
    "scan(lambda a, b, batch: 0, modules=(stack([Vector(2)] * 3), stack([Vector(2)] * 2)))": (
        "ValueError",
        f"{LACKS}modules[1] (Vector){AXIS_OF_3}`['w'].value` is f32[2,2]. {STACK}",
    ),
    "scan(body, init_carry=0.0)": (
        "ValueError",
        f"{LACKS}init_carry{AXIS_OF_3}`init_carry` is f32[]. {START}",
    ),
    'scan(body, init_carry={"a": jnp.zeros(3), "b": jnp.zeros(2)})': (
        "ValueError",
        f"{LACKS}init_carry{AXIS_OF_3}`['b']` is f32[2]. {START}",
    ),
    "replaced()": (
        "ValueError",
        f"{LACKS}nodes['model'] (Model){AXIS_OF_3}`['w'].value` is f32[]. Give each variant its "
        "own, by stack([...]).",
    ),
    "nnx.vmap(lambda p: p.step(), in_axes=(nnx.StateAxes(AXES),))(three())": (
        "ValueError",
        "The pipeline has variants, which it maps over by itself, but their axis is gone; call it "
        "outside nnx.vmap, or give nnx.vmap pipelines that were stacked by stack([...]).",
    ),
    "scan(lambda m, b: 0, shared=Scale())": (
        "TypeError",
        "shared is of type Scale; expected a tuple of nnx modules: shared=(model, optimizer), or "
        "(model,) for one.",
    ),
}

RIGHT = [
    "dp.stack([line(Crop(0.5)), line(Crop(np.float32(1.5))), line(Crop(jnp.float32(2)))])",
    "dp.stack([line(functools.partial(times, by=jnp.float32(by))) for by in (1, 2)])",
    "dp.stack([line(f) for f in [sized(1.0)] * 2])",
    "dp.stack((line(Crop()), line(Crop())))",
    "dp.select(stacked, -1)",
    "Pipeline.variants((pipe(), pipe()))",
    "Pipeline.variants([pipe(seed=1), pipe(seed=2)]).unstack()",
    "unstack(Pipeline.variants([pipe(shuffle=True, seed=s) for s in range(2)]))[0].step()",
    "stack([Tied(True), Tied(True)])",
    "scan(lambda m, s, b: m.w[...] + s.w[...], modules=(stack([Vector(2)] * 3),), "
    "shared=(Vector(2),))",
]
WRONG = STACKS | UNSTACKS | VMAPS | PIPELINES | MODULES | SCANS

Answers = Mapping[str, tuple[str, str]]


@pytest.fixture(scope="module")
def answers() -> Answers:
    answers = told(SETUP, [*WRONG, *RIGHT])
    return {
        call: (kind, re.sub(r" at 0x[0-9a-f]+", "", text)) for call, (kind, text) in answers.items()
    }


@pytest.mark.parametrize("call", STACKS)
def test_what_cannot_be_stacked_is_told_by_place_with_both_values(
    answers: Answers, call: str
) -> None:
    assert answers[call] == STACKS[call]


@pytest.mark.parametrize("call", UNSTACKS)
def test_what_is_no_stack_cannot_be_taken_apart(answers: Answers, call: str) -> None:
    assert answers[call] == UNSTACKS[call]


@pytest.mark.parametrize("call", VMAPS)
def test_arguments_that_do_not_vary_together_are_named(answers: Answers, call: str) -> None:
    assert answers[call] == VMAPS[call]


@pytest.mark.parametrize("call", PIPELINES)
def test_pipelines_that_are_no_variants_of_each_other_are_refused(
    answers: Answers, call: str
) -> None:
    assert answers[call] == PIPELINES[call]


@pytest.mark.parametrize("call", MODULES)
def test_modules_that_are_no_variants_of_each_other_are_refused(
    answers: Answers, call: str
) -> None:
    assert answers[call] == MODULES[call]


@pytest.mark.parametrize("call", SCANS)
def test_what_lacks_the_axis_of_variants_is_named_with_what_to_do(
    answers: Answers, call: str
) -> None:
    assert answers[call] == SCANS[call]


@pytest.mark.parametrize("call", RIGHT)
def test_what_is_unusual_but_right_is_welcome(answers: Answers, call: str) -> None:
    assert answers[call] == ("nothing", "")


def variant(data: Batch) -> Pipeline:
    return Pipeline(
        source=MemorySource(data=data), stages=[Scale()], batch_size=4, rngs=nnx.Rngs(0)
    )


def test_a_pipeline_that_is_taken_for_a_list_of_them_does_not_move() -> None:
    pipeline = variant({"x": jnp.arange(8.0)})
    with pytest.raises(TypeError):
        Pipeline.variants(pipeline)  # type: ignore[arg-type]
    assert pipeline.cursor == (0, 0)


# A shared module is only read


def counted(teacher: Scale, batch: Batch) -> None:
    teacher.calls[...] = teacher.calls[...] + 1


def learned(teacher: Scale, batch: Batch) -> None:
    teacher.weight[...] = teacher.weight[...] + batch["x"].sum()


@pytest.mark.parametrize("step_fn", [counted, learned], ids=lambda f: f.__name__)
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "in nnx.jit"])
def test_a_shared_module_that_the_step_function_writes_to_is_refused(
    step_fn: object, jitted: bool
) -> None:
    def run(pipelines: Pipeline, teacher: Scale) -> None:
        pipelines.scan(step_fn, length=2, shared=(teacher,))  # type: ignore[call-overload]

    data = {"x": jnp.arange(8.0)}
    pipelines, teacher = Pipeline.variants([variant(data), variant(data)]), Scale()
    with pytest.raises(TraceContextError) as error:
        (nnx.jit(run) if jitted else run)(pipelines, teacher)
    assert (
        "A shared module is only read; pass one that the step function changes by "
        "modules=(module,), over variants one for each, stacked by `stack`."
    ) in error.value.__notes__
    assert (pipelines.cursor, teacher.calls[...].item()) == ((0, 0), 0)
    assert teacher.weight[...] == jnp.float32(2)
