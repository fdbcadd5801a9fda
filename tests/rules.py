"""The house rules of every test: strict JAX, checked annotations, repeatable examples.

`conftest.py` imports it before any test, so each line here stands before the first import of
dagrax. It knows no test.
"""

import gc
import importlib
import os
import pkgutil
import random
from collections.abc import Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import jaxtyping
import pytest

from tests.checked import checked
from tests.plainly import COMPILED_SOONER

os.environ.setdefault("XLA_FLAGS", COMPILED_SOONER)  # read with the first computation
import beartype._check.code as beartype_code

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Which item of a container is checked is drawn apart, so that no stage seems to draw from `random`.
# beartype 0.21 has that in another file.
for _file in pkgutil.iter_modules(beartype_code.__path__, "beartype._check.code."):
    if "getrandbits" in (_names := vars(importlib.import_module(_file.name))):
        _names["getrandbits"] = random.Random(0).getrandbits
jaxtyping.jaxtyped = checked  # what the hook puts on every function
jaxtyping.install_import_hook(["dagrax.pure", "dagrax.nnx_api"], "beartype.beartype")

hypothesis.settings.register_profile(
    "dagrax",
    deadline=None,  # the first example compiles
    max_examples=12,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("dagrax")


# What is imported stays: to look for garbage there, with every `gc.collect()`, takes half a second.
# What the tests make is looked through as ever, once they are collected.
gc.disable()
importlib.import_module("dagrax.nnx_api")
importlib.import_module("optax")


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def compiled_lightly(request: pytest.FixtureRequest) -> Iterator[None]:
    """Most of the time is that of compiling, which takes less without most optimizations. A file
    that looks at what is compiled says `OPTIMIZED = True`."""
    optimized = getattr(request.module, "OPTIMIZED", False)
    if optimized:
        jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", not optimized)
    yield
    if optimized:
        jax.clear_caches()
