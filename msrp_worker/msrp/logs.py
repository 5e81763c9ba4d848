"""Loggers that a flood of hostile connections cannot flood in turn (SEC-05)."""

from __future__ import annotations

import logging

MAX_PER_SECOND = 10
"""Records of one kind, that is with the same format, let through in a second."""


class _Limit(logging.Filter):
    """Lets the first records of a kind through in each second, and counts the rest into the next one."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[object, tuple[int, int]] = {}
        """By format: the second, and how many came in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        now = int(record.created)
        second, count = self._kinds.get(record.msg, (now, 0))
        if second != now:
            if count > MAX_PER_SECOND:
                record.msg = f"{record.msg} ({count - MAX_PER_SECOND} more like it before)"
                self._kinds.clear()
                return True
            count = 0
        self._kinds[record.msg] = (now, count + 1)
        return count < MAX_PER_SECOND


def limited_logger(name: str) -> logging.Logger:
    """The logger of a module, limited."""
    logger = logging.getLogger(name)
    if not any(isinstance(known, _Limit) for known in logger.filters):
        logger.addFilter(_Limit())
    return logger
