"""A flow source with the sockets' words: joined where the kernel allows the hooks, else the same rows without."""

from __future__ import annotations

from importlib import resources
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from collector.ebpf import libbpf
from collector.ebpf.loaded import HookError, Loaded, refusal
from collector.ebpf.tcp import OBSERVATION, OPENER
from collector.errors import TransientError
from collector.metrics import Metrics
from collector.schema import FLOWS
from collector.sources import health
from collector.sources.health import HealthSource


class OneFlow:
    """A source with one connection a read, that may fail."""

    table = "flows"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails = False

    def start(self) -> None:
        self.calls.append("start")

    def read(self, now_ns: int) -> dict[str, Any]:
        if self.fails:
            raise TransientError("flows: the kernel does not answer")
        columns = {name: np.zeros(1, kind) for name, kind in FLOWS.columns_of(1).items()}
        columns["protocol"][:], columns["src_port"][:], columns["start"][:] = 6, 4000, now_ns
        return columns

    def finish(self, now_ns: int) -> dict[str, Any]:
        return self.read(now_ns)

    def stop(self) -> None:
        self.calls.append("stop")


class ScriptedHooks:
    """Hooks that tell of the connection of OneFlow once."""

    def __init__(self, _most_ended: int) -> None:
        self.told = False
        self.broken = False
        self.since_ns = 0

    def take(self) -> np.ndarray[Any, Any]:
        if self.broken:
            raise OSError(5, "broken")
        one = np.zeros(0 if self.told else 1, OBSERVATION)
        one["local_port"], one["role"], one["connect_us"] = 4000, OPENER, 123
        one["since"] = self.since_ns
        self.told = True
        return one

    def take_missed(self) -> dict[str, int]:
        return {"table_full": 2}

    def close(self) -> None:
        self.told = True


def test_words_are_joined_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TcpHooks", ScriptedHooks)
    metrics, flows = Metrics(), OneFlow()
    source = HealthSource(flows, metrics, None, 64)
    source.start()
    reads = [source.read(10**18), source.finish(10**18)]
    source.stop()
    source.stop()
    assert [np.asarray(columns["connect_us"]).tolist() for columns in reads] == [[123], [0]]
    assert metrics.value("hook_info", hook="tcp_health", reason="") == 1
    results = ("joined", "unmatched", "table_full")
    assert [metrics.value("tcp_observations_total", result=result) for result in results] == [1, 0, 4]
    assert flows.calls == ["start", "stop", "stop"]


def test_words_are_joined_after_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow began, and was told, before that."""
    clock = SimpleNamespace(now_ns=100, ahead_ns=10**18)
    clock.monotonic_ns = lambda: clock.now_ns
    clock.monotonic = lambda: clock.now_ns / 1e9
    clock.time_ns = lambda: clock.now_ns + clock.ahead_ns
    hooks = ScriptedHooks(10)
    monkeypatch.setattr(health, "TcpHooks", lambda _most_ended: hooks)
    monkeypatch.setattr(health, "time", clock)
    source = HealthSource(OneFlow(), Metrics(), None, 10)
    source.start()
    began_ns = clock.time_ns()
    assert np.asarray(source.read(began_ns)["connect_us"]).tolist() == [123]
    clock.now_ns, clock.ahead_ns = 200, 10**18 + 3600 * 10**9
    hooks.told, hooks.since_ns = False, 100
    assert np.asarray(source.read(began_ns)["connect_us"]).tolist() == [123]


def test_a_read_that_fails_leaves_the_words_in_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TcpHooks", ScriptedHooks)
    flows = OneFlow()
    source = HealthSource(flows, Metrics(), None, 64)
    source.start()
    flows.fails = True
    with pytest.raises(TransientError):
        source.read(10**18)
    flows.fails = False
    assert np.asarray(source.read(10**18)["connect_us"]).tolist() == [123]


def test_hooks_that_break_take_no_flow_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TcpHooks", ScriptedHooks)
    source = HealthSource(OneFlow(), Metrics(), None, 64)
    source.start()
    assert source._hooks is not None
    source._hooks.broken = True  # type: ignore[attr-defined]
    assert np.asarray(source.read(10**18)["src_port"]).tolist() == [4000]


def test_without_hooks_the_rows_are_the_sources(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_most_ended: int) -> None:
        raise HookError("privileges", "no right")

    monkeypatch.setattr(health, "TcpHooks", refuse)
    metrics = Metrics()
    source = HealthSource(OneFlow(), metrics, None, 64)
    source.start()
    for _ in range(2):
        assert list(source.read(10**18)) == list(FLOWS.columns_of(1))
    source.stop()
    assert len(caplog.records) == 1
    labels = [
        sample.labels for family in metrics.collect() for sample in family.samples if sample.name.endswith("hook_info")
    ]
    assert labels == [{"hook": "tcp_health", "reason": "privileges"}]


def test_an_installation_without_objects_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HookError) as missing:
        Loaded("nothing.bpf.o", {})
    assert missing.value.reason == "object"

    def unknown() -> None:
        raise OSError("libbpf.so.1: cannot open shared object file")

    monkeypatch.setattr(libbpf, "library", unknown)
    monkeypatch.setattr(resources, "files", lambda _package: ObjectFiles())
    with pytest.raises(HookError) as absent:
        Loaded("tcp.bpf.o", {})
    assert absent.value.reason == "libbpf"


class ObjectFiles:
    """A package's files, each of which is there."""

    def joinpath(self, _name: str) -> ObjectFiles:
        return self

    def read_bytes(self) -> bytes:
        return b""


@pytest.mark.parametrize(("number", "reason"), [(1, "privileges"), (13, "kernel"), (22, "kernel"), (2, "kernel")])
def test_refusals_are_told_apart(number: int, reason: str) -> None:
    assert refusal(OSError(number, "refused")).reason == reason
