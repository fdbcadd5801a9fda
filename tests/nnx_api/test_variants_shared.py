"""A module that all variants share is only read: writing to it is refused, and nothing moves."""

import jax.numpy as jnp
import pytest
from flax import nnx
from flax.errors import TraceContextError

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
    with pytest.raises(TraceContextError) as error:
        (nnx.jit(run) if jitted else run)(pipelines, teacher)
    assert (
        "A shared module is only read; pass one that the step function changes by "
        "modules=(module,), over variants one for each, stacked by `stack`."
    ) in error.value.__notes__
    assert (pipelines.cursor, teacher.calls[...].item()) == ((0, 0), 0)
    assert teacher.weight[...] == jnp.float32(2)
