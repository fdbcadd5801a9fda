"""What a stage holds counts as it is now, however it is held: in the face and in the core.

Each case makes a stage that multiplies by 1, and a change after which it multiplies by 7.
"""

import collections
import contextvars
import enum
import functools
import gc
import sys
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from tests.nnx_api.test_held_by_others import first, made, times, ways_in
from tests.zoo import Batch

Stage: TypeAlias = Callable[[Batch], Batch]
Case: TypeAlias = tuple[Any, Callable[[], object]]
CASES: dict[str, Callable[[], Case]] = {}
MODULES: dict[str, Callable[[], Case]] = {}  # of flax, which the core does not take

me: Any = sys.modules[__name__]
factor = 1.0
shadowed = 1.0


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    CASES[make.__name__.replace("_", " ")] = make
    return make


def of_flax(make: Callable[[], Case]) -> Callable[[], Case]:
    MODULES[make.__name__.replace("_", " ")] = make
    return make


def sets(owner: Any, name: str) -> Callable[[], None]:
    return lambda: setattr(owner, name, 7.0)


def puts(items: Any, key: Any) -> Callable[[], None]:
    return lambda: items.__setitem__(key, 7.0)


class Thing:
    k: float = 1.0


class Sevenfold:
    k = 7.0


# Modules, and what is imported


@of_flax
def a_module_as_an_attribute() -> Case:
    class Configured(nnx.Module):
        def __init__(self) -> None:
            self.config = me

        def __call__(self, batch: Batch) -> Batch:
            return {"x": batch["x"] * self.config.factor}

    return Configured(), sets(me, "factor")


@case
def a_module_as_a_default() -> Case:
    def stage(batch: Batch, config: Any = me) -> Batch:
        return {"x": batch["x"] * config.factor}

    return stage, sets(me, "factor")


@case
def a_module_of_a_partial() -> Case:
    def stage(config: Any, batch: Batch) -> Batch:
        return {"x": batch["x"] * config.factor}

    return functools.partial(stage, me), sets(me, "factor")


@case
def a_module_in_a_dict() -> Case:
    held = {"config": me}
    return times(lambda: held["config"].factor), sets(me, "factor")


@case
def a_relative_import() -> Case:
    def read() -> float:
        from .test_held_by_a_stage import factor as here

        return here

    return times(read), sets(me, "factor")


@case
def a_module_of_the_package() -> Case:
    def read() -> float:
        from . import test_held_by_a_stage as here

        return here.factor

    return times(read), sets(me, "factor")


@case
def an_import_with_dots() -> Case:
    def read() -> Any:
        import tests.nnx_api.test_held_by_a_stage

        return tests.nnx_api.test_held_by_a_stage.factor

    return times(read), sets(me, "factor")


# Functions and classes


@case
def a_default_in_place() -> Case:
    def stage(batch: Batch, *, k: float = 1.0) -> Batch:
        return {"x": batch["x"] * k}

    return stage, puts(stage.__kwdefaults__, "k")


@case
def the_keywords_of_a_partial() -> Case:
    def stage(batch: Batch, k: float) -> Batch:
        return {"x": batch["x"] * k}

    held = functools.partial(stage, k=1.0)
    return held, puts(held.keywords, "k")


@case
def an_attribute_of_a_function_by_another_name() -> Case:
    def stage(batch: Batch) -> Batch:
        return {"x": batch["x"] * getattr(stage, "k", 1.0)}

    own: Any = stage
    own.other = 7.0

    def change() -> None:
        del own.other
        own.k = value

    value = own.other
    return stage, change


@of_flax
def a_method_that_is_no_function() -> Case:
    def run(self: object, k: float, batch: Batch) -> Batch:
        return {"x": batch["x"] * k}

    once: Any = functools.partialmethod(run, 1.0)

    class Partial(nnx.Module):
        __call__ = once

    return Partial(), lambda: setattr(Partial, "__call__", functools.partialmethod(run, 7.0))


@case
def the_class_of_an_object() -> Case:
    held = Thing()
    return times(lambda: held.k), lambda: setattr(held, "__class__", Sevenfold)


@case
def the_bases_of_a_class() -> Case:
    class Child(Thing):
        pass

    held = Child()
    return times(lambda: held.k), lambda: setattr(Child, "__bases__", (Sevenfold,))


@case
def an_attribute_of_a_metaclass() -> Case:
    class Meta(type):
        k = 1.0

    class Held(metaclass=Meta):
        pass

    return times(lambda: Held.k), sets(Meta, "k")


@case
def a_global_that_another_function_hides() -> Case:
    def stage(batch: Batch) -> Batch:
        def hides() -> int:
            shadowed = 0

            def sets_its_own() -> None:
                nonlocal shadowed
                shadowed += 1

            sets_its_own()
            return shadowed

        return {"x": batch["x"] * shadowed + 0 * hides()}

    return stage, sets(me, "shadowed")


