from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from ._pipeline import Pipeline


Batch = TypeVar("Batch")


class EpochIterator(Generic[Batch]):
    """The batches from a pipeline's cursor to the end of its epoch.

    The position is the pipeline's own: breaking off leaves it behind the last batch handed out.
    """

    def __init__(self, pipeline: "Pipeline[Any, Batch]"):
        if pipeline.cursor.is_traced:
            raise TypeError(
                "The pipeline is iterated over inside a trace (jit, scan, vmap), where its "
                "position is no number that a Python loop could end by; call pipeline.step() or "
                "pipeline.scan(step_fn, length=…) there."
            )
        self._pipeline = pipeline
        self._epoch = pipeline._current_epoch()

    def __iter__(self) -> "EpochIterator[Batch]":
        return self

    def __next__(self) -> Batch:
        try:
            batch: Batch = self._pipeline._advance(self._epoch)
            return batch
        except StopIteration:
            self._epoch = -1  # an iterator that has ended stays ended
            raise

    def get_state(self) -> dict[str, int | str]:
        """The position, and digests of source, order, seed and graph: a small JSON dict."""
        epoch, offset = self._pipeline.cursor.as_ints()
        return {"epoch": epoch, "offset": offset, **self._pipeline._fingerprint()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to a position saved by `get_state`, perhaps in another process or batch size.

        **Errors:** TypeError for anything but a dict of this kind; ValueError for missing fields,
        an offset outside the source, and another source, order, seed or graph, naming which. The
        pipeline then stays where it is.
        """
        own = self._pipeline._fingerprint()
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
        other = [name for name, digest in own.items() if state[name] != digest]
        if other:
            raise ValueError(
                f"The state belongs to a pipeline with another {' and another '.join(other)}; make "
                "this pipeline as that one was made, or use `pipeline.seek` to go to a position "
                "regardless."
            )
        self._pipeline._seek(state["epoch"], state["offset"])
        self._epoch = self._pipeline._current_epoch()
