"""What Orbax logs of errors that are retold, kept from being printed a second time.

Records of its own alone, and only while it works for us: logging is as it was before. What is
written or read is not known here.
"""

import logging
from types import TracebackType

_LOGGER = "absl"


class Hush(logging.Filter):
    """Inside of a `with`, and from `begin` to `end`, errors that Orbax logs are not printed."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._is_begun = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is to be printed."""
        return record.levelno < logging.ERROR or "orbax" not in record.pathname

    def begin(self) -> None:
        """From now on."""
        self._is_begun = True
        self._set()

    def end(self) -> None:
        """No more, but for a `with` that lasts."""
        self._is_begun = False
        self._set()

    def __enter__(self) -> None:
        self._depth += 1
        self._set()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._depth -= 1
        self._set()

    def _set(self) -> None:
        logger = logging.getLogger(_LOGGER)
        (logger.addFilter if self._depth or self._is_begun else logger.removeFilter)(self)
