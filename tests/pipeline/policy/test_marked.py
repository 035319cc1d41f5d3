"""What the pipeline marked is listed by pair, port and policy, the latest first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl

from pipeline.outputs.history import HISTORY
from pipeline.policy.marked import marked


def row(second: int, mismatch: str, source: str, port: int = 80, **values: Any) -> dict[str, Any]:
    return {
        "start": datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC),
        "source_namespace": "shop",
        "source_workload": source,
        "destination_namespace": "shop",
        "destination_workload": "web",
        "backend_port": port,
        "protocol": 6,
        "egress_policies": ["allow NetworkPolicy/shop/out/1"],
        "ingress_policies": ["isolates NetworkPolicy/shop/deny/"],
        "mismatch": mismatch,
    } | values


def test_marked_rows_are_listed_by_pair_and_policy() -> None:
    rows = [
        row(1, "established_denied", "a"),
        row(5, "established_denied", "a"),
        row(3, "established_denied", "b"),
        row(4, "", "c"),
        row(4, None, "c"),  # type: ignore[arg-type]  # of a history that had no such column
        row(9, "dropped_allowed", "a", ingress_policies=[]),
    ]
    found = marked(pl.LazyFrame(rows, schema={**dict.fromkeys(HISTORY, pl.Null), **HISTORY}))
    told = found.select("mismatch", "source_workload", "connections", "policies", pl.col("last_seen").dt.second())
    assert told.rows() == [
        ("dropped_allowed", "a", 1, ["allow NetworkPolicy/shop/out/1"], 9),
        ("established_denied", "a", 2, ["isolates NetworkPolicy/shop/deny/"], 5),
        ("established_denied", "b", 1, ["isolates NetworkPolicy/shop/deny/"], 3),
    ]
