"""The command line, run in this process: what it prints for programs, and what it leaves behind.

The page `command` tells the rest."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import MemorySource, Pipeline
from dagrax.nnx_api._command import main
from dagrax.nnx_api._command._bench import measured

MODULE = """
import sys
from tests.nnx_api.test_command import made, variants
print("a word of the module")
pipeline = made()
class Own(type(pipeline)):
    def __init__(self):
        super().__init__(source=made().source, batch_size=2)
def fails():
    raise RuntimeError("of its own") from ValueError("the cause")
def prints():
    print("a word of the maker", flush=True)
    return made()
def interrupted():
    raise KeyboardInterrupt
"""
Capture = pytest.CaptureFixture[str]


def noise(batch: Any, *, record_keys: Any) -> Any:
    return {"x": batch["x"] + 1}


def made(seed: int = 0, source: Any = None) -> Pipeline[Any, Any]:
    source = source or MemorySource(data={"x": np.arange(6, dtype=np.float32)})
    return Pipeline(source=source, stages=[noise], batch_size=4, rngs=nnx.Rngs(seed))


def variants() -> Pipeline[Any, Any]:
    source = MemorySource(data={"x": np.arange(6, dtype=np.float32)})
    return Pipeline.variants([made(seed, source) for seed in range(2)])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "target.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "target", raising=False)
    return tmp_path


def answer(capsys: Capture) -> Any:
    """What a program reads; what the module prints is not in it."""
    said = capsys.readouterr()
    assert "a word of the module" in said.err
    return json.loads(said.out)


def test_a_pipeline_is_described_as_data(capsys: Capture) -> None:
    assert main(["describe", "target:pipeline", "--json"]) == 0
    (row,) = answer(capsys)["rows"]
    assert row["name"] == "noise"


def test_a_graph_is_drawn_into_a_file(capsys: Capture, folder: Path) -> None:
    assert main(["draw", "target.py:pipeline", "graph.mmd", "--json"]) == 0
    assert answer(capsys) == {"path": "graph.mmd"}
    assert "noise" in (folder / "graph.mmd").read_text()


def test_a_sheet_is_drawn_into_a_file(capsys: Capture, folder: Path) -> None:
    assert main(["show", "target:pipeline", "sheet.png", "-n", "2", "--nodes", "noise"]) == 0
    assert (folder / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_checks_of_variants_are_those_of_each(capsys: Capture) -> None:
    assert main(["check", "target:variants", "--json", "--only", "source,gradients"]) == 0
    found = answer(capsys)
    assert found["is_well"]
    assert [(x["variant"], x["check"]) for x in found["checks"]] == [
        (0, "check_source"),
        (0, "check_gradients"),
        (1, "check_source"),
        (1, "check_gradients"),
    ]


def test_every_way_is_measured(capsys: Capture) -> None:
    assert main(["bench", "target:pipeline", "--json", "--batches", "3", "--rounds", "1"]) == 0
    found = answer(capsys)
    assert {*found["ways"]} == {"step", "for", "scan"}
    assert all(speed > 0 for speed in found["ways"].values())
    switched = (
        'scan with remainder="drop": its batches have one shape, but the last of an epoch has '
        '2 records under "partial"'
    )
    assert found["switched"] == switched
    assert main(["bench", "target:pipeline", "--batches", "3", "--rounds", "1"]) == 0
    told = capsys.readouterr().out
    assert told.endswith(f"  {switched}\n")
    assert "6 records in batches of 4, on " in told and ", 1 round of 3 batches\n" in told


def test_the_pipeline_is_measured_as_it_is_where_that_can_be_and_is_left_so() -> None:
    even = Pipeline[Any, Any].from_arrays({"x": np.arange(8, dtype=np.float32)}, batch_size=4)
    assert measured(even, 2, 1).switched is None
    short = Pipeline[Any, Any].from_arrays({"x": np.arange(3, dtype=np.float32)}, batch_size=4)
    found = measured(short, 1, 1)
    assert [way.strip() for way, _ in found.ways] == ["step", "for"]
    assert found.switched == "no scan: its batches have one shape, and 3 records make none whole"
    assert short.remainder == "partial"


def test_an_error_of_the_user_is_told_with_their_own_code_alone(capsys: Capture) -> None:
    assert main(["describe", "target:fails"]) == 1
    assert capsys.readouterr().err == "dagrax: RuntimeError: of its own\n"
    assert main(["describe", "target:fails", "--traceback"]) == 1
    told = capsys.readouterr().err
    assert 'raise RuntimeError("of its own")' in told
    assert "dagrax/nnx_api" not in told and "importlib" not in told


def test_a_class_of_no_arguments_makes_a_pipeline(capsys: Capture) -> None:
    assert main(["describe", "target:Own"]) == 0
    assert "batches of 2" in capsys.readouterr().out


def test_a_module_that_ends_the_program_is_told(capsys: Capture, folder: Path) -> None:
    (folder / "ends.py").write_text("import sys\nsys.exit()\n")
    assert main(["describe", "ends.py:pipeline", "--traceback"]) == 1
    told = capsys.readouterr().err
    assert "sys.exit()" in told
    assert "the code of `ends.py:pipeline` ended the program by SystemExit(None); let" in told


def test_a_file_of_the_user_that_is_not_there_is_a_fault_of_the_code(
    capsys: Capture, folder: Path
) -> None:
    (folder / "reads.py").write_text("def pipeline():\n    open('data.npy')\n")
    assert main(["draw", "reads:pipeline", "graph.mmd"]) == 1
    assert "FileNotFoundError" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_in_the_end_is_no_fault_of_the_pipeline(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(["draw", "target:pipeline", "graph.mmd"]) == 2
    told = "`graph.mmd` cannot be written (no space left on device); write to another."
    assert capsys.readouterr().err == f"dagrax: {told}\n"


OUTPUTS = {
    "is read no more": (errno.EPIPE, 141, ""),
    "is full": (
        errno.ENOSPC,
        2,
        "dagrax: the output cannot be written (no space left on device); write to another.\n",
    ),
}


@pytest.mark.parametrize("target", ["target:pipeline", "target:prints"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_it_is_no_fault_of_the_pipeline_that_the_output(
    output: str, target: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, code, told = OUTPUTS[output]

    def flush() -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(sys.stdout, "flush", flush)
        assert main(["draw", target]) == code
    assert capsys.readouterr().err == told


def test_behind_a_pipe_that_is_closed_it_ends_in_silence() -> None:
    command = f"{sys.executable} -m dagrax.nnx_api --help | true; exit ${{PIPESTATUS[0]}}"
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=buffered)
    assert (run.returncode, run.stderr) == (141, "")


def test_what_is_interrupted_says_so_in_a_line(capsys: Capture) -> None:
    assert main(["describe", "target:interrupted"]) == 130
    assert capsys.readouterr().err == "dagrax: interrupted\n"
    assert main(["describe", "target:interrupted", "--traceback"]) == 130
    head, place, code, *_, line = capsys.readouterr().err.splitlines()
    assert (head[:9], code.strip(), line) == (
        "Traceback",
        "raise KeyboardInterrupt",
        "dagrax: interrupted",
    )
    assert place.endswith(", in interrupted")


def test_it_is_a_program() -> None:
    command = [sys.executable, "-m", "dagrax.nnx_api", "--version"]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert (run.returncode, run.stdout.split()[0]) == (0, "dagrax"), run.stderr
