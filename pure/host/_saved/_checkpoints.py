"""A run that goes on after a kill exactly where it was: saved, judged, restored whole or not.

Each checkpoint says whose it is and what its arrays hold, by digests; it is asked before anything
is set. How it is written is not known here, nor what a pipeline is.
"""

import json
import os
import threading
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from ..._flow._batching import Cursor
from ..._text import listed, of_type, valued
from ._arrays import Saved
from ._digests import content, together
from ._folder import Folder, Unreadable
from ._judged import DIGESTS, FORMAT, Refusal, check_places, converted, judged, seal
from ._resumable import Resumable, Whole

_Answer = TypeVar("_Answer")
_Given = TypeVar("_Given")
Specs: TypeAlias = Mapping[str, jax.ShapeDtypeStruct]
_TAKEN = ("step", "pipeline", DIGESTS)
_CLOSED = (
    "The Checkpoints were closed, by close() or at the end of their `with`, and save no more; make "
    "others, or save inside of the `with`."
)


class Checkpoints:
    """Checkpoints of a run in a folder: the position, every array, and what they belong to.

    - `directory`: the folder; it is made by the first `save`.
    - `keep`: how many of the newest stay.
    - `asynchronous`: whether `save` returns when the arrays are copied, and writes them meanwhile.

    `save(step, pipeline, model=model, optimizer=optimizer)` writes one, and
    `restore(pipeline, model=model, optimizer=optimizer)` sets the newest whole one and returns its
    step. Written by Orbax: `pip install "dagrax[checkpoints]"`. The position is counted in records,
    so that another batch size, and another number of devices or processes, go on from it. Every
    process of a run makes the same calls.

    **Errors:** ImportError without Orbax; TypeError and ValueError for arguments that are none;
    NotADirectoryError for a file.
    """

    def __init__(self, directory: str | os.PathLike[str], keep: int = 3, asynchronous: bool = True):
        if not isinstance(directory, str | os.PathLike):
            raise TypeError(of_type("directory", directory, "the path of a folder."))
        if isinstance(keep, bool) or not isinstance(keep, int | np.integer):
            raise TypeError(valued("keep", keep, "an int."))
        if keep < 1:
            raise ValueError(f"keep is {keep}; expected at least 1.")
        if not isinstance(asynchronous, bool):
            raise TypeError(valued("asynchronous", asynchronous, "True or False."))
        path = os.path.expanduser(os.fspath(directory))
        if not path:
            raise ValueError("directory is ''; expected the path of a folder, such as 'run'.")
        if os.path.isfile(path):
            raise NotADirectoryError(f"directory is the file `{directory}`; pass a folder.")
        self._folder = Folder(path, int(keep), asynchronous)
        self._refused: frozenset[int] = frozenset()
        self._is_ours = False  # whether the folder was found to be of this run
        self._is_foreign = False  # whether nothing in it could be restored
        self._is_closed = False
        self._lock = threading.RLock()  # two threads that save wait for each other

    def save(
        self, step: int | None = None, pipeline: Resumable | None = None, /, **state: PyTree
    ) -> None:
        """Write a checkpoint of the pipeline and of what stands beside it, under a step.

        - `step`: a number above those that are saved already.
        - `pipeline`: a Pipeline of `dagrax.nnx_api`; for the core, a `host.Place`.
        - `state`: modules and optimizers of nnx, and other pipelines; dicts and lists of arrays, of
          modules, of pytrees. None is called `step`, `pipeline` or `digests`.

        **Errors:** TypeError for what cannot be set again; ValueError for a step that is saved or
        lies behind, and for a folder with another run's; OSError, here or at the next call, for
        what could not be written: what was saved before stays.
        """
        step, pipeline = _given("step", step, state), _given("pipeline", pipeline, state)
        if isinstance(step, bool) or not isinstance(step, int | np.integer):
            raise TypeError(valued("step", step, "an int."))
        if step < 0:
            raise ValueError(f"step is {step}; expected at least 0.")
        with self._lock:
            if self._is_closed:
                raise RuntimeError(_CLOSED)
            whole = _whole(pipeline, state)
            self._check_ours(whole)
            self._check_step(int(step))
            self._folder.save(int(step), *_sealed(whole))

    def restore(self, pipeline: Resumable | None = None, /, **state: PyTree) -> int | None:
        """Set pipeline and state to the newest checkpoint that is whole and theirs: its step.

        None where there is none yet. One that is damaged or belongs to another run is passed over,
        with a warning that says why; then the one before it is asked.

        - `pipeline`, `state`: made as those that were saved, under the same names.

        **Errors:** ValueError where none can be restored, with the reason of each; TypeError for
        what cannot be set. Nothing is set then.
        """
        pipeline = _given("pipeline", pipeline, state)
        with self._lock:
            return self._restore(_whole(pipeline, state))

    def _restore(self, whole: Whole) -> int | None:
        refusals: dict[int, str] = {}
        for step in reversed(self._folder.steps()):
            try:
                found = self._found(step, whole)
            except Refusal as error:
                refusals[step] = str(error)
                continue
            self._warn(step, refusals)
            whole.put(*found)
            self._refused = frozenset(refusals)
            self._folder.refuse(self._refused)
            self._is_ours = True
            return step
        if refusals:
            self._is_foreign = True
            lines = "".join(f"\n  - step {step}: {why}" for step, why in refusals.items())
            raise ValueError(
                f"No checkpoint in `{self._folder.path}` can be restored:{lines}\n"
                "Nothing was set. Make pipeline and state as those that were saved, or pass "
                "another folder."
            )
        return None

    def wait(self) -> None:
        """Until what is being written is whole. **Errors:** OSError where it could not be."""
        with self._lock:
            self._folder.wait()

    def close(self) -> None:
        """Wait, and end the threads that write; a `with` does so. After that nothing is saved any
        more, and what is there can be restored. **Errors:** those of `wait`."""
        with self._lock:
            self._is_closed = True
            self._folder.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def _check_ours(self, whole: Whole) -> None:
        # The oldest go as new ones come: of another run they would be gone without a word.
        if self._is_ours:
            return
        path = self._folder.path
        if self._is_foreign:
            raise ValueError(
                f"Nothing was saved: no checkpoint in `{path}` could be restored. Pass another "
                "folder, or `restore` with pipeline and state as those that were saved."
            )
        if steps := self._folder.steps():
            try:
                _by_all(lambda: judged(self._folder.about(steps[-1]), whole))
            except Refusal as why:
                raise ValueError(
                    f"Nothing was saved, for `{path}` holds step {steps[-1]}: {why} Pass another "
                    "folder; or `restore` first, which passes over what is damaged."
                ) from None
        self._is_ours = True

    def _check_step(self, step: int) -> None:
        saved = [x for x in self._folder.steps() if x not in self._refused]
        if saved and step <= saved[-1]:
            raise ValueError(
                f"step is {step}, but step {saved[-1]} is saved in `{self._folder.path}` already; "
                "go on from it by `restore`, or pass another folder."
            )

    def _found(self, step: int, whole: Whole) -> tuple[Cursor, dict[str, Saved]]:
        # The guard first: of what is foreign no array is read.
        about, specs = _by_all(lambda: self._asked(step, whole))
        arrays = _by_all(lambda: self._arrays(step, whole, specs, str(about["arrays"])))
        return Cursor(int(about["epoch"]), int(about["offset"])), arrays

    def _asked(self, step: int, whole: Whole) -> tuple[dict[str, int | str], Specs]:
        about = judged(self._folder.about(step), whole)
        specs = self._folder.specs(step)
        check_places(specs, about, whole)
        return about, specs

    def _arrays(self, step: int, whole: Whole, specs: Specs, digest: str) -> dict[str, Saved]:
        like = {**whole.arrays, DIGESTS: _no_digests(len(whole.arrays))}
        # A number is read as it was saved: what is cast has another digest.
        like |= {
            name: np.zeros((), specs[name].dtype)
            for name, x in whole.arrays.items()
            if x.dtype != specs[name].dtype
        }
        arrays = self._folder.arrays(step, like)
        digests = np.asarray(arrays.pop(DIGESTS))
        if together([digests.tolist()]) != digest:
            raise Refusal("the digests of its arrays changed since they were written.")
        own = zip(sorted(arrays), digests[1:], strict=True)
        if changed := [name for name, x in own if (content(arrays[name]) != x).any()]:
            raise Refusal(f"{listed(changed)} changed since it was written.")
        return {name: converted(name, x, whole.arrays[name]) for name, x in arrays.items()}

    def _warn(self, step: int, refusals: Mapping[int, str]) -> None:
        for refused, why in refusals.items():
            warnings.warn(
                f"The checkpoint of step {refused} in `{self._folder.path}` was passed over: {why} "
                f"Step {step} is restored.",
                stacklevel=4,
            )


