"""Runs of the demo that several tests read: each way to enforce and to watch is run once a session.

Over the file bus, so none needs Kafka. A test reads what a run has left and changes nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.demo import live
from deploy.demo.outcome import Outcome

TRAFFIC_S = 8.0

Enforce = Literal["nftables", "none"]
Source = Literal["ebpf", "conntrack", "packets"]


@dataclass(frozen=True, slots=True)
class DemoRun:
    """What a run found, and the folder with its lake, logs, truth and last exposition."""

    output: Path
    outcome: Outcome


DemoRuns = Callable[[Enforce, Source], DemoRun]


def run(output: Path, enforce: Enforce, source: Source, bus: str | None = None) -> DemoRun:
    """Run the demo once. Raises DemoError where a part of it does not come up."""
    options = live.Options(output=output, duration_s=TRAFFIC_S, bus=bus, enforce=enforce, source=source)
    return DemoRun(output, live.run(options))
