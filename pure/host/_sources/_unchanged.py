"""Files that are mapped, looked at before they are read: one that was written since is refused.

What is known of a file may be wrong then, and one that has shrunk would end the process. How files
are read is not known here.
"""

import os
from pathlib import Path
from typing import NamedTuple


class Seen(NamedTuple):
    """What a file was when it was looked at: its size, when it was written, and which it is."""

    size: int
    written: int
    number: tuple[int, int]


def seen(path: Path | int) -> Seen:
    """What a file is now, by its path or its descriptor. **Errors:** OSError."""
    now = os.stat(path)
    return Seen(now.st_size, now.st_mtime_ns, (now.st_dev, now.st_ino))


def check_unchanged(path: Path, was: Seen, *, mapped: bool) -> None:
    """Refuse a file that is not what it was. **Errors:** OSError, by the name of the file.

    One that is `mapped` can be read on where it was removed.
    """
    try:
        now = seen(path)
    except FileNotFoundError as error:
        if mapped:
            return
        raise FileNotFoundError(
            f"{path} was removed since the source was made; put it back, or make the source anew."
        ) from error
    if now == was:
        return
    if now.number == was.number and now.size < was.size:
        raise OSError(
            f"{path} has shrunk to {now.size} bytes since it was opened, of {was.size}; write data "
            "to a new file, and open that."
        )
    raise OSError(
        f"{path} has changed since the source was made: it was written, or another file took its "
        "place. Make the source anew, and write to a new file while one is in use."
    )


class Files:
    """Files that somebody has mapped. Where others may take their place, that is no change."""

    def __init__(self, paths: list[Path], *, may_be_replaced: bool = False):
        self._seen = {path: seen(path) for path in paths}
        self._may_be_replaced = may_be_replaced

    def check(self) -> None:
        """Refuse those that were written. **Errors:** OSError."""
        for path, was in self._seen.items():
            try:
                now = seen(path)
            except OSError:  # removed, or out of reach: what is mapped stays
                continue
            if now != was and not (self._may_be_replaced and now.number != was.number):
                check_unchanged(path, was, mapped=True)
