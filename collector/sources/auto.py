"""Flows from the best source that the kernel and the privileges allow.

Tried once, in order, as the agent starts. What cannot be used is said once, as a log line and as the `reason` of the
metric `source_info`, and the next takes its place. Where none can be used there are no flows, and the agent goes on:
its other sources may work, and a restart would change nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from ..errors import ConfigError
from ..metrics import Metrics
from ..schema import FLOWS
from . import Columns, Source

_log = logging.getLogger(__name__)

NONE: Final = "none"


class AutoSource:
    """The first of the `candidates` that starts; inert until `start`."""

    table = "flows"

    def __init__(self, metrics: Metrics, candidates: Mapping[str, Callable[[], Source]]) -> None:
        self._metrics = metrics
        self._candidates = candidates
        self._chosen: Source | None = None

    def start(self) -> None:
        """Choose. Never raises ConfigError."""
        name, reason = NONE, ""
        for candidate, build in self._candidates.items():
            source = build()
            try:
                source.start()
            except ConfigError as error:
                reason = reason or getattr(error, "reason", candidate)
                _log.warning("%s: not used: %s", candidate, error)
                continue
            name, self._chosen = candidate, source
            break
        self._metrics.set("source_info", 1, source=name, reason=reason)
        _log.info("flows come from: %s", name)

    def read(self, now_ns: int) -> Columns:
        """What the chosen source reads."""
        return self._chosen.read(now_ns) if self._chosen else _nothing()

    def finish(self, now_ns: int) -> Columns:
        """The last rows of the chosen source."""
        return self._chosen.finish(now_ns) if self._chosen else _nothing()

    def stop(self) -> None:
        """Stop the chosen source."""
        if self._chosen is not None:
            self._chosen.stop()
            self._chosen = None


def _nothing() -> Columns:
    return {name: np.empty(0, kind) for name, kind in FLOWS.columns_of(1).items()}
