"""A folder of checkpoints, each some named arrays and a small JSON dict: the one file on Orbax.

A checkpoint is written beside and renamed when it is whole. What the arrays are, and which
checkpoint is to be trusted, is not known here.
"""

import atexit
import errno
import os
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np

from ._arrays import Saved, template
from ._engines import engine

_Read = TypeVar("_Read")
_ARRAYS, _ABOUT = "arrays", "about"
_SPARE = 2**16  # bytes for what is written beside the arrays


class Unreadable(Exception):
    """A checkpoint that cannot be read, with the reason."""


@dataclass
class _Newest:
    # Orbax asks it which checkpoints are to stay; those that were refused do not count.
    keep: int
    refused: frozenset[int] = frozenset()

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        whole = sorted(x.step for x in checkpoints if x.step not in self.refused)
        return [x.step in self.refused or x.step in whole[-self.keep :] for x in checkpoints]


class Folder:
    """The checkpoints in a folder, of which the newest `keep` stay."""

    def __init__(self, path: str, keep: int, asynchronous: bool):
        needed = "orbax-checkpoint", "checkpoints", "host.Checkpoints"
        self._orbax: Any = engine("orbax.checkpoint", *needed)
        self._paths: Any = engine("etils.epath", *needed)
        self._is_remote = "://" in path
        self.path = path if self._is_remote else os.path.abspath(path)
        self._asynchronous = asynchronous
        self._newest = _Newest(keep)
        self._writer: Any = None
        self._writing: int | None = None

    def steps(self) -> list[int]:
        """The steps that were saved, in their order."""
        self.wait()
        if self._writer is not None:
            return sorted(self._writer.all_steps())
        if not self._paths.Path(self.path).exists():
            return []
        return self._read(lambda reader: sorted(reader.all_steps()))

    def about(self, step: int) -> object:
        """What was written beside the arrays. **Errors:** Unreadable."""
        asked = {_ABOUT: self._orbax.args.JsonRestore()}
        return self._of(step, asked, _ABOUT)

    def specs(self, step: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes and dtypes of the arrays. **Errors:** Unreadable."""

        def found(reader: Any) -> dict[str, jax.ShapeDtypeStruct]:
            arrays = reader.item_metadata(step)[_ARRAYS]
            return {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in arrays.items()}

        return self._trying(found)

    def arrays(self, step: int, like: Mapping[str, Saved]) -> dict[str, Saved]:
        """The arrays, spread as those that they are `like`. **Errors:** Unreadable."""
        templates = {name: template(x) for name, x in like.items()}
        asked = {_ARRAYS: self._orbax.args.StandardRestore(templates)}
        return dict(self._of(step, asked, _ARRAYS))

    def save(self, step: int, arrays: Mapping[str, Saved], about: Mapping[str, object]) -> None:
        """Write a checkpoint, in the background if asked for. **Errors:** OSError."""
        self.wait()
        if self._writer is None:
            self._writer = self._manager(create=True)
            weakref.finalize(self, _quietly, self._writer.close)
            _before_exit(self)
        if step in self._newest.refused:
            self._writer.delete(step)
            self.refuse(self._newest.refused - {step})
        self._check_space(step, arrays)
        args = self._orbax.args
        both = args.Composite(
            **{_ARRAYS: args.StandardSave(dict(arrays)), _ABOUT: args.JsonSave(dict(about))}
        )
        self._writing = step
        self._told(lambda: self._writer.save(step, args=both, force=True))
        if not self._asynchronous:
            self.wait()

    def refuse(self, steps: frozenset[int]) -> None:
        """Checkpoints that count no more: they may be written over, and do not push others out."""
        self._newest.refused = steps

    def wait(self) -> None:
        """Until what is being written is whole. **Errors:** OSError where it could not be."""
        if self._writer is not None and self._writing is not None:
            self._told(self._writer.wait_until_finished)
            self._writing = None

    def close(self) -> None:
        """Wait, and end what writes."""
        try:
            self.wait()
        finally:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

    def _told(self, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:
            step, self._writing = self._writing, None
            writer, self._writer = self._writer, None
            _quietly(writer.close)
            raise OSError(
                f"The checkpoint of step {step} was not written to `{self.path}`: "
                f"{reason(error)}. {self._last()}"
            ) from error

    def _check_space(self, step: int, arrays: Mapping[str, Saved]) -> None:
        # Before anything is written, and not in a thread that could tell it only later.
        if self._is_remote:
            return
        own = [shard for x in arrays.values() if isinstance(x, jax.Array) for shard in _shards(x)]
        own += [x for x in arrays.values() if isinstance(x, np.ndarray)]
        needed, free = sum(x.nbytes for x in own) + _SPARE, shutil.disk_usage(self.path).free
        if free < needed:
            raise OSError(
                errno.ENOSPC,
                f"The checkpoint of step {step} needs {_size(needed)}, but the disk of "
                f"`{self.path}` has {_size(free)} left; nothing was written. {self._last()}",
            )

    def _last(self) -> str:
        steps = self.steps()
        return f"The last one before it is that of step {steps[-1]}." if steps else "None is there."

    def _of(self, step: int, asked: dict[str, Any], item: str) -> Any:
        args = self._orbax.args.Composite(**asked)
        return self._trying(lambda reader: reader.restore(step, args=args)[item])

    def _trying(self, read: Callable[[Any], _Read]) -> _Read:
        try:
            return self._read(read)
        except Exception as error:
            # Of a file that is damaged the libraries below raise anything.
            raise Unreadable(f"{reason(error)}.") from error

    def _read(self, read: Callable[[Any], _Read]) -> _Read:
        reader = self._manager(create=False)
        try:
            return read(reader)
        finally:
            reader.close()

    def _manager(self, create: bool) -> Any:
        orbax = self._orbax
        options = orbax.CheckpointManagerOptions(
            create=create,
            cleanup_tmp_directories=create,
            save_root_metadata=False,
            enable_async_checkpointing=create and self._asynchronous,
            preservation_policy=self._newest,
        )
        handlers = {
            _ARRAYS: orbax.StandardCheckpointHandler(),
            _ABOUT: orbax.JsonCheckpointHandler(),
        }
        return orbax.CheckpointManager(self.path, options=options, item_handlers=handlers)


def reason(error: BaseException) -> str:
    """What an error says, without the inner state that the libraries add to it."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    text = re.sub(
        r"\s*\[(?:tensorstore_spec|source locations?|os_error_code)=.*", "", text, flags=re.DOTALL
    )
    first = text.strip().split("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _before_exit(folder: Folder) -> None:
    # Behind this hook of Python's own no thread pool takes work any more, and Orbax needs one to
    # end what it writes; what `atexit` runs comes later still.
    alive = weakref.ref(folder)

    def end() -> None:
        if (folder := alive()) is not None:
            folder.close()

    register: Callable[[Callable[[], None]], object]
    register = getattr(threading, "_register_atexit", atexit.register)
    register(end)


def _quietly(end: Callable[[], None]) -> None:
    try:
        end()
    except Exception:  # the same once more
        return


def _shards(array: jax.Array) -> list[Any]:
    return [shard.data for shard in array.addressable_shards if shard.replica_id == 0]


def _size(bytes_: int) -> str:
    return f"{bytes_ / 1e6:,.1f} MB"
