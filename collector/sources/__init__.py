"""What a node's kernel tells: one module a source, each behind `FlowSource` or `CounterSource`.

A source opens what it needs in `start`, is asked once a cycle, and gives columns in the order and dtypes of its table
in `collector.schema`. It decides nothing about the cluster: it knows addresses, not Services.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Columns = Mapping[str, np.ndarray[Any, Any] | Sequence[str]]
"""Equal-length columns of one table, in the table's order."""


class Source(Protocol):
    """One source of rows for one table."""

    table: str

    def start(self) -> None:
        """Open sockets and files. Raises ConfigError where the kernel or the privileges cannot serve this source."""

    def read(self, now_ns: int) -> Columns:
        """What happened since the last call; `now_ns` is the wall clock, ns since the epoch. Any number of rows."""

    def finish(self, now_ns: int) -> Columns:
        """The last rows before the agent stops."""

    def stop(self) -> None:
        """Close everything; safe to call twice."""
