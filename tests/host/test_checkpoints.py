"""What was saved comes back whole and to its own pipeline, or nothing is set and it is told why."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, Pipeline
from dagrax.pure import host
from dagrax.pure.host._saved._claim import Claim
from dagrax.pure.host._saved._digests import content
from tests.plainly import FOUR_DEVICES, ROOT

pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint is not installed")
DATA = {"x": np.arange(24, dtype=np.float32)}


class Counting(nnx.Module):
    """A stage with a parameter, a count, and an array without a Variable."""

    def __init__(self) -> None:
        self.weight = nnx.Param(jnp.ones(3))
        self.calls = nnx.Variable(jnp.int32(0))
        self.bare = jnp.zeros(2)

    def __call__(self, batch: Any) -> Any:
        return batch


def pipeline_of(
    *, data: Any = None, seed: int = 0, shuffle: int = 0, stage: Any = None, **options: Any
) -> Pipeline:
    source = MemorySource(data=data or DATA, shuffle=True, rngs=nnx.Rngs(shuffle))
    stages = [stage or Counting()]
    return Pipeline(
        source=source, stages=stages, rngs=nnx.Rngs(seed), **{"batch_size": 4, **options}
    )


def saved(tmp_path: Path, *steps: int, keep: int = 3) -> tuple[host.Checkpoints, Pipeline]:
    """Checkpoints of a pipeline that stood at offset 4 * step, with a weight of as much."""
    checkpoints = host.Checkpoints(tmp_path / "run", keep, asynchronous=False)
    pipeline = pipeline_of()
    for step in steps:
        pipeline.seek(epoch=1, offset=4 * step)
        pipeline.nodes["counting"].weight[...] = jnp.full(3, float(step))
        checkpoints.save(step, pipeline)
    return checkpoints, pipeline


def folders(checkpoints: host.Checkpoints) -> list[str]:
    return sorted(path.name for path in Path(checkpoints._folder.path).iterdir())


def about(checkpoints: host.Checkpoints, step: int) -> Path:
    return Path(checkpoints._folder.path, str(step), "about", "metadata")


# What comes back


def test_pipeline_model_optimizer_and_pytrees_come_back_bit_for_bit(tmp_path: Path) -> None:
    def made(start: float) -> tuple[Pipeline, dict[str, Any]]:
        model = nnx.Dict(
            line=nnx.Linear(2, 2, rngs=nnx.Rngs(int(start))), drop=nnx.Rngs(int(start))
        )
        optimizer = nnx.Optimizer(model.line, optax.adam(1e-3), wrt=nnx.Param)
        tree = {
            "arrays": (np.full(2, start), jnp.bfloat16(start), jnp.zeros(0)),
            "key": jax.random.key(int(start)),
            "fast": dp.fast_key(int(start)),
            "numbers": [int(start), start, True],
            "weak": jnp.asarray(start),
            "empty": None,
            "activation": jax.nn.relu,
            "modules": [nnx.Variable(jnp.float32(start))],
        }
        return pipeline_of(), {"model": model, "optimizer": optimizer, "tree": tree}

    pipeline, state = made(3.0)
    pipeline.seek(epoch=2, offset=8)
    pipeline.nodes["counting"].weight[...] = jnp.arange(3.0)
    pipeline.nodes["counting"].bare = jnp.arange(2.0)
    state["model"].drop()
    with host.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, pipeline, **state)
        pipeline.nodes["counting"].weight[...] = jnp.zeros(3)  # what was saved is its own
        other, restored = made(5.0)
        variable, key = restored["tree"]["modules"][0], restored["tree"]["key"]
        assert checkpoints.restore(other, **restored) == 7
    assert other.cursor == (2, 8)
    assert other.nodes["counting"].weight[...].tolist() == [0, 1, 2]
    assert other.nodes["counting"].bare.tolist() == [0, 1]
    ours, theirs = ({**x, "tree": {**x["tree"], "key": 0, "fast": 0}} for x in (restored, state))
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert type(x) is type(y)
        if not callable(x):
            np.testing.assert_array_equal(as_words(x), as_words(y))
    assert restored["tree"]["modules"][0] is variable
    assert restored["tree"]["weak"].weak_type
    for name in ("key", "fast"):
        assert restored["tree"][name].dtype == state["tree"][name].dtype
        assert (restored["tree"][name] == state["tree"][name]).all()
    assert (key != restored["tree"]["key"]).all()


def as_words(x: Any) -> Any:
    is_key = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if is_key else x


def test_a_place_of_the_core_comes_back(tmp_path: Path) -> None:
    stream = dp.Stream(dp.ArraySource(DATA), dp.Shuffled(jax.random.key(1)), batch_size=4)

    def place_of(shift: float) -> host.Place:
        pipeline = dp.Pipeline.linear([jax.tree_util.Partial(jnp.add, jnp.float32(shift))])
        return host.Place(pipeline, stream, key=jax.random.key(0))

    place, optimizer = place_of(2.0), optax.sgd(0.1, momentum=0.9).init({"w": jnp.ones(2)})
    place.cursor = dp.Cursor(3, 8)
    checkpoints = host.Checkpoints(tmp_path, asynchronous=False)
    checkpoints.save(1, place, training={"optimizer": optimizer, "step": 5})
    other, training = (
        place_of(0.0),
        {"optimizer": jax.tree.map(jnp.zeros_like, optimizer), "step": 0},
    )
    assert checkpoints.restore(other, training=training) == 1
    assert other.cursor == (3, 8)
    assert jax.tree.leaves(other.pipeline) == [2.0]
    assert training["step"] == 5
    assert type(training["optimizer"]) is type(optimizer)


def test_a_stage_that_is_the_model_too_is_one_module_still(tmp_path: Path) -> None:
    def made(weight: float) -> tuple[Pipeline, Counting]:
        stage = Counting()
        stage.weight[...] = jnp.full(3, weight)
        return pipeline_of(stage=stage), stage

    checkpoints = host.Checkpoints(tmp_path, asynchronous=False)
    pipeline, model = made(2.0)
    checkpoints.save(0, pipeline, model=model)
    other, model = made(3.0)
    assert checkpoints.restore(other, model=model) == 0
    assert other.nodes["counting"] is model
    assert model.weight[...].tolist() == [2, 2, 2]


def test_another_batch_size_goes_on_from_the_same_record(tmp_path: Path) -> None:
    checkpoints, _ = saved(tmp_path, 2)
    other = pipeline_of(batch_size=3, shard=(0, 3))
    assert checkpoints.restore(other) == 2
    assert other.cursor == (1, 8)


def test_variants_come_back_together(tmp_path: Path) -> None:
    checkpoints = host.Checkpoints(tmp_path, asynchronous=False)

    def pair() -> Pipeline:
        data = {"x": jnp.asarray(DATA["x"])}
        return Pipeline.variants([pipeline_of(data=data, seed=seed) for seed in (0, 1)])

    both = pair()
    both.nodes["counting"].weight[...] = jnp.arange(6.0).reshape(2, 3)
    both.seek(offset=12)
    checkpoints.save(0, both)
    other = pair()
    assert checkpoints.restore(other) == 0
    assert other.cursor == (0, 12)
    assert other.nodes["counting"].weight[...].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_pipeline_without_any_array_comes_back(tmp_path: Path) -> None:
    checkpoints = host.Checkpoints(tmp_path, asynchronous=False)
    pipeline = Pipeline.from_arrays(DATA, [lambda batch: batch], batch_size=4)
    pipeline.seek(epoch=3, offset=8)
    checkpoints.save(1, pipeline)
    other = Pipeline.from_arrays(DATA, [lambda batch: batch], batch_size=4)
    assert checkpoints.restore(other) == 1
    assert other.cursor == (3, 8)


def test_there_is_nothing_to_restore_where_nothing_was_saved(tmp_path: Path) -> None:
    checkpoints, pipeline = saved(tmp_path)
    assert checkpoints.restore(pipeline) is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run" / "7.orbax-checkpoint-tmp").mkdir(parents=True)  # killed in mid-write
    assert checkpoints.restore(pipeline) is None


def test_the_newest_stay(tmp_path: Path) -> None:
    checkpoints, _ = saved(tmp_path, 0, 1, 2, 3, 5, keep=2)
    assert folders(checkpoints) == ["3", "5"]


def test_what_an_interrupt_leaves_behind_is_cleared_by_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, pipeline = saved(tmp_path, 0, 1, 2, keep=2)
    folder = Path(checkpoints._folder.path)

    def interrupted(step: int, **_: object) -> None:
        (folder / f"{step}.orbax-checkpoint-tmp").mkdir()
        shutil.copytree(folder / "1", folder / "0")  # as one that was to go and stays
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoints._folder._writer, "save", interrupted)
        checkpoints.save(3, pipeline)
    assert folders(checkpoints) == ["0", "1", "2", "3.orbax-checkpoint-tmp"]
    assert checkpoints.restore(pipeline_of()) == 2
    checkpoints.save(4, pipeline)
    assert folders(checkpoints) == ["2", "4"]


def test_what_it_says_of_itself_is_small(tmp_path: Path) -> None:
    checkpoints = host.Checkpoints(tmp_path, asynchronous=False)
    checkpoints.save(0, pipeline_of(), many={str(i): np.zeros(1) for i in range(200)})
    written = about(checkpoints, 0).read_text()
    assert len(written) < 320
    assert json.loads(written)["offset"] == 0


# What goes into what


NUMBERS: dict[str, tuple[Any, Any]] = {
    "inf": (np.float32("inf"), 0.0),
    "nan": (jnp.float32("nan"), 0.0),
    "half": (0.5, jnp.float32(0)),
    "small": (jnp.bfloat16(1.5), np.float32(0)),
    "count": (jnp.int32(7), 0),
    "unsigned": (7, np.uint8(0)),
    "flag": (np.bool_(True), False),
}


def test_a_number_goes_into_another_of_its_kind(tmp_path: Path) -> None:
    checkpoints, pipeline = host.Checkpoints(tmp_path, asynchronous=False), pipeline_of()
    checkpoints.save(1, pipeline, st={name: x for name, (x, _) in NUMBERS.items()})
    places = {name: place for name, (_, place) in NUMBERS.items()}
    assert checkpoints.restore(pipeline, st=places) == 1
    for name, (saved, place) in NUMBERS.items():
        assert type(places[name]) is type(place)
        np.testing.assert_array_equal(np.float64(places[name]), np.float64(saved))


def test_a_number_that_does_not_fit_and_an_array_of_another_dtype_are_told(tmp_path: Path) -> None:
    checkpoints, pipeline = host.Checkpoints(tmp_path, asynchronous=False), pipeline_of()
    state = {"tenth": 0.1, "large": 2**40, "ids": np.arange(3), "word": 1}
    checkpoints.save(1, pipeline, st=state)
    refused: list[tuple[str, Any, str]] = [
        ("tenth", jnp.float32(0), "the f64[] 0.1, which f32[] cannot hold."),
        ("large", np.int32(0), "the i64[] 1099511627776, which i32[] cannot hold."),
        ("ids", jnp.arange(3), "i64[3], which is i32[3] here."),
        ("word", 0.0, "i64[], which is f64[] here."),
    ]
    for name, place, told in refused:
        with pytest.raises(ValueError) as caught:
            checkpoints.restore(pipeline, st={**state, name: place})
        assert f"\n  - step 1: it holds `st/{name}` as {told}\n" in str(caught.value)


def test_a_key_of_another_kind_is_told(tmp_path: Path) -> None:
    pipeline = pipeline_of()
    kinds = {"fry": jax.random.key(1), "fast": dp.fast_key(1)}
    kinds |= {x: jax.random.key(1, impl=x) for x in ("rbg", "unsafe_rbg")}
    dtype = {name: str(key.dtype) for name, key in kinds.items()} | {"raw": "u32[2]"}
    kinds["raw"] = jax.random.PRNGKey(1)
    pairs = [("rbg", "unsafe_rbg"), ("fast", "fry"), ("fry", "raw"), ("raw", "fry")]
    for saved, here in pairs:
        checkpoints = host.Checkpoints(tmp_path / saved, asynchronous=False)
        checkpoints.save(1, pipeline, st={"key": kinds[saved]})
        with pytest.raises(ValueError) as caught:
            checkpoints.restore(pipeline, st={"key": kinds[here]})
        told = f"step 1: it holds `st/key` as {dtype[saved]}, which is {dtype[here]} here."
        assert told in str(caught.value)
    checkpoints = host.Checkpoints(tmp_path / "model", asynchronous=False)
    checkpoints.save(1, pipeline, model=nnx.Rngs(dp.fast_key(1)))
    with pytest.raises(ValueError, match=r"step 1: it holds `model/default/key` as key<"):
        checkpoints.restore(pipeline, model=nnx.Rngs(0))


def test_a_pipeline_beside_the_first_is_asked_whose_it_is(tmp_path: Path) -> None:
    checkpoints = host.Checkpoints(tmp_path, asynchronous=False)
    valid = pipeline_of(shuffle=5)
    valid.seek(offset=8)
    checkpoints.save(1, pipeline_of(), valid=valid, more={"test": pipeline_of()})
    for what, option in OTHERS.items():
        told = re.escape(f": its `valid` is a pipeline with another {what}.")
        with pytest.raises(ValueError, match=told):
            other = pipeline_of(**{"shuffle": 5, **option} if what != "order" else option)
            checkpoints.restore(pipeline_of(), valid=other, more={"test": pipeline_of()})
    with pytest.raises(ValueError, match=r": its `more/test` is a pipeline with another seed\."):
        more = {"test": pipeline_of(seed=1)}
        checkpoints.restore(pipeline_of(), valid=pipeline_of(shuffle=5), more=more)
    with pytest.raises(ValueError, match="it also holds `more/test/_position`"):
        checkpoints.restore(pipeline_of(), valid=pipeline_of(shuffle=5))
    valid = pipeline_of(shuffle=5)
    assert checkpoints.restore(pipeline_of(), valid=valid, more={"test": pipeline_of()}) == 1
    assert valid.cursor == (0, 8)


def test_dicts_and_lists_within_are_filled_in_place(tmp_path: Path) -> None:
    checkpoints, pipeline = host.Checkpoints(tmp_path, asynchronous=False), pipeline_of()

    def made(x: int) -> dict[str, Any]:
        return {"p": {"x": x}, "l": [[x], (x, {"y": x})]}

    checkpoints.save(1, pipeline, st=made(1))
    state = made(2)
    within, inner = state["p"], state["l"][0]
    assert checkpoints.restore(pipeline, st=state) == 1
    assert state == made(1)
    assert state["p"] is within
    assert state["l"][0] is inner


# What is refused


def damaged(path: Path, how: Callable[[bytes], bytes]) -> None:
    path.write_bytes(how(path.read_bytes()))


def another_place(c: host.Checkpoints) -> None:
    damaged(about(c, 2), lambda x: x.replace(b'"offset": 8', b'"offset": 4'))


def another_epoch(c: host.Checkpoints) -> None:
    damaged(about(c, 2), lambda x: x.replace(b'"epoch": 1', b'"epoch": 0'))


def half_of_its_json(c: host.Checkpoints) -> None:
    damaged(about(c, 2), lambda x: x[: len(x) // 2])


def no_json(c: host.Checkpoints) -> None:
    about(c, 2).unlink()


def no_arrays(c: host.Checkpoints) -> None:
    shutil.rmtree(Path(c._folder.path, "2", "arrays"))


def an_empty_folder(c: host.Checkpoints) -> None:
    shutil.rmtree(Path(c._folder.path, "2"))
    Path(c._folder.path, "2").mkdir()


def files_cut_short(c: host.Checkpoints) -> None:
    for path in arrays_of(c, 2):
        damaged(path, lambda x: x[: len(x) // 2])


def flipped_bits_in_each_file(c: host.Checkpoints) -> None:
    for path in arrays_of(c, 2):
        damaged(path, lambda x: bytes(byte ^ 4 for byte in x))


def arrays_of(checkpoints: host.Checkpoints, step: int) -> list[Path]:
    arrays = Path(checkpoints._folder.path, str(step), "arrays")
    return sorted(path for path in arrays.rglob("*") if path.is_file())


FAULTS = [
    *(another_place, another_epoch, half_of_its_json, no_json),
    *(no_arrays, an_empty_folder, files_cut_short, flipped_bits_in_each_file),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_is_damaged_is_told_and_the_one_before_is_restored(
    tmp_path: Path, fault: Callable[[host.Checkpoints], None]
) -> None:
    checkpoints, _ = saved(tmp_path, 1, 2)
    fault(checkpoints)
    other = pipeline_of()
    with pytest.warns(UserWarning, match=r"step 2 in .* was passed over: .*Step 1 is restored\."):
        assert checkpoints.restore(other) == 1
    assert other.cursor == (1, 4)
    assert other.nodes["counting"].weight[...].tolist() == [1, 1, 1]
    # What was refused is written over, and pushes nothing out.
    other.seek(epoch=1, offset=8)
    checkpoints.save(2, other)
    assert checkpoints.restore(pipeline_of()) == 2
    assert folders(checkpoints) == ["1", "2"]


def test_numbers_that_changed_behind_the_checksums_of_the_files_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, _ = saved(tmp_path, 2)
    read = checkpoints._folder.arrays

    def flipped(*args: Any) -> Any:
        arrays = read(*args)
        name = "pipeline/nodes/counting/weight"
        words = np.array(arrays[name]).view(np.uint32)
        words[1] ^= 1
        return {**arrays, name: words.view(np.float32)}

    monkeypatch.setattr(checkpoints._folder, "arrays", flipped)
    with pytest.raises(ValueError, match="`pipeline/nodes/counting/weight` changed since it was"):
        checkpoints.restore(pipeline_of())


OTHERS: dict[str, dict[str, Any]] = {
    "source": {"data": {"x": DATA["x"] + 1}},
    "order": {"shuffle": 1},
    "seed": {"seed": 1},
    "graph (there is no `counting` here; `lambda` is here alone)": {"stage": lambda batch: batch},
    'remainder ("partial", here "drop")': {"remainder": "drop"},
}


def test_a_foreign_one_is_refused_before_an_array_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, _ = saved(tmp_path, 1, 2)
    monkeypatch.setattr(checkpoints._folder, "arrays", None)
    for what, option in OTHERS.items():
        other = pipeline_of(**option)
        other.seek(offset=20)
        with pytest.raises(ValueError) as caught:
            checkpoints.restore(other)
        assert str(caught.value).startswith(
            f"No checkpoint in `{tmp_path / 'run'}` can be restored:\n"
            f"  - step 2: it belongs to a pipeline with another {what}.\n"
            f"  - step 1: it belongs to a pipeline with another {what}.\n"
        )
        assert other.cursor == (0, 20)


def test_one_without_the_nodes_of_its_graph_is_judged_by_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = host.Checkpoints(tmp_path, asynchronous=False)
    pipeline = pipeline_of()
    whole = pipeline.__whole__({})
    assert whole.about.pop("nodes") == '{"counting":["Counting"],"":["counting"]}'
    with monkeypatch.context() as patched:
        patched.setattr(Pipeline, "__whole__", lambda *_: whole)
        checkpoints.save(1, pipeline)
    assert checkpoints.restore(pipeline_of()) == 1
    with pytest.raises(ValueError, match=r"step 1: it belongs to a pipeline with another graph\."):
        checkpoints.restore(pipeline_of(stage=lambda batch: batch))


def test_a_warning_that_is_an_error_leaves_all_as_it_was(tmp_path: Path) -> None:
    checkpoints, _ = saved(tmp_path, 1, 2)
    no_json(checkpoints)
    other, state = pipeline_of(), {"x": np.zeros(2)}
    with warnings.catch_warnings(), pytest.raises(UserWarning):
        warnings.simplefilter("error")
        checkpoints.restore(other)
    assert (other.cursor, state["x"].tolist()) == ((0, 0), [0, 0])


# What cannot be written


def test_a_disk_that_is_full_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, pipeline = saved(tmp_path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=r"needs 0\.1 MB, but the disk of .* has 0\.0 MB"):
        checkpoints.save(2, pipeline)
    assert folders(checkpoints) == ["1"]


FULL = """
import resource, signal, sys
import jax, numpy as np
import dagrax.pure as dp
from dagrax.pure import host
stream = dp.Stream(dp.ArraySource(np.arange(8, dtype=np.float32)), batch_size=4)
place = host.Place(dp.Pipeline.linear([lambda batch: batch]), stream)
checkpoints = host.Checkpoints(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
draws = np.random.default_rng(0)
state = {"x": draws.normal(size=100)}
checkpoints.save(1, place, state=state)
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
large = {"x": draws.normal(size=100_000)}
try:
    checkpoints.save(2, place, state=large)
    checkpoints.wait()
except OSError as error:
    print(error)
print(checkpoints.restore(place, state=state))
checkpoints.save(3, place, state=state)  # left to the end of the process
"""


def test_a_write_that_fails_is_told_what_was_saved_stays_and_an_exit_waits(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    told, step = run.stdout.splitlines()
    assert told.startswith(f"The checkpoint of step 2 was not written to `{tmp_path}`: ")
    assert told.endswith("The last one before it is that of step 1.")
    assert step == "1"
    assert run.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"1", "3"}


READ_ONLY = """
import os, sys
import numpy as np
import dagrax.pure as dp
from dagrax.pure import host
stream = dp.Stream(dp.ArraySource(np.arange(8, dtype=np.float32)), batch_size=4)
place = host.Place(dp.Pipeline.linear([lambda batch: batch]), stream)
folder = sys.argv[1] + str(len(sys.argv))
host.Checkpoints(folder, asynchronous=False).save(1, place)
os.chmod(folder, 0o555)
if os.geteuid() == 0:
    os.seteuid(65534)
checkpoints = host.Checkpoints(folder)
if len(sys.argv) > 2:  # it was writable when it was asked
    checkpoints._folder._ready = lambda: setattr(
        checkpoints._folder, "_writer", checkpoints._folder._manager(create=True)
    )
try:
    checkpoints.save(2, place)
    checkpoints.wait()
except OSError as error:
    print(error)
"""


def test_a_process_ends_after_a_folder_that_could_not_be_made(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            folder.chmod(0o755)
    command = [sys.executable, "-c", READ_ONLY, str(tmp_path / "run")]
    runs = [
        subprocess.Popen([*command, *x], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for x in ([], ["late"])
    ]
    for run in runs:
        told, _ = run.communicate(timeout=100)
        assert told.startswith(f"The checkpoint of step 2 was not written to `{tmp_path / 'run'}")
        assert "PermissionError: [Errno 13] Permission denied" in told
        assert run.returncode == 0


# A folder of others


def test_the_folder_of_another_run_is_left_alone(tmp_path: Path) -> None:
    checkpoints, pipeline = saved(tmp_path, 1, 2)
    again = host.Checkpoints(tmp_path / "run", keep=1, asynchronous=False)
    with pytest.raises(ValueError, match=r"holds step 2: .* another seed\. Pass another folder"):
        again.save(3, pipeline_of(seed=1))
    with pytest.raises(ValueError, match="can be restored"):
        again.restore(pipeline_of(seed=1))
    with pytest.raises(ValueError, match=r"Nothing was saved: no checkpoint in .* be restored"):
        again.save(1, pipeline_of(seed=1))
    assert folders(checkpoints) == ["1", "2"]
    assert again.restore(pipeline) == 2
    again.save(3, pipeline)
    assert folders(checkpoints) == ["3"]


def test_what_was_not_written_here_is_told_and_left_alone(tmp_path: Path) -> None:
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(7, args=ocp.args.StandardSave({"a": jnp.ones(2)}))
    checkpoints = host.Checkpoints(tmp_path, keep=1, asynchronous=False)
    calls: list[Callable[[], object]] = [
        lambda: checkpoints.save(8, pipeline_of()),
        lambda: checkpoints.restore(pipeline_of()),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"step 7.*: it was not written by Checkpoints, or"):
            call()
    assert (tmp_path / "7").exists()


def test_two_at_once_are_told_and_threads_of_one_wait(tmp_path: Path) -> None:
    checkpoints, pipeline = saved(tmp_path, 1)
    other = host.Checkpoints(tmp_path / "run")
    claim = Claim(str(tmp_path / "run"))
    claim.take()  # as while one is written
    with pytest.raises(OSError, match=r"Another Checkpoints is writing to `.*run`; use one for"):
        other.save(2, pipeline)
    claim.release()
    other.save(2, pipeline)
    other.close()
    with ThreadPoolExecutor(4) as threads:
        each = [threads.submit(checkpoints.save, step, pipeline) for step in (3, 4, 5)]
    behind = [future.exception() for future in each]
    assert checkpoints.restore(pipeline) == 5
    assert {type(x) for x in behind} <= {type(None), ValueError}  # a step that came too late


def test_a_path_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    host.Checkpoints("~/run", asynchronous=False).save(1, pipeline_of())
    assert (tmp_path / "run" / "1").exists()


# A digest


SPREAD = """
import numpy as np
import jax
from jax.sharding import NamedSharding, PartitionSpec as P
from dagrax.pure.host._saved._digests import content
x = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
for kind in ("Explicit", "Auto"):
    kinds = (getattr(jax.sharding.AxisType, kind),) * 2
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=kinds)
    for spec in (P("a"), P("a", "b"), P(None, "b"), P(), P(("a", "b"))):
        assert (content(jax.device_put(x, NamedSharding(mesh, spec))) == content(x)).all()
"""


def test_a_digest_is_the_same_however_an_array_lies() -> None:
    run = [sys.executable, "-c", FOUR_DEVICES + SPREAD]
    assert subprocess.run(run, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool", "complex64", "int4"])
def test_a_digest_is_the_same_on_the_device_and_notices_a_bit(dtype: str) -> None:
    array = (np.random.default_rng(0).normal(size=(3, 5)) * 3).clip(0).astype(jnp.dtype(dtype))
    digest = content(array)
    assert (content(jnp.asarray(array)) == digest).all()
    other = array.copy()
    other[1, 2] = not other[1, 2] if dtype == "bool" else -other[1, 2] - other.dtype.type(1)
    assert (content(other) != digest).all()
    assert (content(array[::-1]) != digest).all()


def test_a_killed_training_ends_as_if_nothing_had_happened() -> None:
    command = [sys.executable, "tools/crash.py", "--kills", "10"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.stdout == ("10 kills; losses and parameters are the same, bit for bit\n"), run.stderr
