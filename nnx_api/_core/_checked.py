"""A pipeline that is checked: a twin of it, which holds the same Variables, or itself for a while.

What is looked at, and what is told of it, stands in `dagrax.pure`.
"""

from typing import Any, TypeVar

from dagrax.pure import internal

from ._fed import rest
from ._kept import Beside, Kept
from ._module import PipelineCore

_Pipeline = TypeVar("_Pipeline", bound=PipelineCore[Any, Any])


def twin_of(pipeline: _Pipeline) -> _Pipeline:
    """The very pipeline, checked."""
    twin: _Pipeline = object.__new__(type(pipeline))
    vars(twin).update(vars(pipeline))  # every Variable is held by both
    vars(twin)["_is_checked"] = True
    Kept.beside(twin).twin_of = pipeline
    return twin


def check_trace(pipeline: PipelineCore[Any, Any]) -> None:
    """Refuse a checked pipeline in a trace of one's own that looks at no values."""
    if pipeline._is_checked and not internal.is_checking():
        raise ValueError(
            "The pipeline is checked, but is called in a trace of your own, such as that of jit, "
            "where nothing would be looked at; call it outside, or trace by "
            "jax.experimental.checkify.checkify, within dagrax.pure.ops.checking()."
        )


def begin(twin: Beside) -> None:
    """Check the pipeline itself from now on, if this is a twin of one."""
    kept = Kept.beside(twin)
    if kept.twin_of is not None:
        with Kept.beside(kept.twin_of).lock:
            kept.were_checked.append(_set(kept.twin_of, True))


def end(twin: Beside) -> bool:
    """Check the pipeline itself no more; whether this is a twin of one, which then rests."""
    kept = Kept.beside(twin)
    if kept.twin_of is None:
        return False
    with Kept.beside(kept.twin_of).lock:
        _set(kept.twin_of, kept.were_checked.pop())
    with kept.lock:
        rest(kept)
    return True


def _set(pipeline: Beside, is_checked: bool) -> bool:
    before: bool = vars(pipeline)["_is_checked"]
    vars(pipeline)["_is_checked"] = is_checked
    return before
