"""The demo says which of its processes has died, in that one's own words, and not what waited for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.processes import LAST_LINES, DemoError, Process, free_port, wait_for_scrapes

DYING = "print('settings are read'); raise SystemExit('pipeline.state: /nowhere does not exist')"
WAITING = "import sys; sys.stdin.read() or __import__('signal').pause()"


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Process]:
    """A process that goes on and answers nobody."""
    with Process("prometheus", [sys.executable, "-c", WAITING], tmp_path / "prometheus.log") as process:
        yield process


def test_a_dead_target_is_named_with_its_last_words(tmp_path: Path, waiting: Process) -> None:
    with Process("pipeline", [sys.executable, "-c", DYING], tmp_path / "pipeline.log") as dead:
        with pytest.raises(DemoError, match=r"pipeline ended with 1: its log: .*pipeline\.log") as raised:
            wait_for_scrapes(f"http://127.0.0.1:{free_port()}", waiting, [dead])
        assert "pipeline.state: /nowhere does not exist" in str(raised.value)


def test_what_does_not_answer_is_named_where_all_live(waiting: Process) -> None:
    with pytest.raises(DemoError, match="prometheus did not scrape all targets within 0 s"):
        wait_for_scrapes(f"http://127.0.0.1:{free_port()}", waiting, [waiting], timeout_s=0.2)


def test_of_a_long_log_the_end_is_told(tmp_path: Path) -> None:
    talking = "for line in range(100): print('line', line)\nraise SystemExit(2)"
    with Process("collector", [sys.executable, "-c", talking], tmp_path / "collector.log") as dead:
        with pytest.raises(DemoError) as raised:
            wait_for_scrapes(f"http://127.0.0.1:{free_port()}", dead, [dead])
        told = str(raised.value).splitlines()[1:]
        assert [line.strip() for line in told] == [f"line {line}" for line in range(100 - LAST_LINES, 100)]
