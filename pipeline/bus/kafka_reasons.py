"""Why a client of Kafka is not connected. Whatever it was, the client raises that its time ran out; what it was, a
wrong password, an authority that did not sign, a file that is not there, it says in its log alone.

The invariant: what is told is an error that a connection of these moments met, or the one that the client raised.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from kafka.errors import KafkaTimeoutError, SaslAuthenticationFailedError

_LOG: Final = logging.getLogger("kafka.net.manager")
"""Where the client tells of each attempt, with the error among what is to be filled in."""
_FILES: Final = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")


class Reasons(logging.Handler):
    """Listens to the client as long as its `with` block; `options` are the client's."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(logging.WARNING)
        self._options = options
        self._told = ""
        """Text: an error would keep its sockets."""
        self._is_refusal = False

    def __enter__(self) -> Self:
        _LOG.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _LOG.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take the error from a line of the client's log."""
        for error in record.args if isinstance(record.args, tuple) else ():
            # that time ran out is told by who raises it; and who has refused us once may then hang up
            if isinstance(error, BaseException) and not isinstance(error, KafkaTimeoutError) and not self._is_refusal:
                self._told = self._text(error)
                self._is_refusal = isinstance(error, SaslAuthenticationFailedError)

    def why(self, raised: Exception) -> str:
        """What the last attempt met, else what the client raised."""
        return self._told or self._text(raised)

    def _text(self, error: BaseException) -> str:
        if isinstance(error, OSError) and error.errno == errno.ENOENT and error.filename is None:  # OpenSSL names none
            gone = [path for key in _FILES if (path := self._options.get(key)) and not Path(path).exists()]
            return f"{error.strerror}: {', '.join(gone)}"
        return str(error) or type(error).__name__
