"""Batches of the state table as a watcher sends them, from objects as the API has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from collector.schema import STATE, STATE_OPS, Batch
from tests.pipeline.shipments import batch

WATCHER = "cluster-watcher"
Row = dict[str, Any]


def put(time_ns: int, body: Mapping[str, Any]) -> Row:
    metadata = body["metadata"]
    return {
        "time": time_ns,
        "op": STATE_OPS.index("put"),
        "api_version": body["apiVersion"],
        "kind": body["kind"],
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "body": json.dumps({key: value for key, value in body.items() if value is not None}),
    }


def delete(time_ns: int, body: Mapping[str, Any]) -> Row:
    return {**put(time_ns, body), "op": STATE_OPS.index("delete"), "body": ""}


def synced(time_ns: int) -> Row:
    return _bare(time_ns, "synced")


def mark(time_ns: int) -> Row:
    return _bare(time_ns, "mark")


def _bare(time_ns: int, op: str) -> Row:
    blank = dict.fromkeys(("api_version", "kind", "namespace", "name", "uid", "body"), "")
    return {"time": time_ns, "op": STATE_OPS.index(op), **blank}


def state(epoch: int, seq: int, rows: Sequence[Row], watcher: str = WATCHER) -> Batch:
    return batch(watcher, seq, rows, STATE, epoch)
