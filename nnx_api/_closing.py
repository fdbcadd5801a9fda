"""The end of what reads ahead for a pipeline, and what was waited for until then.

A part of `Pipeline`. Who reads ahead, and when, stands in `_core`.
"""

from typing import TypeVar, cast

from ._core._checked import begin, end
from ._core._fed import close
from ._core._kept import Beside, Kept

_Own = TypeVar("_Own", bound="Closing")


class Closing:
    """What can be closed; every `Pipeline` has it."""

    __slots__ = ()

    def close(self) -> None:
        """End what reads ahead, and with it every further call for a batch: a RuntimeError.

        A pipeline over arrays has nothing to end, and is closed like any other. `with pipeline:`
        closes it at its end; so does its own end.
        """
        kept = Kept.beside(cast(Beside, self))
        with kept.lock:
            close(kept)

    def __enter__(self: _Own) -> _Own:
        begin(cast(Beside, self))
        return self

    def __exit__(self, *_: object) -> None:
        if not end(cast(Beside, self)):
            self.close()

    @property
    def waited(self) -> dict[str, float]:
        """The seconds for which one waited for the other over a source that is read on the host.

        `gather`: the loop waited for records; `place`: for a chunk to be put on the device;
        `compute`: what was read ahead waited for the loop. The largest says what to mend.
        """
        return dict(Kept.beside(cast(Beside, self)).waited)
