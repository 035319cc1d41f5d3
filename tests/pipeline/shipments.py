"""Batches as a collector ships them, from rows that name only what matters; addresses are text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collector.schema import COUNTERS, FLOWS, OUTCOMES, UTF8, Batch, Table, encode, pack_record
from pipeline.bus import Message
from pipeline.inventory.addresses import parse

SECOND = 1_000_000_000
NOW = 1_772_366_400 * SECOND
"""2026-03-01 12:00:00 UTC."""


def flow(src: str, dst: str, port: int, *, backend: str | None = None, **more: Any) -> dict[str, Any]:
    """One FLOWS row: a TCP connection opened and still open, 10 packets of 1,000 bytes out and as many back."""
    columns: dict[str, Any] = {
        "start": NOW,
        "time": NOW + SECOND,
        "flow_id": 1,
        "src_port": 40000,
        "dst_port": port,
        "backend_port": port,
        "nat_src_port": 40000,
        "protocol": 6,
        "outcome": OUTCOMES.index("open"),
        "opened": 1,
        "closed": 0,
        "packets": 10,
        "bytes": 1000,
        "reply_packets": 10,
        "reply_bytes": 1000,
        **{key: value for key, value in more.items() if key != "nat_src"},
    }
    ends = {"src": src, "dst": dst, "backend": backend or dst, "nat_src": more.get("nat_src", src)}
    for end, text in ends.items():
        columns[f"{end}_hi"], columns[f"{end}_lo"] = parse(text)
    return columns


def interface(address: str, **more: Any) -> dict[str, Any]:
    """One COUNTERS row of a pod's eth0, all counters zero."""
    hi, lo = parse(address)
    blank = {name: "" if kind == UTF8 else 0 for name, kind in COUNTERS.columns.items()}
    return {**blank, "time": NOW, "netns": 7, "ifindex": 2, "interface": "eth0", "addr_hi": hi, "addr_lo": lo, **more}


def drop(src: str, dst: str, port: int, reason: str, packets: int = 1) -> dict[str, Any]:
    """One DROPS row: TCP packets of 60 bytes."""
    row: dict[str, Any] = {"time": NOW, "src_port": 40000, "dst_port": port, "protocol": 6, "reason": reason}
    for end, text in (("src", src), ("dst", dst)):
        row[f"{end}_hi"], row[f"{end}_lo"] = parse(text)
    return {**row, "packets": packets, "bytes": 60 * packets}


def batch(node: str, seq: int, rows: Sequence[Mapping[str, Any]], table: Table = FLOWS, epoch: int = 1) -> Batch:
    columns = {
        name: [row.get(name, "") for row in rows]
        if kind == UTF8
        else np.array([row.get(name, 0) for row in rows], dtype=kind)
        for name, kind in table.columns.items()
    }
    byte_sum = sum(row[name] for row in rows for name in table.bytes_columns)
    return Batch(table.name, node, epoch, seq, len(rows), byte_sum, encode(table, columns))


def message(shipped: Batch, **other: Any) -> Message:
    fields: dict[str, Any] = {
        "topic": shipped.topic,
        "partition": shipped.node,
        "offset": shipped.seq,
        "key": shipped.key,
        "headers": shipped.headers(),
        "value": shipped.value,
    }
    return Message(**{**fields, **other})


def write_segment(root: Path, shipped: Batch, times: int = 1) -> None:
    """Put a batch on the file:// bus, as the collector's sink does; or so many of it."""
    folder = root / shipped.topic / shipped.node
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{shipped.epoch:020d}-{shipped.seq:012d}.seg"
    (folder / f"{name}.tmp").write_bytes(times * pack_record(shipped.headers(), shipped.value))
    (folder / f"{name}.tmp").rename(folder / name)
