"""A pipeline whose batches are handed in: the thread that reads ahead is kept beside it.

It is begun with the first batch that is asked for, and anew where another order, source or batch
size makes other batches. What is computed of them is not known here.
"""

from operator import is_
from typing import Any

import jax

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._parts import Parts, raw_value
from ._kept import Fed, Kept
from ._module import PipelineCore

_CLOSED = (
    "The pipeline was closed, by close() or at the end of its `with`, and reads no more; make "
    "another, or leave what reads from it inside of the `with`."
)


def check_open(kept: Kept) -> None:
    """Refuse a pipeline that was closed, or is the twin of one. **Errors:** RuntimeError."""
    if kept.is_closed:
        raise RuntimeError(_CLOSED)
    if kept.twin_of is not None:
        check_open(Kept.beside(kept.twin_of))


def feed_of(
    pipeline: PipelineCore[Any, Any], kept: Kept, parts: Parts, *, where: int = 0
) -> internal.Feed | None:
    """What hands in the pipeline's batches; None where its program reads them itself.

    `where` is how deep in the paths of the parts the pipeline's own begin.
    """
    fed = kept.fed
    if fed is not None and fed.parts is parts and fed.stream is None:
        return None
    if (
        fed is None
        or fed.parts is not parts
        or not all(map(is_, fed.values, map(raw_value, fed.leaves)))
    ):
        fed = kept.fed = _looked_at(pipeline, fed, parts, where)
    if fed.stream is not None and fed.feed is None:
        fed.feed = internal.Feed(fed.stream, waited=kept.waited)
    return fed.feed


def needed_feed(
    pipeline: PipelineCore[Any, Any], kept: Kept, parts: Parts, *, where: int = 0
) -> internal.Feed:
    """What hands in the batches of a pipeline that was seen to be read on the host.

    **Errors:** RuntimeError where another thread has replaced its source since.
    """
    feed = feed_of(pipeline, kept, parts, where=where)
    if feed is None:
        raise RuntimeError(
            "The source of the pipeline was replaced, by one that is not read on the host, while "
            "the pipeline was called; call it again."
        )
    return feed


def close(kept: Kept) -> None:
    """End what reads ahead; the pipeline is then closed."""
    kept.is_closed = True
    rest(kept)


def rest(kept: Kept) -> None:
    """End what reads ahead, until the next batch is asked for."""
    if kept.fed is not None and kept.fed.feed is not None:
        kept.fed.feed.close()
    kept.fed = None


def _looked_at(
    pipeline: PipelineCore[Any, Any], before: Fed | None, parts: Parts, where: int
) -> Fed:
    pairs = zip(parts.paths, parts.leaves, strict=True)
    leaves = [leaf for path, leaf in pairs if path[where : where + 1] == ("source",)]
    stream = pipeline._stream()
    now = Fed(parts, leaves, list(map(raw_value, leaves)), stream if stream.is_hosted else None)
    if before is not None and before.feed is not None:
        if now.stream is not None and _is_same(before.stream, now.stream):
            now.feed = before.feed
        else:
            before.feed.close()
    return now


def _is_same(stream: dp.Stream[Any] | None, other: dp.Stream[Any]) -> bool:
    was, now = jax.tree.leaves(stream), jax.tree.leaves(other)
    alike = len({jax.tree.structure(stream), jax.tree.structure(other)}) == 1
    return alike and all(map(is_, was, now))
