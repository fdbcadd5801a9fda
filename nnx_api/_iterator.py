"""A `for` over a pipeline: its batches to the end of the epoch, one by one or in blocks of steps.

The position is the pipeline's own; an iterator only knows in which epoch it began, or how many
steps it has left.
"""

import operator
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import dagrax.pure as dp
from dagrax.pure import internal

from ._core import _calls
from ._core._identity import NAMES, digests, refuse_another
from ._core._kept import Kept
from ._core._module import PipelineCore
from ._core._scan import Loop
from ._progress import Progress

Batch = TypeVar("Batch")
Results = TypeVar("Results")


class EpochIterator(Generic[Batch]):
    """The batches from a pipeline's cursor to the end of its epoch.

    The position is the pipeline's own: breaking off leaves it behind the last batch handed out.
    Several threads may share an iterator; each batch goes to one of them.
    """

    def __init__(self, pipeline: PipelineCore[Any, Batch]):
        if pipeline.cursor.is_traced:
            raise TypeError(
                "The pipeline is iterated over inside a trace (jit, scan, vmap), where its "
                "position is no number that a Python loop could end by; call pipeline.step() or "
                "pipeline.scan(step_fn, length=…) there."
            )
        self._pipeline = pipeline
        self._epoch = _calls.settled(pipeline).as_ints()[0]

    def __iter__(self) -> "EpochIterator[Batch]":
        return self

    def __next__(self) -> Batch:
        try:
            return _calls.step(self._pipeline, self._epoch)
        except StopIteration:
            self._epoch = -1  # an iterator that has ended stays ended
            _calls.arrive(self._pipeline)
            raise

    def __len__(self) -> int:
        """The batches that are left. **Errors:** TypeError where its source does not say."""
        batching = _calls.batching(self._pipeline).known()
        epoch, offset = batching.settle(*self._pipeline.cursor).as_ints()
        return batching.steps_left(offset) if epoch == self._epoch else 0

    def get_state(self) -> dict[str, int | str]:
        """The position, digests of source, order, seed and graph, and the nodes of the graph: a
        small JSON dict."""
        epoch, offset = self._pipeline.cursor.as_ints()
        return {"epoch": epoch, "offset": offset, **digests(self._pipeline)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go to a position saved by `get_state`, perhaps in another process or batch size.

        **Errors:** TypeError for anything but a dict of this kind; ValueError for missing fields,
        an offset outside the source, and another source, order, seed or graph, naming which. The
        pipeline then stays where it is.
        """
        own = digests(self._pipeline)
        if not isinstance(state, dict):
            raise TypeError(
                f"The state is {state!r} of type {type(state).__name__}; expected the dict that "
                "`get_state` returned."
            )
        missing = [name for name in ("epoch", "offset", *NAMES) if name not in state]
        if missing:
            raise ValueError(
                f"The state lacks {', '.join(f'`{name}`' for name in missing)}; pass the whole "
                "dict that `get_state` returned."
            )
        mend = "use `pipeline.seek` to go to a position regardless."
        refuse_another(own, state, "The state", mend)
        _calls.seek(self._pipeline, state["epoch"], state["offset"])
        self._epoch = _calls.settled(self._pipeline).as_ints()[0]


class BlockIterator(Generic[Results]):
    """Blocks of steps, to the end of an epoch or of a length: what `Pipeline.blocks` gives.

    The position is the pipeline's own: breaking off leaves it behind the last block handed out.
    """

    def __init__(self, loop: Loop, every: int, length: int | None, *, progress: bool = False):
        self._loop, self._every, self._left = loop, every, length
        self._progress = Progress() if progress else None
        batching, at = _calls.batching(loop.pipeline), loop.pipeline.cursor
        batching.in_scan(at)  # that its batches are of one shape is judged before any of them runs
        self._epoch = -1 if length is not None else batching.settle(*at).as_ints()[0]

    def __iter__(self) -> "BlockIterator[Results]":
        return self

    def __next__(self) -> Results:
        if self._progress is None:
            return self._run()
        self._progress.begin(self, operator.length_hint(self) or None)
        try:
            results = self._run()
        except BaseException:
            self._progress.end()
            raise
        self._progress.turn()
        return results

    def _run(self) -> Results:
        with Kept.beside(self._loop.pipeline).lock:
            try:
                results: Results = self._loop.run(self._steps)
            except StopIteration:
                self._left = 0  # an iterator that has ended stays ended
                _calls.arrive(self._loop.pipeline)
                raise
            if self._left is not None:
                self._left -= min(self._every, self._left)
            return results

    def __len__(self) -> int:
        """The blocks that are left. **Errors:** TypeError where the source does not say."""
        pipeline = self._loop.pipeline
        batching = _calls.batching(pipeline)
        left = self._steps_left(
            batching if self._left is not None else batching.known(), pipeline.cursor
        )
        return -(-left // self._every)

    def _steps(self, batching: internal.Batching, at: dp.Cursor) -> int:
        left = self._steps_left(batching, at)
        if not left:
            raise StopIteration
        return min(self._every, left)

    def _steps_left(self, batching: internal.Batching, at: dp.Cursor) -> int:
        if self._left is not None:
            return self._left
        epoch, offset = batching.settle(*at).as_ints()
        return batching.steps_left(offset) if epoch == self._epoch else 0