# Containers, and what is held beside their items


@case
def a_dict_of_the_users() -> Case:
    held = collections.UserDict(k=1.0)
    return times(lambda: held["k"]), puts(held, "k")


@case
def a_chain_of_dicts() -> Case:
    held = collections.ChainMap({"k": 1.0})
    return times(lambda: held["k"]), puts(held, "k")


@case
def a_view_of_a_dict() -> Case:
    under = {"k": 1.0}
    held = types.MappingProxyType(under)
    return times(lambda: held["k"]), puts(under, "k")


@case
def what_a_dict_makes_of_a_key() -> Case:
    held: collections.defaultdict[str, float] = collections.defaultdict(lambda: 1.0)
    made: Any = held
    return times(lambda: made.default_factory()), lambda: setattr(
        held, "default_factory", lambda: 7.0
    )


@pytest.mark.parametrize("kind", [dict, list, float, tuple])
def test_an_attribute_of_a_container_counts(kind: type) -> None:
    held = type("Own", (kind,), {})()
    held.k = 1.0
    pipeline = made(times(lambda: held.k))
    assert ways_in(pipeline) == [1] * 5
    held.k = 7.0
    assert ways_in(pipeline) == [7] * 5


@of_flax
def metadata_that_is_a_list() -> Case:
    class Sized(nnx.Module):
        def __init__(self) -> None:
            self.w = nnx.Param(jnp.float32(1), sizes=[1.0])

        def __call__(self, batch: Batch) -> Batch:
            return {"x": batch["x"] * self.w[...] * self.w.get_metadata("sizes")[0]}

    stage = Sized()
    return stage, puts(stage.w.get_metadata("sizes"), 0)


@case
def a_list_of_the_context() -> Case:
    held: contextvars.ContextVar[list[float]] = contextvars.ContextVar("held")
    held.set([1.0])
    return times(lambda: held.get()[0]), lambda: puts(held.get(), 0)()


@case
def an_attribute_of_a_member() -> Case:
    class Mode(enum.Enum):
        A = 1

    mode: Any = Mode.A
    mode.k = 1.0
    return times(lambda: mode.k), sets(mode, "k")


# Buffers


@case
def an_array_of_objects() -> Case:
    held = np.array([1.0], object)
    return times(lambda: held[0]), puts(held, 0)


@case
def the_shape_of_an_array() -> Case:
    held = np.zeros(7, np.float32)

    def change() -> None:
        held.resize((7, 1), refcheck=False)

    return times(lambda: 1.0 if held.ndim == 1 else float(len(held))), change


@case
def the_dtype_of_an_array() -> Case:
    held: Any = np.zeros(2, np.float32)

    def change() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of newer releases of NumPy
            held.dtype = np.int32

    return times(lambda: 1.0 if held.dtype == np.float32 else 7.0), change


@case
def what_a_view_of_memory_shows() -> Case:
    under = bytearray([1])
    held = memoryview(under)
    return times(lambda: float(held[0])), lambda: under.__setitem__(0, 7)


@pytest.fixture(autouse=True)
def _as_they_were() -> None:
    me.factor = me.shadowed = 1.0


@pytest.mark.parametrize("name", [*CASES, *MODULES])
def test_every_way_in_heeds_it(name: str) -> None:
    stage, change = {**CASES, **MODULES}[name]()
    pipeline = made(stage)
    assert ways_in(pipeline) == [1] * 5
    change()
    assert ways_in(pipeline) == [7] * 5


@pytest.mark.parametrize("name", CASES)
def test_the_core_heeds_it(name: str) -> None:
    stage, change = CASES[name]()
    pipeline = dp.Pipeline.linear([stage])
    stream = dp.Stream(dp.ArraySource({"x": jnp.ones((24, 4))}), batch_size=8)
    assert first(dp.step(pipeline, stream, stream.start())[1]) == 1
    change()
    assert first(dp.step(pipeline, stream, stream.start())[1]) == 7


@pytest.mark.parametrize("name", CASES)
def test_a_step_function_heeds_it(name: str) -> None:
    stage, change = CASES[name]()

    def step(batch: Batch) -> jax.Array:
        result: jax.Array = first(stage(batch))
        return result

    pipeline = made(lambda batch: batch)
    assert pipeline.scan(step, length=2).tolist() == [1, 1]
    change()
    assert pipeline.scan(step, length=2).tolist() == [7, 7]


def test_what_is_held_weakly_is_not_kept_alive() -> None:
    thing = Thing()
    held = weakref.ref(thing)
    pipeline = made(times(lambda: 1.0 if held() is not None else 7.0))
    assert ways_in(pipeline) == [1] * 5
    del thing
    gc.collect()
    assert held() is None
    assert ways_in(pipeline) == [7] * 5
