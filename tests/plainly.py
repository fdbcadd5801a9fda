"""What a user reads: code, executed in one fresh interpreter without the import hook of the tests.

The hook checks annotations before our own code sees the arguments; here our own words come first.
Run as a program, this file is that interpreter: it knows no test but the code that it is given.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import textwrap
import traceback
import types
import warnings
from collections.abc import Iterable
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]
_LIGHTLY = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiles sooner
# How loops of a program are written out, and in how many files, not which there are. XLA refuses a
# flag that it has not.
COMPILED_SOONER = "--xla_cpu_parallel_codegen_split_count=1" + (
    " --xla_cpu_use_fusion_emitters=false" if jax.__version_info__ < (0, 11) else ""
)
# The first lines of a program that runs on four devices.
FOUR_DEVICES = """
import os
os.environ["JAX_PLATFORMS"] = "cpu"
flags = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = flags + " --xla_force_host_platform_device_count=4"
"""


def told(setup: str, calls: Iterable[str]) -> dict[str, tuple[str, str]]:
    """For each expression, evaluated after `setup`: the type and the text of what it raises."""
    calls = list(calls)
    texts = read([[setup], *([call] for call in calls)])
    parts = [text.partition(": ") for text in texts]
    return {call: (kind, text) for call, (kind, _, text) in zip(calls, parts, strict=True)}


def read(entries: list[list[str]]) -> list[str]:
    """What is read of each piece of code behind the first entry, which is their preamble.

    An entry is a list of pieces that share their names; of other entries they know nothing.
    """
    process = subprocess.run(
        [sys.executable, "-m", "tests.plainly"],
        input=json.dumps(entries),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **_LIGHTLY, "JAX_TRACEBACK_FILTERING": "off"},
    )
    if process.returncode:
        raise RuntimeError(process.stderr)
    texts: list[str] = json.loads(process.stdout)
    return texts


def main() -> None:
    """Execute entries from the input, and write what was read of each piece of code."""
    (preamble, *_), *entries = json.load(sys.stdin)
    here = types.ModuleType("here")
    sys.modules["here"] = here
    exec(compile(textwrap.dedent(preamble), "preamble.py", "exec"), vars(here))
    texts = []
    for entry in entries:
        names = dict(vars(here))
        texts += [_said(textwrap.dedent(code), names) for code in entry]
    json.dump(texts, sys.stdout)


def _said(code: str, names: dict[str, object]) -> str:
    # Warnings, prints, the error with its notes, in their order.
    heard = io.StringIO()

    def warned(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        heard.write(f"{category.__name__}: {message}\n")

    with warnings.catch_warnings(), contextlib.redirect_stdout(heard):
        warnings.simplefilter("always")
        warnings.showwarning = warned
        try:
            exec(compile(code, "here.py", "exec"), names)
        except Exception as error:
            heard.write("".join(traceback.format_exception_only(error)))
    # An address is another in each run.
    return re.sub(r" at 0x[0-9a-f]+", " at 0x…", heard.getvalue().rstrip("\n")) or "nothing"


if __name__ == "__main__":
    main()
