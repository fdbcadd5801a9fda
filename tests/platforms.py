"""Tests of what one platform alone does: elsewhere they are skipped, and say why."""

import jax
import pytest

on_a_cpu = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="about what JAX does on a CPU, or its memory there"
)
