"""The house rules of every test: strict JAX, checked annotations, repeatable examples.

pytest imports it before any test, so each line here stands before the first import of dagrax.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import jaxtyping

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

jaxtyping.install_import_hook(["dagrax.pure", "dagrax.nnx_api"], "beartype.beartype")

hypothesis.settings.register_profile(
    "dagrax",
    deadline=None,  # the first example compiles
    max_examples=25,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("dagrax")
