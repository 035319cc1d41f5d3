"""What the kernel counts while no collector runs is told once by the next one, also where its settings are others."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from collector.journal import Journal, Part
from collector.metrics import Metrics
from collector.netlink import in_namespace
from collector.sources import ebpf
from collector.sources.conntrack import ConntrackSource
from collector.sources.ebpf import EbpfSource
from tests.collector.network import Network, pins, records

pytestmark = pytest.mark.root

ERROR = bytes([3, 1, 0xFC, 0xFE, *bytes(4)])
"""Of ICMP: no connection, so it is missed."""


def told(network: Network, folder: Path, pin: Path, room: int, also: Callable[[], None]) -> tuple[int, int, int]:
    """Packets of UDP that a collector tells, connections that it opens, packets that it misses. Then `also` happens."""
    metrics, journal = Metrics(), Journal(folder)
    source = EbpfSource(metrics, network.netns("node"), room, pin, journal)
    source.start()
    try:
        rows = records(source.finish(time.time_ns()), 17)
        journal.commit([])
        journal.shipped()
        also()
        rows += records(source.finish(time.time_ns()), 17)
        journal.commit([])
        journal.shipped()
    finally:
        source.stop()
    missed = int(metrics.value("missed_packets_total", reason="icmp_control"))
    return sum(row["packets"] for row in rows), sum(row["opened"] for row in rows), missed


@pytest.mark.parametrize("change", ["none", "room", "gone", "version"])
def test_what_was_counted_meanwhile_is_told_once(
    network: Network, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    router = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
    deaf = in_namespace(network.netns("server"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def send() -> None:
        for _ in range(10):
            client.sendto(b"x", ("10.2.0.2", 8080))
        for _ in range(3):
            router.sendto(ERROR, ("10.2.0.2", 0))

    with client, router, deaf, pins() as pin:
        deaf.bind(("10.2.0.2", 8080))
        with monkeypatch.context() as before:
            if change == "version":  # one that said nothing of how its journal is laid out
                before.setattr(ebpf, "_KIND", "ebpf")
            assert told(network, tmp_path, pin, 4096, send) == (10, 1, 3)
        send()
        if change == "gone":
            shutil.rmtree(next(pin.iterdir()))
        room = 8192 if change == "room" else 4096
        expected = (10, 0, 3) if change == "gone" else (20, 0, 6)
        assert told(network, tmp_path, pin, room, send) == expected
        assert told(network, tmp_path, pin, room, send) == (10, 0, 3)


def test_what_another_source_has_told_is_not_told_by_this_one(network: Network, tmp_path: Path) -> None:
    """Hooks that are pinned count on while flows come from conntrack."""
    client = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    deaf = in_namespace(network.netns("server"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def send() -> None:
        for _ in range(10):
            client.sendto(b"x", ("10.2.0.2", 8080))

    with client, deaf, pins() as pin:
        deaf.bind(("10.2.0.2", 8080))
        assert told(network, tmp_path, pin, 4096, send) == (10, 1, 0)
        journal = Journal(tmp_path)
        other = ConntrackSource(Metrics(), network.netns("node"), journal)
        other.start()
        send()
        other.finish(time.time_ns())
        journal.commit([])
        journal.shipped()
        send()
        other.stop()
        assert told(network, tmp_path, pin, 4096, send)[0] == 10
        assert told(network, tmp_path, pin, 4096, send)[0] == 10


def test_a_journal_that_is_laid_out_otherwise_is_not_gone_on_with(
    network: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Other:
        def changes(self) -> Part:
            return self.everything()

        def everything(self) -> Part:
            return Part({"taken": 0, "missed": [], "more": 1}, {"slot": np.zeros(1, np.int64)})

    journal = Journal(tmp_path)
    journal.open("ebpf slot:i8")
    journal.stage(Other(), lambda: None)
    journal.commit([])
    journal.close()
    with pins() as pin:
        assert told(network, tmp_path, pin, 4096, lambda: None) == (0, 0, 0)
    assert "connections are opened anew" in caplog.text
