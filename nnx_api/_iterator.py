"""A `for` over a pipeline: its batches to the end of the epoch, and a position to save.

The position is the pipeline's own; the iterator only knows in which epoch it began.
"""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from ._core import _calls
from ._core._identity import digests, refuse_another
from ._core._module import PipelineCore

Batch = TypeVar("Batch")


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
            raise

    def __length_hint__(self) -> int:
        epoch, offset = _calls.settled(self._pipeline).as_ints()
        left = _calls.batching(self._pipeline).steps_left(offset)
        return left if epoch == self._epoch else 0

    def get_state(self) -> dict[str, int | str]:
        """The position, and digests of source, order, seed and graph: a small JSON dict."""
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
        missing = [name for name in ("epoch", "offset", *own) if name not in state]
        if missing:
            raise ValueError(
                f"The state lacks {', '.join(f'`{name}`' for name in missing)}; pass the whole "
                "dict that `get_state` returned."
            )
        mend = "use `pipeline.seek` to go to a position regardless."
        refuse_another(own, state, "The state", mend)
        _calls.seek(self._pipeline, state["epoch"], state["offset"])
        self._epoch = _calls.settled(self._pipeline).as_ints()[0]
