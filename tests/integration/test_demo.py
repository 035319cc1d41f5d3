"""The whole path on the lab's traffic: every connection is counted once and right, over both buses, enforced or not."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from deploy.demo import replay
from deploy.demo.outcome import NEAR, Outcome
from tests.integration.demo_runs import DemoRuns, Enforce, Source, run


def is_right(outcome: Outcome, source: Source) -> None:
    """Every connection is counted once, every panel has data, and the watched share of each pod is whole."""
    assert outcome.panels == []
    if source != "conntrack":  # the others see every packet
        assert len(outcome.coverage) > 20
        assert {pod: share for pod, share in outcome.coverage.items() if abs(share - 1) > NEAR} == {}
    counts_each_once(outcome)


def counts_each_once(outcome: Outcome) -> None:
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
        ("nftables", "conntrack"),
        ("none", "conntrack"),
        ("nftables", "packets"),
    ],
)
def test_over_the_file_bus(demo_runs: DemoRuns, enforce: Enforce, source: Source) -> None:
    """Each source alone."""
    is_right(demo_runs(enforce, source).outcome, source)


@pytest.mark.root
@pytest.mark.prometheus
@pytest.mark.kafka
def test_over_kafka(tmp_path: Path, kafka_broker: str) -> None:
    is_right(run(tmp_path, "none", "ebpf", f"kafka://{kafka_broker}").outcome, "ebpf")


def test_the_recording_replays_without_root(tmp_path: Path) -> None:
    counts_each_once(replay.run(tmp_path))


def test_the_recording_is_small() -> None:
    assert replay.RECORDING.stat().st_size < 500_000
    with tarfile.open(replay.RECORDING) as archive:
        tops = {name.partition("/")[0] for name in archive.getnames()}
    assert tops == {"bus", "lab"}
