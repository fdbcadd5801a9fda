"""Several processes give together what one device gives: records, batches, masks, draws, training.

Real ones, over the loopback: four, two, and one of eight devices (`tests.host.fleet`).
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.host.fleet import (
    BATCHES,
    BEFORE,
    COUNTS,
    KINDS,
    POLICIES,
    passed,
    passes_of,
    pipeline_of,
    trained,
)
from tests.plainly import ROOT
from tests.zoo import Remainder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
LIGHTLY = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all the processes have saved."""
    folder = tmp_path_factory.mktemp("fleet")
    command = [sys.executable, "-m", "tests.host.fleet", str(folder)]
    environment = {**os.environ, **LIGHTLY}
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def alone() -> tuple[Arrays, Arrays]:
    """The batches of one device, and what is learned from them."""
    batches, learned = trained(pipeline_of(None))
    found: list[Arrays] = [{k: np.asarray(x) for k, x in y.items()} for y in (batches, learned)]
    return found[0], found[1]


def parts_of(folder: Path, name: str, count: int) -> list[Arrays]:
    return [dict(np.load(folder / f"{name}_{count}_{rank}.npz")) for rank in range(count)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", COUNTS)
def test_each_process_has_its_slice_of_every_batch_to_the_bit(
    folder: Path, alone: tuple[Arrays, Arrays], count: int, kind: str
) -> None:
    whole, parts = alone[0], parts_of(folder, kind, count)
    assert [int(part["first"]) for part in parts] == [8 // count * rank for rank in range(count)]
    for name, expected in whole.items():
        together = np.concatenate([part[name] for part in parts], axis=1)
        assert together.dtype == expected.dtype
        assert np.array_equal(together, expected), name


@pytest.mark.parametrize("count", COUNTS)
def test_each_process_fetches_its_own_rows_of_a_host_source_and_no_others(
    folder: Path, alone: tuple[Arrays, Arrays], count: int
) -> None:
    parts = parts_of(folder, "read", count)
    for name, expected in alone[0].items():
        together = np.concatenate([part[name] for part in parts], axis=1)
        assert np.array_equal(together, expected), name
    for part in parts:
        wanted = part["id"].ravel().tolist()
        assert part["asked"][: len(wanted)].tolist() == wanted


@pytest.mark.parametrize("remainder", POLICIES)
@pytest.mark.parametrize("count", COUNTS)
def test_all_find_the_end_of_a_pass_that_nobody_was_told_at_one_place(
    folder: Path, count: int, remainder: Remainder
) -> None:
    parts = parts_of(folder, remainder, count)
    with passes_of(None, remainder) as pipeline:
        alone = passed(pipeline)
    for name, expected in alone.items():
        together = np.concatenate([part[name] for part in parts], axis=1)
        assert np.array_equal(together, np.asarray(expected)), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", COUNTS)
def test_they_learn_the_same_to_rounding_and_all_of_them_alike(
    folder: Path, alone: tuple[Arrays, Arrays], count: int, kind: str
) -> None:
    parts = parts_of(folder, kind, count)
    for name, expected in alone[1].items():
        np.testing.assert_allclose(parts[0][name], expected, rtol=1e-6, atol=1e-7)
        for part in parts[1:]:
            assert np.array_equal(part[name], parts[0][name]), name


@pytest.mark.parametrize("count", COUNTS[1:])
def test_what_four_processes_have_begun_others_end_without_losing_or_repeating_a_record(
    folder: Path, alone: tuple[Arrays, Arrays], count: int
) -> None:
    before = alone[0]["id"][:BEFORE]  # by the four processes
    rest = np.concatenate([x["ids"] for x in parts_of(folder, "rest", count)], axis=1)
    assert rest.shape[1] == BATCHES[count] != before.shape[1]
    assert sorted([*before.ravel(), *rest[rest < 99]]) == list(range(45))


def test_a_mesh_of_the_devices_of_others_is_refused(folder: Path) -> None:
    told = [(folder / f"refused_2_{rank}.txt").read_text() for rank in range(2)]
    assert told[0] == "nothing"
    assert told[1] == (
        "mesh has no device of this process, 1 of 2; make one of the devices of all processes, "
        'jax.make_mesh((jax.device_count(),), ("data",)), or of jax.local_devices().'
    )
