"""A folder that one at a time writes to: who comes second is told, and destroys nothing.

The system forgets a claim with the process, however it ended. What is written is not known here.
"""

import contextlib
import os


class Taken(OSError):
    """Another one is writing to the folder."""


class Claim:
    """A claim on a folder, while it is taken. Where a file system keeps none, nothing is asked."""

    def __init__(self, path: str):
        self._path = path
        self._held: int | None = None

    def take(self) -> None:
        """Claim the folder. **Errors:** Taken."""
        if self._held is not None:
            return
        import fcntl

        folder = os.open(self._path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(folder)
            raise Taken(
                f"Another Checkpoints is writing to `{self._path}`; use one for the whole run, "
                "end that one by `close`, or pass another folder."
            ) from None
        except OSError:
            os.close(folder)
            return
        self._held = folder

    def release(self) -> None:
        """Let others write."""
        folder, self._held = self._held, None
        if folder is not None:
            import fcntl

            with contextlib.suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_UN)  # for a child that has it open too
            os.close(folder)
