"""Tests of what one platform alone does, or a program beside Python: elsewhere they are skipped,
and say why."""

import shutil

import jax
import pytest

on_a_cpu = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="about what JAX does on a CPU, or its memory there"
)
with_graphviz = pytest.mark.skipif(
    shutil.which("dot") is None, reason="needs the program `dot` of Graphviz, as a picture does"
)
