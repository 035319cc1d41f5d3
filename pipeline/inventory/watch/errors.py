"""What the API server answers where it does not answer the question, by what the caller can do about it."""

from __future__ import annotations

from ...errors import TransientError


class GoneError(Exception):
    """What was asked to be continued is no longer kept (410): list anew."""


class AbsentError(Exception):
    """The cluster does not serve the kind (404)."""


class ForbiddenError(TransientError):
    """The account may not read the kind (403); somebody may allow it later."""


class AnswerError(TransientError):
    """Anything else that may go through later. `reason` is a short word for a metric's label."""

    def __init__(self, reason: str, detail: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.retry_after_s = retry_after_s
        """The server's own wish for how long to stay away; 0 where it has none."""
