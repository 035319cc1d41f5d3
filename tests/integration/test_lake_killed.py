"""A writer of the lake that is killed at any instant: each settle is there whole or not at all, and it goes on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from pipeline.outputs.lake import Lake
from pipeline.query import scan_counters, scan_flows

KILLS = 8
WRITER = """
import sys
from pipeline.outputs.lake import Lake
from tests.pipeline.lake.histories import NOON, counters, flows
lake = Lake(sys.argv[1], app="flowatlas/0")
lake.start()
print("started", flush=True)
version = lake.committed() or 0
while True:
    version += 1
    lake.add(flows(40, seed=version))
    lake.add(counters(*[NOON] * 3), "counters")
    lake.commit(version)
    print(version, flush=True)
"""


def test_a_settle_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """Killed between any two of its steps: data files, the log of counters, the log of flows."""
    chance = random.Random(11)
    said = 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "started\n"
            assert int(writer.stdout.readline()) == said + 1
            said += 1
            time.sleep(chance.uniform(0.0, 0.3))
            writer.send_signal(signal.SIGKILL)
            said = max([said, *(int(line) for line in writer.stdout if line.strip().isdigit())])
        lake = Lake(tmp_path, app="flowatlas/0")
        lake.start()
        committed = lake.committed() or 0
        assert committed in (said, said + 1)  # what it said is there; what it had no time to say may be
        said = committed
        settles = scan_flows(tmp_path).select(pl.col("flow_id") // 1_000_000).collect().to_series()
        assert settles.value_counts(sort=False).sort("flow_id").rows() == [(n, 40) for n in range(1, committed + 1)]
        assert scan_counters(tmp_path).collect().height == 3 * committed
    assert said >= KILLS
