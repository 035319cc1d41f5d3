"""The log on standard error: one line a message, whatever names of objects, hosts or queries are in it."""

from __future__ import annotations

import logging
import sys

from .terminal import printable


def start_log(level: str, *, is_service: bool) -> None:
    """Log from `level` (as `--log-level` has it) on.

    What answers a question says itself what its clients' errors come to, once: their own log is for `debug`.
    """
    handler = logging.StreamHandler(sys.stderr)
    if not is_service and level != "debug":
        handler.addFilter(lambda record: not record.name.startswith("kafka"))
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


class LineFormatter(logging.Formatter):
    """A message can begin no line of its own and tell a terminal nothing; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the inherited name
        """The line of a record."""
        record.message = printable(record.message)
        return super().formatMessage(record)
