"""The whole path on the lab's traffic: every connection is counted once and right, over both buses, enforced or not."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Literal

import pytest

from deploy.demo import live, replay
from deploy.demo.outcome import NEAR, Outcome

TRAFFIC_S = 8.0


Enforce = Literal["nftables", "none"]
Source = Literal["ebpf", "conntrack", "packets"]


def run(tmp_path: Path, bus: str | None, enforce: Enforce, source: Source) -> Outcome:
    options = live.Options(output=tmp_path / "demo", duration_s=TRAFFIC_S, bus=bus, enforce=enforce, source=source)
    return live.run(options)


def is_right(outcome: Outcome) -> None:
    report = outcome.report
    assert report.missing == []
    assert report.counted_twice == []
    assert report.wrong == []
    assert report.never_generated == []
    assert outcome.disagreements == []
    assert report.counted == report.generated > 100
    assert 40 < report.header_bytes_per_packet < 60


@pytest.mark.root
@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("enforce", "source"),
    [
        ("nftables", "ebpf"),
        ("none", "ebpf"),
        ("nftables", "conntrack"),
        ("none", "conntrack"),
        ("nftables", "packets"),
    ],
)
def test_over_the_file_bus_and_every_panel_has_data(tmp_path: Path, enforce: Enforce, source: Source) -> None:
    """Each source alone."""
    outcome = run(tmp_path, None, enforce, source)
    is_right(outcome)
    assert outcome.panels == []
    if source != "conntrack":  # the others see every packet
        assert len(outcome.coverage) > 20
        assert {pod: share for pod, share in outcome.coverage.items() if abs(share - 1) > NEAR} == {}


@pytest.mark.root
@pytest.mark.kafka
@pytest.mark.parametrize(("enforce", "source"), [("nftables", "ebpf"), ("none", "conntrack")])
def test_over_kafka(tmp_path: Path, kafka_broker: str, enforce: Enforce, source: Source) -> None:
    is_right(run(tmp_path, f"kafka://{kafka_broker}", enforce, source))


def test_the_recording_replays_without_root(tmp_path: Path) -> None:
    is_right(replay.run(tmp_path))


def test_the_recording_is_small() -> None:
    assert replay.RECORDING.stat().st_size < 500_000
    with tarfile.open(replay.RECORDING) as archive:
        tops = {name.partition("/")[0] for name in archive.getnames()}
    assert tops == {"bus", "lab"}
