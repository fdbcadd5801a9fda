"""How a fault is told on the command line: in its own words, and where in the user's code it is.

Frames of libraries, of Python and of dagrax are left out. Nothing of pipelines is known here.
"""

import contextlib
import os
import sys
import traceback as python
from collections.abc import Iterator

from dagrax.pure import internal

FAULT, USAGE = 1, 2
INTERRUPTED, CLOSED = 130, 141  # as a shell has it: 128 and the number of a signal


class Usage(Exception):
    """What was asked for cannot be: a target that is not there, or is none."""


def tell(error: BaseException, *, traceback: bool) -> int:
    """Write an error to the error output, and return its exit code."""
    if traceback and (frames := [*_own(error)]):
        print("Traceback (most recent call last), your code alone:", file=sys.stderr)
        print("".join(python.format_list(frames)), end="", file=sys.stderr)
    print(f"dagrax: {text_of(error)}", file=sys.stderr)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return USAGE if isinstance(error, Usage | ImportError) else FAULT


def unprinted(error: OSError) -> int:
    """The exit code where the output cannot be written; of one that is read no more, as behind
    `| head`, nothing is said."""
    with contextlib.suppress(OSError, ValueError):  # what is left would be told again in the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return CLOSED
    reason = (error.strerror or type(error).__name__).lower()
    told = f"the output cannot be written ({reason}); write to another."
    return tell(Usage(told), traceback=False)


def text_of(error: BaseException) -> str:
    """An error with its type and notes; of a usage, its words."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    lines = [str(error) if isinstance(error, Usage) else f"{type(error).__name__}: {error}"]
    notes = [x for x in getattr(error, "__notes__", ()) if _JAX not in x]
    return "\n".join([*lines, *notes])


def many(count: int, what: str, plural: str | None = None) -> str:
    """`1 round`, `2 rounds`."""
    return f"{count} {what if count == 1 else plural or what + 's'}"


_JAX = "JAX has removed its internal frames"


def _own(error: BaseException) -> Iterator[python.FrameSummary]:
    # Of what it was raised from too, the first cause first.
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _own(cause)
    frames = python.walk_tb(error.__traceback__)
    own = ((x, line) for x, line in frames if not internal.is_installed(x.f_globals))
    yield from python.StackSummary.extract(own)
