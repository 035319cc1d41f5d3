"""Drops as rows of the wire: addresses as halves, reasons as words."""

from __future__ import annotations

import numpy as np
import pytest

from collector.ebpf.drops import COUNT, DROP
from collector.ebpf.loaded import HookError
from collector.metrics import Metrics
from collector.schema import DROPS, encode
from collector.sources import drops
from collector.sources.drops import DropSource, columns_of


def test_rows_are_of_the_wires_kinds() -> None:
    kept = np.array([((0, 0xFFFF0A010002), (1 << 63, 7), 4000, 80, 12, 1, 6, (0, 0, 0))] * 2, DROP)
    kept["reason"][1] = 1 << 16 | 3
    columns = columns_of(kept, np.array([(3, 180), (1, 60)], COUNT), {12: "netfilter_drop"}, 5)
    assert encode(DROPS, columns)
    assert list(columns["reason"]) == ["netfilter_drop", "other"]
    assert {name: int(columns[name][0]) for name in columns if name != "reason"} == {
        "time": 5,
        "src_hi": 0,
        "src_lo": 0xFFFF0A010002,
        "dst_hi": 1 << 63,
        "dst_lo": 7,
        "src_port": 4000,
        "dst_port": 80,
        "protocol": 6,
        "packets": 3,
        "bytes": 180,
    }


def test_without_the_hook_there_are_no_rows_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_table_drops: int) -> None:
        raise HookError("kernel", "no such hook")

    monkeypatch.setattr(drops, "DropHooks", refuse)
    metrics = Metrics()
    source = DropSource(metrics)
    source.start()
    for _ in range(2):
        assert encode(DROPS, source.read(0))
    source.stop()
    assert [record.getMessage() for record in caplog.records] == ["drops are not told: no such hook"]
    exposed = [
        sample
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "flowatlas_collector_hook_info"
    ]
    assert [(sample.labels, sample.value) for sample in exposed] == [({"hook": "drops", "reason": "kernel"}, 0)]
