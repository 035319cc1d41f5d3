"""The log on standard error: one line a message, whatever names of objects, hosts or queries are in it."""

from __future__ import annotations

import logging
import sys

from .terminal import one_line


def start_log(level: str, *, is_service: bool) -> None:
    """Log from `level` (as `--log-level` has it) on.

    What answers a question says itself what its clients' errors come to, once: their own log is for `debug`. So is what
    a service's Kafka client says of its ordinary life, each half minute, but for what its group does.
    """
    handler = logging.StreamHandler(sys.stderr)
    if level != "debug":
        handler.addFilter(lambda record: not record.name.startswith("kafka") or (is_service and _is_news(record)))
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


class LineFormatter(logging.Formatter):
    """A message can begin no line of its own and tell a terminal nothing; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the inherited name
        """The line of a record."""
        record.message = one_line(record.message)
        return super().formatMessage(record)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of Kafka's client is of trouble, or of a change in the group."""
    return record.levelno >= logging.WARNING or record.name.startswith("kafka.coordinator")
