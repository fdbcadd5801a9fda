"""Where a picture is written: a file whose suffix says what it is, in a folder that takes it.

What cannot be written is refused before anything is computed, in the words in which it is told if
it fails then. What is in the picture is not known here.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._text import valued


def check_file(path: object, suffixes: tuple[str, ...], example: str) -> Path:
    """The path of a picture that can be written there.

    **Errors:** TypeError for what is no path; ValueError for a suffix that is none of these;
    OSError for a folder, for one that is not there or takes no files.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(valued("path", path, f'the name of a file: "{example}".'))
    file = Path(path)
    if os.path.isdir(file):
        raise _unwritable(file, errno.EISDIR)
    if file.suffix.lower() not in suffixes:
        named = f"whose suffix is {file.suffix!r}" if file.suffix else "which has no suffix"
        raise ValueError(
            f"path is {str(path)!r}, {named}; expected a file of "
            f"{', '.join(suffixes[:-1])} or {suffixes[-1]}."
        )
    if not os.path.isdir(file.parent):
        raise _unwritable(file, errno.ENOTDIR if file.parent.exists() else errno.ENOENT)
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise _unwritable(file, errno.EACCES)
    return file


@contextmanager
def written(file: Path) -> Iterator[None]:
    """Within it a file is written. **Errors:** OSError where that fails, in a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise _unwritable(file, error.errno) from None


def _unwritable(file: Path, number: int) -> OSError:
    kind = type(OSError(number, ""))  # FileNotFoundError, say
    error = kind(f"`{file}` cannot be written ({os.strerror(number).lower()}); {_mend(file)}")
    error.errno = number
    return error


def _mend(file: Path) -> str:
    folder = file.parent
    if os.path.isdir(file):
        return "it is a folder: name a file in it."
    if os.path.isdir(folder):
        return "write to another."
    if folder.exists():
        return f"`{folder}` is no folder."
    return f"there is no folder `{folder}`: make it."
