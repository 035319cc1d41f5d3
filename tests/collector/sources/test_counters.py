"""When the source of counters looks for pods, whatever the clock does. No namespace is entered."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from collector.metrics import Metrics
from collector.sandboxes import Sandbox, tcp_sockets
from collector.sources import counters
from collector.sources.counters import SCAN_S, SOCKETS_S, CounterSource

S = 1_000_000_000
NOW_NS = 1_790_000_000 * S


def appear(proc: Path, pid: int) -> None:
    """A process in a namespace of its own."""
    folder = proc / str(pid)
    for name, content in (
        ("ns/net", ""),
        ("cgroup", "0::/\n"),
        ("net/dev", "Inter-|\n face |\n  eth0: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n"),
        ("net/fib_trie", f"Local:\n     |-- 10.244.1.{pid}\n        /32 host LOCAL\n"),
        ("net/igmp", "Idx\tDevice\n"),
        ("net/tcp", "sl\n" + "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:0\n"),
        ("net/tcp6", "sl\n"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "1").mkdir()
    appear(tmp_path, 20)
    return tmp_path


def test_an_interface_whose_driver_counts_below_zero_costs_no_other(
    proc: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch whose bytes add up to 2**63 is none."""
    appear(proc, 21)
    device = proc / "20/net/dev"
    device.write_text(
        device.read_text().replace("eth0: 1", f"net1: {2**64 - 60}") + "  eth0: 5 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n"
    )
    metrics = Metrics()
    source = CounterSource(metrics, proc)
    source.start()
    try:
        for turn in range(2):
            told = source.read(NOW_NS + turn)
            pods = [name for name, netns in zip(told["interface"], told["netns"], strict=True) if netns]
            assert pods == ["eth0", "eth0"]
    finally:
        source.stop()
    assert metrics.value("lost_rows_total", table="counters", reason="out_of_range") == 2
    assert [message for message in caplog.messages if "net1" in message] == [
        f"counters: net1 of namespace {(proc / '20/ns/net').stat().st_ino} is left out: "
        f"its driver counts {2**64 - 60} and 3 bytes"
    ]


def listening(source: CounterSource, now_ns: int) -> int:
    return sum(int(count) for count in source.read(now_ns)["tcp_listen"])


def pods(source: CounterSource, now_ns: int) -> int:
    return sum(1 for netns in source.read(now_ns)["netns"] if netns)


@pytest.mark.parametrize("step_s", [SCAN_S, -1, -3600])
def test_a_pod_is_looked_for_in_time_also_when_the_clock_was_set_back(proc: Path, step_s: int) -> None:
    source = CounterSource(Metrics(), proc)
    source.start()
    try:
        assert pods(source, NOW_NS) == 1
        appear(proc, 21)
        assert pods(source, NOW_NS + (SCAN_S - 1) * S) == 1, "not in every cycle"
        assert pods(source, NOW_NS + step_s * S) == 2
    finally:
        source.stop()


def test_sockets_are_counted_in_time_also_when_the_clock_was_set_back(proc: Path) -> None:
    source = CounterSource(Metrics(), proc)
    source.start()
    try:
        assert listening(source, NOW_NS) == 1
        os.truncate(proc / "20" / "net" / "tcp", 0)
        assert listening(source, NOW_NS + (SOCKETS_S - 1) * S) == 1
        assert listening(source, NOW_NS - 3600 * S) == 0
    finally:
        source.stop()


def test_who_waits_for_a_processor_counts_sockets_no_less_often(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a limit on the container: what a look takes then is not what others lack for it."""

    def slowly(sandbox: Sandbox) -> tuple[int, ...]:
        time.sleep(2 * SOCKETS_S * counters.SOCKETS_SHARE)
        return tcp_sockets(sandbox)

    monkeypatch.setattr(counters, "tcp_sockets", slowly)
    source = CounterSource(Metrics(), proc)
    source.start()
    try:
        assert listening(source, NOW_NS) == 1
        os.truncate(proc / "20" / "net" / "tcp", 0)
        assert listening(source, NOW_NS + SOCKETS_S * S) == 0
    finally:
        source.stop()
