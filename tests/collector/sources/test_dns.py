"""The DNS source where the kernel does not let it."""

from __future__ import annotations

import errno
import os

import pytest

from collector.metrics import Metrics
from collector.packets.ring import Ring
from collector.sources.dns import HOOK, DnsSource


@pytest.mark.parametrize(("number", "reason"), [(errno.EPERM, "privileges"), (errno.ENOPROTOOPT, "kernel")])
def test_a_refusal_is_told_once_and_gives_no_rows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, reason: str
) -> None:
    """A collector that may not capture goes on with its other sources."""

    def refuse(ring: Ring) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Ring, "start", refuse)
    metrics = Metrics()
    source = DnsSource(metrics)
    source.start()
    for columns in (source.read(1), source.finish(2)):
        assert {len(values) for values in columns.values()} == {0}
    source.stop()
    told = next(family for family in metrics.collect() if family.name == "flowatlas_collector_hook_info")
    assert [(sample.labels, sample.value) for sample in told.samples] == [({"hook": HOOK, "reason": reason}, 0)]
    assert len(caplog.records) == 1
