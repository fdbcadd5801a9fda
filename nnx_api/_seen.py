"""What a user sees of a pipeline: its facts, and whether its stages fit.

A part of `Pipeline`. What is found stands in `_core`, how it is shown in `dagrax.pure`.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import jax
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from ._core import _calls
from ._core._as_pure import as_pure
from ._core._facts import facts
from ._core._module import PipelineCore
from ._core._seen import sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure: TypeAlias = object


class Seen:
    """What shows a pipeline, and moves nothing; every `Pipeline` has it."""

    __slots__ = ()

    def summary(self, *, cost: bool = False, measure: bool = False) -> dp.Summary:
        """What this pipeline is, as `dagrax.pure.summary` gives it: a table, and data.

        Parameters are the `nnx.Param` of each node, those that nodes share counted once; stateful
        is a node that writes any other Variable. Nothing is compiled, and nothing moves.

        - `cost`: what XLA says of each node, compiled by itself, and of the step: FLOPs, bytes
          touched, workspace.
        - `measure`: the median time of each node, run by itself on a batch, and of the step.

        **Errors:** those of `check`; TypeError for a `cost` or a `measure` that is no bool, and for
        either inside a trace.
        """
        return facts(cast(PipelineCore[Any, Any], self), cost=cost, measure=measure)

    def draw(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        direction: Literal["right", "down"] | None = None,
        cost: bool = False,
    ) -> "dp.visual.Drawing":
        """The graph, as `dagrax.pure.visual.draw` draws it of the `summary`: with a `path`, in a
        file of its suffix, `.svg`, `.png`, `.dot` or `.mmd`; without, where a notebook shows it.
        To the right, or down where more than 6 nodes stand in a row; `direction` says which.

        With `cost` each node says what XLA says of it, and is shaded by that.
        **Errors:** those of `dagrax.pure.visual.draw` and of `summary`.
        """
        internal.check_drawing(path, direction)
        return dp.visual.draw(self.summary(cost=cost), path, direction=direction, cost=cost)

    def describe(self) -> str:
        """The text of `summary`: what each node reads, is, and puts out."""
        return str(facts(cast(PipelineCore[Any, Any], self)))

    def show(
        self,
        n: int = 8,
        *,
        nodes: Sequence[str] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> "Figure":
        """A sheet of the next `n` records: the source and the output of each node side by side.

        A matplotlib Figure, which a notebook shows; `nodes` are some by name, `path` saves it as
        .png, .svg or .pdf. Images, with masks, boxes and keypoints over them, waves and series are
        drawn, all else is written out: see `dagrax.pure.visual.show`. Nothing moves.

        Of variants there are about 12 columns: the sink alone where all nodes are more, or `nodes`,
        of the first variants that have room; the title says so.

        **Errors:** ImportError without matplotlib (`pip install "dagrax[show]"`), and those of
        `outputs`.
        """
        return sheet(cast(PipelineCore[Any, Any], self), n, nodes, path)

    def check(self) -> dict[str, PyTree[jax.ShapeDtypeStruct]]:
        """The shapes and dtypes of every node's output, as `dagrax.pure.check` gives them.

        Done at construction; worth repeating after a stage was replaced. **Errors:** a ValueError
        that lists every field of every node that does not fit.
        """
        return _calls.survey(cast(PipelineCore[Any, Any], self)).outputs

    def pure(self) -> tuple[dp.Pipeline[Any, Any], dp.Stream[Any], jax.Array | None]:
        """Graph, stream and seed key as the pure core takes them, with the Variables of now, which
        no call of theirs sets: `dagrax.pure.testing.check_invariance(*pipeline.pure())`.

        **Errors:** ValueError for a pipeline with variants; take those of `unstack()`.
        """
        return as_pure(cast(PipelineCore[Any, Any], self))
