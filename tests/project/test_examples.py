"""The examples and the snippets of the documentation run, and print what they promise."""

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tests.plainly import COMPILED_SOONER, FOUR_DEVICES

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

COOKBOOK = """\
linear: 4 batches, image (8, 4, 4, 3) = (1 - x) / 2
branching: image (8, 4, 4, 3) = ((x / 2 + 0.1) + (1 - x / 2)) / 2 = 0.55
parallel: image (8, 2, 4, 4, 3), the branches stacked along axis 1
merge: image (8, 4, 4, 3) = ((x + 0.1) + (1 - x)) / 2 = 0.55
lax.cond: image (8, 4, 4, 3), dark batch + 0.1, light batch / 2
nnx.cond: used once in a for, twice after a scan; gradient 1536 if dark, 0 if light
triple: image (8, 4, 4, 9), three branches of 3 channels each
scan: 10 epochs of 4 steps saw 320 records; the loss fell
"""

PURE_RESEARCH = """\
scan: 10 epochs of 8 steps, the last loss is below 0.1
jit: the data are arguments of the compiled epoch, none of them a constant
grad: (3,) numbers for whiten.shift, and more jitter means more loss
joint: trained with the model, the jitter grew weaker
pure: flax was not imported
"""

ON_FOUR_DEVICES = ("docs/scale.md",)
OPTAX_PROMOTES = ("README.md", "docs/quickstart.md", "docs/recipes.md")  # dtypes, in itself

# Under the rules of conftest.py, in a process that no test has brought flax into.
STRICT = """
import runpy, sys
import jaxtyping
jaxtyping.install_import_hook(["dagrax.pure"], "beartype.beartype")
runpy.run_path(sys.argv[1], run_name="__main__")
"""


OPTIMIZED = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}  # for what computes longer than it compiles


def run(*command: str | Path, **environment: str) -> str:
    """What a Python process prints; its errors, should it fail. It compiles sooner than usual."""
    result = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def snippets() -> list[tuple[str, str]]:
    """Each page, with its snippets of Python put together in order."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        (str(page.relative_to(ROOT)), "\n".join(found))
        for page in pages
        if (found := re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S))
    ]


def of_others() -> dict[str, str]:
    """The programs of other libraries on the page for those who know them, by library."""
    text = (ROOT / "docs" / "coming_from.md").read_text()
    programs = re.findall(r"^```py\n(.*?)^```$", text, re.M | re.S)
    return {re.findall(r"tensorflow|torch|grain|datarax", code)[0]: code for code in programs}


def promised(code: str) -> list[str]:
    """What the comments behind calls of `print` say."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", code, re.M)


def test_cookbook(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "cookbook.py"), run_name="__main__")
    assert capsys.readouterr().out == COOKBOOK


def test_pure_research() -> None:
    strict = {"JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"}
    printed = run("-W", "error", "-c", STRICT, EXAMPLES / "pure_research.py", **strict)
    assert printed == PURE_RESEARCH


def test_digits(tmp_path: Path) -> None:
    printed = run(EXAMPLES / "digits.py", "--epochs", "2", "--out", tmp_path / "new")
    assert "1077 records to train, 360 to validate, 360 to test" in printed
    accuracies = [float(x) for x in re.findall(r"^epoch .* test accuracy ([\d.]+)", printed, re.M)]
    assert len(accuracies) == 2
    assert accuracies[-1] > 0.8
    assert (tmp_path / "new" / "digits.png").read_bytes().startswith(b"\x89PNG")


def test_ppo_minibatches() -> None:
    printed = run(EXAMPLES / "ppo_minibatches.py", "--updates", "20")
    assert printed.endswith("it balances\n")  # or it fails


def test_tokens() -> None:
    printed = run(EXAMPLES / "tokens.py", "--blocks", "2", "--every", "130", **OPTIMIZED)
    assert "restored: the last block again, to the same losses" in printed
    assert "learned: " in printed  # or it fails


def test_contrastive() -> None:
    printed = run(EXAMPLES / "contrastive.py", "--epochs", "20")
    assert "named rightly by 5 labels a class: 83.7% by pixels" in printed  # or it fails


def test_out_of_core() -> None:
    pytest.importorskip("orbax.checkpoint", reason="needs the extra `checkpoints`")
    printed = run(EXAMPLES / "out_of_core.py", "--gigabytes", "0.01", "--steps", "4")
    assert "goes on behind block" in printed
    assert printed.endswith("losses of both are equal, to the bit\n")  # or it fails


def test_imbalanced() -> None:
    printed = run(EXAMPLES / "imbalanced.py", "--steps", "200")
    assert "Balanced: a 9 is 10.0% of what was seen" in printed  # or it fails


def test_ddsp(tmp_path: Path) -> None:
    printed = run(EXAMPLES / "ddsp.py", "--steps", "80", "--out", tmp_path / "new")
    assert "spectral loss" in printed  # tenfold less, or it fails
    assert len(list((tmp_path / "new").glob("synthesizer_*.wav"))) == 4
    assert (tmp_path / "new" / "ddsp.png").read_bytes().startswith(b"\x89PNG")


def test_learned_isp(tmp_path: Path) -> None:
    printed = run(EXAMPLES / "learned_isp.py", "--epochs", "5", "--out", tmp_path / "new")
    assert "learned:          loss" in printed  # and less than the best of the grid, or it fails
    assert (tmp_path / "new" / "learned_isp.png").read_bytes().startswith(b"\x89PNG")


def test_learned_augmentation(tmp_path: Path) -> None:
    options = "--steps", "1", "--epochs", "2", "--out", tmp_path / "new"
    quickly = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    flags = f"{COMPILED_SOONER} {quickly}"
    printed = run(EXAMPLES / "learned_augmentation.py", *options, XLA_FLAGS=flags)
    assert "15 policies, 5 seeds each" in printed
    assert printed.endswith("too short to be judged\n")
    assert (tmp_path / "new" / "learned_augmentation.png").read_bytes().startswith(b"\x89PNG")


def test_augmentation_search(tmp_path: Path) -> None:
    options = "--epochs", "10", "--descents", "1", "--out", tmp_path / "new"
    printed = run(EXAMPLES / "augmentation_search.py", *options)
    assert "Grid: 64 trainings of 10 epochs" in printed
    ranking = re.findall(r"^ +\d   strength ([\d.]+)   ([\d.]+) ±", printed, re.M)
    accuracies = [float(accuracy) for _, accuracy in ranking]
    assert sorted(float(strength) for strength, _ in ranking) == [x / 10 for x in range(8)]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 80
    ends = re.findall(r"^ +ends +(.*)$", printed, re.M)[0].split()
    assert len(ends) == 8
    assert (tmp_path / "new" / "augmentation_search.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("page", "code"), snippets(), ids=[page for page, _ in snippets()])
def test_snippets(page: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They print what the comments behind their calls of `print` say, each on one line."""
    assert not re.findall(r"^ *\)+  # .*$", code, re.M), "a promise behind a call of several lines"
    if page in ON_FOUR_DEVICES:
        printed = run("-c", FOUR_DEVICES + code)
    else:
        with jax.numpy_dtype_promotion("standard" if page in OPTAX_PROMOTES else "strict"):
            exec(compile(code, page, "exec"), {"__name__": "snippets"})
        printed = capsys.readouterr().out
    assert printed.splitlines() == promised(code)


@pytest.mark.parametrize("library", of_others())
def test_programs_of_other_libraries(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")
    code = of_others()[library]
    assert run("-c", code).splitlines() == promised(code)
