"""A folder of checkpoints, each some named arrays and a small JSON dict: the one file on Orbax.

A checkpoint is written beside and renamed when it is whole. What the arrays are, and which
checkpoint is to be trusted, is not known here.
"""

import atexit
import errno
import importlib.util
import os
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np

from ..._text import listed
from .._engines import engine
from ._arrays import Saved, template
from ._claim import Claim, Taken
from ._hush import Hush

_Read = TypeVar("_Read")
_ARRAYS, _ABOUT = "arrays", "about"
_REMOTE = ("gs", "s3", "az", "hf")  # those that Orbax's paths know
_SPARE = 2**16  # bytes for what is written beside the arrays
_REFUSALS = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE)


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
        if self._is_remote:
            _check_remote(path, needed)
        self.path = path if self._is_remote else os.path.abspath(path)
        self._claim, self._hush = Claim(self.path), Hush()
        self._release = _released(self._claim, self._hush)
        self._asynchronous = asynchronous
        self._newest = _Newest(keep)
        self._writer: Any = None
        self._writing: int | None = None
        self._was_interrupted = False

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
        if not (self._paths.Path(self.path) / str(step) / _ABOUT).exists():
            raise Unreadable(
                "it was not written by Checkpoints, or has lost what it says of itself."
            )
        asked = {_ABOUT: self._orbax.args.JsonRestore()}
        return self._of(step, asked, _ABOUT)

    def specs(self, step: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes and dtypes of the arrays. **Errors:** Unreadable."""

        def found(reader: Any) -> dict[str, jax.ShapeDtypeStruct]:
            arrays = reader.item_metadata(step)[_ARRAYS]
            if arrays is None:
                raise ValueError("the list of its arrays is lost")
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
        self._writing = step
        self._told(self._ready)
        if step in self._newest.refused:
            self._writer.delete(step)
            self.refuse(self._newest.refused - {step})
        self._check_space(step, arrays)
        args = self._orbax.args
        both = args.Composite(
            **{_ARRAYS: args.StandardSave(dict(arrays)), _ABOUT: args.JsonSave(dict(about))}
        )
        self._hush.begin()
        self._told(lambda: self._writer.save(step, args=both, force=True))
        if not self._asynchronous:
            self.wait()

    def _ready(self) -> None:
        if not self._is_remote:
            os.makedirs(self.path, exist_ok=True)
            if jax.process_count() == 1:
                self._claim.take()
            tempfile.TemporaryFile(dir=self.path).close()  # is anything written here at all?
        if self._was_interrupted:  # what it was at is lost: parts of files, and what was to go
            writer, self._writer = self._writer, None
            _end(writer.close if writer else None, lambda: None)
            self._was_interrupted = False
        if self._writer is None:
            self._writer = self._manager(create=True)
            weakref.finalize(self, _end, self._writer.close, self._release)
            _before_exit(self)

    def refuse(self, steps: frozenset[int]) -> None:
        """Checkpoints that count no more: they may be written over, and do not push others out."""
        self._newest.refused = steps

    def wait(self) -> None:
        """Until what is being written is whole. **Errors:** OSError where it could not be."""
        if self._writer is not None and self._writing is not None:
            self._told(self._writer.wait_until_finished)
            self._writing = None
            self._release()

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
            with self._hush.lasting():
                write()
        except Exception as error:
            step, self._writing = self._writing, None
            writer, self._writer = self._writer, None
            _end(writer.close if writer else None, self._release)
            if isinstance(error, Taken):
                raise
            raise OSError(
                f"The checkpoint of step {step} was not written to `{self.path}`: "
                f"{reason(error)}. {self._last()}"
            ) from error
        except BaseException:  # Ctrl-C; it may have been anywhere
            self._was_interrupted = True
            raise

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
            raise Unreadable(f"it is damaged, or cannot be read: {reason(error)}.") from error

    def _read(self, read: Callable[[Any], _Read]) -> _Read:
        with self._hush.lasting():
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
            # Made by a thread, a folder that cannot be made leaves others waiting for it for long.
            async_options=orbax.AsyncOptions(create_directories_asynchronously=False),
            preservation_policy=self._newest,
        )
        handlers = {
            _ARRAYS: orbax.StandardCheckpointHandler(),
            _ABOUT: orbax.JsonCheckpointHandler(),
        }
        return orbax.CheckpointManager(self.path, options=options, item_handlers=handlers)


def reason(error: BaseException) -> str:
    """What an error says, without the inner state that the libraries add to it; of what the system
    has refused, that alone."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if told := [x for x in map(os.strerror, _REFUSALS) if re.search(rf"[:\]] {x}\b", text)]:
        return told[0]
    text = re.sub(
        r"\s*\[(?:tensorstore_spec|source locations?|os_error_code)=.*", "", text, flags=re.DOTALL
    )
    first = text.strip().split("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _released(claim: Claim, hush: Hush) -> Callable[[], None]:
    def release() -> None:
        claim.release()
        hush.end()

    return release


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


def _end(close: Callable[[], None] | None, release: Callable[[], None]) -> None:
    try:
        if close is not None:
            close()
    except Exception:  # the same once more
        return
    finally:
        release()


def _check_remote(path: str, needed: tuple[str, str, str]) -> None:
    scheme = path.partition("://")[0]
    if scheme not in _REMOTE:
        raise ValueError(
            f"directory is {path!r}; expected a folder, or a path that starts with one of "
            f"{listed(x + '://' for x in _REMOTE)}."
        )
    if importlib.util.find_spec("tensorflow") is None:
        try:
            engine("fsspec", *needed).get_filesystem_class(scheme)
        except ImportError as error:
            raise ImportError(
                f"directory is {path!r}, for which a library is missing: {error}"
            ) from error


def _shards(array: jax.Array) -> list[Any]:
    return [shard.data for shard in array.addressable_shards if shard.replica_id == 0]


def _size(bytes_: int) -> str:
    return f"{bytes_ / 1e6:,.1f} MB"
