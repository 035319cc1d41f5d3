"""DNS as the lab's programs spoke it, against what they and their server say. Needs root."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.metrics import Metrics
from collector.packets.ring import Captured, Ring
from collector.schema import NO_ANSWER
from collector.sources.dns import PORT, SNAP_BYTES, DnsSource, port_filter
from deploy.lab import needs
from deploy.lab.cluster import Lab
from tests.collector.network import text

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(needs.missing()), reason="; ".join(needs.missing()))]

RCODES = {"NXDOMAIN": 3}


def rows(columns: Any) -> Iterator[dict[str, Any]]:
    plain = [values if isinstance(values, list) else values.tolist() for values in columns.values()]
    for row in zip(*plain, strict=True):
        yield dict(zip(columns, row, strict=True))


def test_every_lookup_of_the_lab_is_one_exchange(tmp_path: Path) -> None:
    """Name, answer, addresses and time agree with the program that asked; nothing else is told."""
    metrics = Metrics()
    with Lab(tmp_path, enforce="nftables") as lab:
        sources = [DnsSource(metrics, node.netns) for node in lab.nodes]
        try:
            for source in sources:
                source.start()
            lab.traffic(6)
            told = [row for source in sources for row in rows(source.finish(1 << 62))]
        finally:
            for source in sources:
                source.stop()
        truth = [row for row in lab.truth() if row["dst_port"] == 53 and row["protocol"] == 17 and row["asked"]]
    assert len(truth) > 20
    exchanges = [row for row in told if row["exchanges"]]

    def seen(row: dict[str, Any]) -> tuple[str, str, str, int]:
        return (
            text(row["client_hi"], row["client_lo"]),
            text(row["server_hi"], row["server_lo"]),
            row["question"],
            row["rcode"],
        )

    def said(row: dict[str, Any]) -> tuple[str, str, str, int]:
        answer = row.get("answer")
        code = NO_ANSWER if answer is None else RCODES.get(answer, 0) if isinstance(answer, str) else 0
        return row["src_ip"], row["dst_ip"], row["asked"].rstrip("."), code

    lookups = Counter(said(row) for row in truth if row["client"].get("pod"))
    assert Counter(seen(row) for row in exchanges) == lookups
    longest = max((row["closed_ns"] - row["opened_ns"]) for row in truth if row.get("answer"))
    answered = [row for row in exchanges if row["rcode"] != NO_ANSWER]
    assert all(0 < row["latency_ns"] <= longest for row in answered)
    given = {
        (row["question"], text(row["answer_hi"], row["answer_lo"]))
        for row in told
        if (row["answer_hi"], row["answer_lo"]) != (0, 0)
    }
    assert given == {
        (row["asked"].rstrip("."), address)
        for row in truth
        if row["client"].get("pod") and isinstance(row.get("answer"), list)
        for address in row["answer"]
    }
    assert metrics.value("dns_messages_total", result="malformed") == 0


def test_the_kernel_hands_over_nothing_but_the_port(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        ring = Ring(lab.nodes[0].netns, program=port_filter(PORT, SNAP_BYTES), blocks=16, block_bytes=1 << 18)
        ring.start()
        try:
            lab.traffic(2)
            ports: set[frozenset[int]] = set()

            def look(captured: Captured) -> None:
                for start in captured.start.tolist():
                    frame = captured.octets.part(start, start + 60)
                    at = 14 + (frame[14] & 15) * 4
                    ports.add(frozenset((int.from_bytes(frame[at : at + 2]), int.from_bytes(frame[at + 2 : at + 4]))))

            for captured in ring.blocks(1):
                look(captured)
        finally:
            ring.stop()
    assert ports
    assert all(53 in pair for pair in ports)
