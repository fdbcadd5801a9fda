"""What Orbax logs of errors that are retold, kept from being printed a second time.

Records of its own alone, and only while it works for us: logging is as it was before. What is
written or read is not known here.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGER = "absl"


class Hush(logging.Filter):
    """Errors that Orbax logs are kept back: in `with hush.lasting()`, and from `begin` to `end`."""

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

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """For as long as the `with` lasts."""
        self._depth += 1
        self._set()
        try:
            yield
        finally:
            self._depth -= 1
            self._set()

    def _set(self) -> None:
        logger = logging.getLogger(_LOGGER)
        (logger.addFilter if self._depth or self._is_begun else logger.removeFilter)(self)