def _by_all(ask: Callable[[], _Answer]) -> _Answer:
    """What a checkpoint answers. A refusal by one process is one by all of them.

    **Errors:** Refusal.
    """
    answers, why = [], ""
    try:
        answers.append(ask())
    except (Unreadable, Refusal) as error:
        why = str(error)
    if jax.process_count() > 1 and multihost_utils.process_allgather(np.array(bool(why))).any():
        why = why or "another process could not read it."
    if why:
        raise Refusal(why)
    return answers[0]


def _given(name: str, value: _Given | None, state: dict[str, Any]) -> _Given | None:
    # By its place, or by its name, as state is given.
    if value is None:
        found: _Given | None = state.pop(name, None)
        return found
    if name in state:
        raise ValueError(f"No state can be called `{name}`; give it another name.")
    return value


def _whole(pipeline: object, state: Mapping[str, PyTree]) -> Whole:
    if taken := [name for name in _TAKEN if name in state]:
        raise ValueError(f"No state can be called {listed(taken)}; give it another name.")
    if not isinstance(pipeline, Resumable):
        expected = (
            "a Pipeline of dagrax.nnx_api; of the core, write "
            "host.Place(pipeline, stream, key=key)."
        )
        raise TypeError(of_type("pipeline", pipeline, expected))
    return pipeline.__whole__(state)


def _sealed(whole: Whole) -> tuple[dict[str, Saved], dict[str, int | str]]:
    """The arrays with their digests, and a JSON dict that any changed digit breaks."""
    names = sorted(whole.arrays)
    digests = _no_digests(len(names))
    for row, name in zip(digests[1:], names, strict=True):
        row[:] = content(whole.arrays[name])
    epoch, offset = whole.cursor.as_ints()
    about: dict[str, int | str] = {
        "format": FORMAT,
        "epoch": epoch,
        "offset": offset,
        **whole.about,
        "keys": json.dumps(whole.keys, sort_keys=True),
        "arrays": together([digests.tolist()]),
    }
    return {**whole.arrays, DIGESTS: digests}, {**about, "seal": seal(about)}


def _no_digests(count: int) -> np.ndarray:
    # One row more: an array without numbers cannot be saved.
    return np.zeros((1 + count, 2), np.uint32)
