"""Segments appear whole, in order, bounded in size, and what is lost is counted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from collector.errors import ConfigError
from collector.metrics import Metrics
from collector.schema import STATE, VERSION, Batch, unpack_records
from collector.sinks.files import FileSink

EPOCH = 1_790_000_000_000_000_000


def batch(seq: int, *, size: int = 1000, rows: int = 10) -> Batch:
    return Batch("flows", "n1", EPOCH, seq, rows, 77 * rows, bytes(size))


def sink(root: Path, metrics: Metrics, limit_bytes: int = 1 << 20) -> FileSink:
    made = FileSink(f"file://{root}", "n1", metrics, limit_bytes)
    made.start()
    return made


def segments(root: Path) -> list[Path]:
    return sorted((root / "flowatlas.flows.v1" / "n1").iterdir())


def test_a_segment_holds_one_record_under_the_batchs_name(tmp_path: Path) -> None:
    metrics = Metrics()
    sent = batch(5)
    sink(tmp_path, metrics).send(sent)
    (path,) = segments(tmp_path)
    assert path.name == f"{EPOCH:020d}-{5:012d}.seg"
    assert list(unpack_records(path.read_bytes())) == [(sent.headers(), sent.value)]
    assert metrics.value("rows_total", table="flows") == 10
    assert metrics.value("batches_total", table="flows") == 1


def test_the_oldest_segments_go_and_count_as_retention(tmp_path: Path) -> None:
    metrics = Metrics()
    bounded = sink(tmp_path, metrics, limit_bytes=5000)
    for seq in range(10):
        bounded.send(batch(seq))
    names = [path.name for path in segments(tmp_path)]
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 5000
    assert names == [f"{EPOCH:020d}-{seq:012d}.seg" for seq in range(10 - len(names), 10)]
    gone = 10 - len(names)
    assert metrics.value("lost_rows_total", table="flows", reason="retention") == 10 * gone
    assert metrics.value("lost_bytes_total", table="flows", reason="retention") == 770 * gone


def test_the_bound_covers_what_an_earlier_agent_left(tmp_path: Path) -> None:
    first = sink(tmp_path, Metrics())
    for seq in range(4):
        first.send(batch(seq))
    (tmp_path / "flowatlas.flows.v1" / "n1" / ".x.seg.part").write_bytes(b"half")
    metrics = Metrics()
    sink(tmp_path, metrics, limit_bytes=3000).send(batch(9))
    assert [path.name[-8:] for path in segments(tmp_path)] == ["0003.seg", "0009.seg"]
    assert metrics.value("lost_rows_total", table="flows", reason="retention") == 30


def test_a_foreign_segment_is_expired_without_a_count(tmp_path: Path) -> None:
    metrics = Metrics()
    sink(tmp_path, metrics)
    (tmp_path / "flowatlas.flows.v1" / "n1" / "0.seg").write_bytes(b"no record" * 1000)
    sink(tmp_path, metrics, limit_bytes=3000).send(batch(1))
    assert len(segments(tmp_path)) == 1
    assert metrics.value("lost_rows_total", table="flows", reason="retention") == 0


def test_what_a_collector_of_a_later_version_has_left_is_expired_by_count(tmp_path: Path) -> None:
    metrics = Metrics()
    sink(tmp_path, metrics).send(replace(batch(0, size=4000), version=VERSION + 1))
    sink(tmp_path, metrics, limit_bytes=3000).send(batch(1))
    assert [path.name[-8:] for path in segments(tmp_path)] == ["0001.seg"]
    assert metrics.value("lost_rows_total", table="flows", reason="retention") == 10


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_disk_that_refuses_loses_the_batch_by_count_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    metrics = Metrics()
    healthy = sink(tmp_path, metrics)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os if failing == "fsync" else Path, failing, refuse)
        healthy.send(batch(1))
    assert segments(tmp_path) == []
    assert metrics.value("lost_rows_total", table="flows", reason="bus_error") == 10
    assert metrics.value("rows_total", table="flows") == 0
    healthy.send(batch(2))
    assert len(segments(tmp_path)) == 1, "the next batch goes through"


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="bus: "):
        sink(tmp_path / "file", Metrics())


def test_batches_that_say_what_may_go_are_kept_whatever_their_size(tmp_path: Path) -> None:
    """And what goes is not lost: later ones say it again."""
    metrics = Metrics()
    made = FileSink(f"file://{tmp_path}", "watcher", metrics, 1000, [STATE])
    made.start()

    def send(epoch: int, seq: int, oldest_kept: int) -> list[str]:
        made.send(Batch("state", "watcher", epoch, seq, 10, 0, bytes(5000), seq, oldest_kept))
        folder = tmp_path / "flowatlas.state.v1" / "watcher"
        return sorted(f"{int(p.stem[:20])}-{int(p.stem[21:])}" for p in folder.iterdir())

    send(100, 0, 0)
    assert send(100, 1, 50) == ["100-0", "100-1"]
    assert send(200, 0, 50) == ["100-0", "100-1", "200-0"]
    assert send(200, 1, 150) == ["200-0", "200-1"]
    assert metrics.value("lost_rows_total", table="state", reason="retention") == 0
    assert not (tmp_path / "flowatlas.flows.v1").exists()
