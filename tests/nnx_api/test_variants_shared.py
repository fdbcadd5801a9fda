"""A module that all variants share is only read: writing to it is refused, and nothing moves."""

import jax.numpy as jnp
import pytest
from flax import nnx

from dagrax.nnx_api import MemorySource, Pipeline
from tests.nnx_zoo import Scale
from tests.zoo import Batch


def variant(data: Batch) -> Pipeline:
    return Pipeline(
        source=MemorySource(data=data), stages=[Scale()], batch_size=4, rngs=nnx.Rngs(0)
    )


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
    name = "calls" if step_fn is counted else "weight"
    with pytest.raises(ValueError, match=rf"sets `shared\[0\]\.{name}`, but a shared module"):
        (nnx.jit(run) if jitted else run)(pipelines, teacher)
    assert (pipelines.cursor, teacher.calls[...].item()) == ((0, 0), 0)
    assert teacher.weight[...] == jnp.float32(2)


def test_what_is_shared_is_not_taken_for_what_was_changed_by_the_scan_before() -> None:
    pipeline, teacher = variant({"x": jnp.arange(8.0)}), Scale()
    pipeline.scan(learned, length=1, modules=(teacher,))
    with pytest.raises(ValueError, match="a shared module is only read"):
        pipeline.scan(learned, length=1, shared=(teacher,))
    weight = teacher.weight[...]
    pipeline.scan(learned, length=1, modules=(teacher,))
    assert teacher.weight[...] != weight


def test_a_shared_stage_may_be_read_as_long_as_it_stands_still() -> None:
    class Gain(nnx.Module):
        def __init__(self) -> None:
            self.weight = nnx.Param(jnp.float32(2))

        def __call__(self, batch: Batch) -> Batch:
            return {"x": batch["x"] * self.weight[...]}

    for stage, refused in ((Gain(), False), (Scale(), True)):
        data = MemorySource(data={"x": jnp.arange(8.0)})
        pipeline = Pipeline(source=data, stages=[stage], batch_size=4)
        if refused:
            with pytest.raises(ValueError) as error:
                pipeline.scan(lambda stage, batch: stage.weight[...], shared=(stage,))
            assert "`shared[0].calls` is `nodes['scale'].calls` too, wh" in str(error.value)
        else:
            read = pipeline.scan(lambda stage, batch: stage.weight[...], shared=(stage,))
            assert read.tolist() == [2, 2]
