"""What the release before this one has left, a topic, a lake and a config file, is taken up whole by this one.

The topic is a recording of the demo (wire version 1), the lake that of the notebooks (Parquet without Delta).
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from collector.schema import FLOWS, parse_headers, unpack_records
from deploy.demo.replay import unpack
from pipeline.cli.main import main
from pipeline.query import scan_flows
from tests.integration.test_pipeline_process import PipelineProcess, get

ROOT = Path(__file__).parents[2]


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A folder as the release before has left it."""
    unpack(ROOT / "tests/data/previous/recording.tar.gz", tmp_path)
    shutil.copytree(ROOT / "notebooks/data/lake", tmp_path / "lake")
    shutil.copytree(ROOT / "deploy/lab/manifests", tmp_path / "state")
    settings = (ROOT / "tests/data/previous/flowatlas.yaml").read_text()
    (tmp_path / "flowatlas.yaml").write_text(settings.replace("{folder}", str(tmp_path)))
    return tmp_path


def shipped(bus: Path) -> Counter[str]:
    """Rows and bytes of the flows on a bus, as the batches' names have them."""
    sums: Counter[str] = Counter()
    for path in (bus / FLOWS.topic).rglob("*.seg"):
        for headers, _ in unpack_records(path.read_bytes()):
            name = parse_headers(headers)
            assert headers["schema"] == b"1"
            sums += Counter(rows=name.rows, bytes=name.byte_sum)
    return sums


@pytest.mark.parametrize("section", ["pipeline", "collector", "watcher"])
def test_its_settings_hold(left: Path, section: str) -> None:
    assert main(["config", "check", section, "--config", str(left / "flowatlas.yaml")]) == 0


def test_its_topic_and_its_lake_are_one_history_with_nothing_lost(left: Path) -> None:
    before = scan_flows(left / "lake").collect()
    assert before.height > 100
    process = PipelineProcess(left)
    process.command[process.command.index("pipeline") + 1 :] = ["--config", str(left / "flowatlas.yaml")]
    try:
        address = process.start()
        page = get(f"http://{address}/metrics")
        assert page is not None
        assert process.end() == 0
    finally:
        process.kill()
    after = scan_flows(left / "lake").collect()
    topic = shipped(left / "bus")
    assert after.height == before.height + topic["rows"]
    size = sum(int(after[name].sum()) - int(before[name].sum()) for name in ("bytes", "reply_bytes"))
    assert size == topic["bytes"]
    assert after.filter(after["time"].is_in(before["time"].implode())).height >= before.height
    assert not list((left / "bus").rglob("*quarantine*/**/*.seg"))
