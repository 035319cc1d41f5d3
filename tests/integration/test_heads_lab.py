"""Heads of connections in the lab, against what its clients say first. Needs root."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from collector.heads.names import first_segments
from collector.metrics import Metrics
from collector.schema import APP_PROTOCOLS, FLOWS, filled
from collector.sources.conntrack import ConntrackSource
from collector.sources.heads import HeadSource
from deploy.lab import needs
from deploy.lab.cluster import Lab
from tests.collector.network import text

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(needs.missing()), reason="; ".join(needs.missing()))]

SEGMENTS = 1
Ends = tuple[str, int, str, int]
Said = tuple[str, str, str, str]


def heads(columns: Any) -> list[tuple[Ends, Said]]:
    """Who dialled what, and the head that the row tells."""
    every = filled(FLOWS, columns)
    rows = [dict(zip(every, row, strict=True)) for row in zip(*every.values(), strict=True)]
    return [
        (
            (
                text(int(row["src_hi"]), int(row["src_lo"])),
                int(row["src_port"]),
                text(int(row["dst_hi"]), int(row["dst_lo"])),
                int(row["dst_port"]),
            ),
            (APP_PROTOCOLS[row["app_protocol"]], row["server_name"], row["method"], row["path"]),
        )
        for row in rows
        if row["app_protocol"]
    ]


def test_flows_tell_what_the_pods_clients_said_first(tmp_path: Path) -> None:
    """Every connection of a pod that spoke HTTP or TLS has its head, of those on their node's network some; none has
    another's, and none that spoke neither has any."""
    metrics = Metrics()
    told: list[tuple[Ends, Said]] = []

    def read() -> None:
        for source in sources:
            told.extend(heads(source.read(time.time_ns())))

    with Lab(tmp_path, enforce="nftables") as lab:
        sources = [
            HeadSource(ConntrackSource(metrics, node.netns), metrics, node.netns, path_segments=SEGMENTS)
            for node in lab.nodes
        ]
        try:
            for source in sources:
                source.start()
            lab.traffic(6, progress=lambda _seconds, _count: read())
            read()
        finally:
            for source in sources:
                source.stop()
        truth = lab.truth()
    missed = {result: metrics.value("heads_total", result=result) for result in ("malformed", "skipped", "ring_full")}
    assert set(missed.values()) == {0}, missed
    seen: dict[Ends, set[Said]] = {}
    for ends, head in told:
        seen.setdefault(ends, set()).add(head)
    said: dict[Ends, set[Said]] = {}
    legs = 0
    for row in truth:
        if row["protocol"] != 6 or not row["client"].get("pod"):
            continue
        ends = row["src_ip"], row["src_port"], row["dst_ip"], row["dst_port"]
        if "head" in row:  # the client's own row
            heads_said = said.setdefault(ends, set())
            if row["head"]:
                protocol, server, method, path = row["head"]
                heads_said.add((protocol, server, method, first_segments(path, SEGMENTS)))
        elif row.get("route"):  # the leg behind an ingress
            assert {(head[0], head[1]) for head in seen[ends]} == {("http1", row["route"]["host"])}
            legs += 1
    assert legs > 10
    pods = {pod.address for pod in lab.cluster.pods.values()} - {node.address for node in lab.cluster.nodes}
    assert len([ends for ends, kinds in said.items() if kinds]) > 50
    wrong = {
        ends: (seen.get(ends, set()), kinds)
        for ends, kinds in said.items()
        if not seen.get(ends, set()) <= kinds or (ends[0] in pods and seen.get(ends, set()) != kinds)
    }
    assert not wrong
    assert {protocol for kinds in said.values() for protocol, *_ in kinds} == {"http1", "tls"}
