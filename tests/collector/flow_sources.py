"""The flow sources by name, and what reads one, or what is wrapped around one, until enough has come."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from collector.metrics import Metrics
from collector.sources import Source
from collector.sources.conntrack import ConntrackSource
from collector.sources.ebpf import EbpfSource
from collector.sources.packets import PacketSource
from tests.collector.network import records

SOURCES: dict[str, Callable[[Metrics, Path], Source]] = {
    "ebpf": EbpfSource,
    "conntrack": ConntrackSource,
    "packets": PacketSource,
}


@contextlib.contextmanager
def started(flows: Source) -> Iterator[Source]:
    """The source, started and read once."""
    flows.start()
    try:
        flows.read(time.time_ns())
        yield flows
    finally:
        flows.stop()


def read_until(flows: Source, is_enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """Every TCP row until they are enough; fails after a minute and a half."""
    rows: list[dict[str, Any]] = []
    deadline = time.monotonic() + 90
    while not is_enough(rows):
        assert time.monotonic() < deadline, rows
        time.sleep(0.1)
        rows += records(flows.read(time.time_ns()), 6)
    return rows
