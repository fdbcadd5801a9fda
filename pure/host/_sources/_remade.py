"""What is pickled as what it was made of: sources that hold maps of files, threads and open passes.

Which they are is not known here.
"""

from collections.abc import Callable


class Remade:
    """An object that is pickled by what it was made of, and made anew from that.

    **Errors:** those of `pickle` where that cannot be; those of the class, when it is made again.
    """

    _made_of: tuple[object, ...]

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return type(self), self._made_of
