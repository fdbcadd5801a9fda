"""How a user finds out what goes wrong in a pipeline that runs: by looking, and by checks.

A part of `Pipeline`. What is looked at stands in `dagrax.pure`, when a program checks in `_core`.
"""

from typing import Any, TypeVar, cast

from jaxtyping import PyTree

import dagrax.pure as dp

from ._call._history import Compilations
from ._core import _seen
from ._core._checked import twin_of
from ._core._kept import Beside, Kept
from ._core._module import PipelineCore

_Own = TypeVar("_Own", bound="Debugging")


class Debugging:
    """What can be looked into; every `Pipeline` has it."""

    __slots__ = ()

    def debug(self, record: int | None = None, batch: PyTree = None) -> dp.Debugged:
        """One batch run node by node, without compilation: what each node is given and returns, and
        the first node, field and record that made a NaN or an infinity.

        The next batch; or that in which the `record` of this id is handed out in this epoch, of
        which only this record is told; or a `batch` of your own. Its draws are those that `step`
        would make. Nothing moves and nothing is set. A stage sees values: `print` and a debugger
        show them. Of variants, `crop [0]`, `crop [1]`, … are the nodes of each.

        **Errors:** what a stage raises, with a note of what the nodes before it gave; ValueError
        for a record that is not handed out in this epoch.
        """
        return _seen.debug(cast(PipelineCore[Any, Any], self), record, batch)

    def compilations(self) -> Compilations:
        """What was compiled for this pipeline: for `step` (which a `for` calls), `outputs`, `scan`
        and `blocks`, when, for how long, and in what each program differs from one before.

        After the third compilation of one entry point for the same reason there is a
        `RecompilationWarning`, which says what mends it. Only what is compiled is noted, as words;
        a program that an equal pipeline has left is found, and not compiled.
        """
        return Kept.beside(cast(Beside, self)).history.told()

    def checked(self: _Own) -> _Own:
        """This very pipeline, refusing at run time what cannot be known before.

        Its parameters, data and position are this one's. Its steps, loops and calls also tell the
        first NaN or infinity that is made of finite numbers: by a node, with field, record and
        epoch, or by a step function, with its step and what it returns there; of variants, which.
        They compute what stages check by `jax.experimental.checkify.debug_check` too, as the
        operators do of labels and magnitudes. Off, all of it costs nothing. Slower, for debugging:

            with pipeline.checked():  # within the block, the pipeline itself
                pipeline.scan(train_step, modules=(model,))

        Inside a trace of your own (jit), checkify that instead, within
        `dagrax.pure.ops.checking()`; elsewhere in a trace it is refused.

        **Errors:** its entry points raise a ValueError for what does not hold, naming the node, and
        then leave position and Variables as they were.
        """
        twin = twin_of(cast(PipelineCore[Any, Any], self))
        return cast(_Own, twin)
