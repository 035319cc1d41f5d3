"""Rows of the history, made up: for tests of the tables."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.lake.store import Store
from pipeline.lake.tables import COUNTERS, LakeTable
from pipeline.outputs.history import HISTORY, filled
from pipeline.outputs.lake import Lake

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def flows(count: int, begin: datetime = NOON, seed: int = 1, span: timedelta = timedelta(minutes=30)) -> pl.DataFrame:
    """Observations with times in order, `flow_id` from `seed` million on, of a few pods in two namespaces."""
    random = np.random.default_rng(seed)
    pods = [f"pod-{number}" for number in range(20)]
    source, destination = (random.integers(0, 20, count) for _ in range(2))
    verdict = random.choice(["allowed", "denied"], count, p=[0.9, 0.1])
    sizes = {name: random.integers(1, 1000, count) for name in ("packets", "bytes", "reply_packets", "reply_bytes")}
    columns = {
        "time": pl.Series([begin + span * i / max(count, 1) for i in range(count)], dtype=HISTORY["time"]),
        "flow_id": np.arange(seed * 1_000_000, seed * 1_000_000 + count),
        "source_kind": ["Pod"] * count,
        "source_namespace": [f"team-{number % 2}" for number in source],
        "source_name": [pods[number] for number in source],
        "source_workload": [f"app-{number // 4}" for number in source],
        "destination_namespace": [f"team-{number % 2}" for number in destination],
        "destination_name": [pods[number] for number in destination],
        "destination_workload": [f"app-{number // 4}" for number in destination],
        "src_ip": [f"10.0.0.{number}" for number in source],
        "nat_src_ip": [f"10.0.0.{number}" for number in source],
        "role": random.choice(["canonical", "observer"], count, p=[0.8, 0.2]),
        "outcome": random.choice(["closed", "refused"], count),
        "opened": random.integers(0, 2, count),
        "protocol": [6] * count,
        "verdict": verdict,
        "egress_policies": [["deny NetworkPolicy/team-0/web/0"] if word == "denied" else [] for word in verdict],
        **sizes,
    }
    rows = pl.DataFrame(columns).cast({name: HISTORY[name] for name in columns})
    blank = [
        pl.lit("" if dtype == pl.String else 0, dtype=dtype).alias(name)
        for name, dtype in HISTORY.items()
        if name not in columns and dtype.base_type() not in (pl.List, pl.Datetime)
    ]
    whole = rows.with_columns(*blank, start=pl.col("time").dt.truncate("1ms"))
    return filled(whole.match_to_schema(HISTORY, missing_columns="insert").lazy()).collect()


def counters(*times: datetime) -> pl.DataFrame:
    """One row for each time."""
    rows = pl.DataFrame({"time": pl.Series(times, dtype=HISTORY["time"])})
    return rows.match_to_schema(COUNTERS.columns, missing_columns="insert")


def lake_of(root: Path, *parts: pl.DataFrame, app: str | None = None) -> Store:
    """A lake with one commit for each part."""
    lake = Lake(root, app=app)
    lake.start()
    first = (lake.committed() or 0) + 1
    for number, part in enumerate(parts, first):
        lake.add(part)
        if app is None:
            lake.flush()
        else:
            lake.commit(number)
    return Store(str(root))


def entries(root: Path, table: LakeTable) -> list[Path]:
    """The entries of a table's log, the first in front."""
    return sorted((root / table.name / "_delta_log").glob("*.json"))


def age(root: Path, table: LakeTable, hours: float = 1_000) -> None:
    """Let all files of a table's log be so old."""
    then = time.time() - hours * 3600
    for path in (root / table.name / "_delta_log").iterdir():
        os.utime(path, (then, then))
