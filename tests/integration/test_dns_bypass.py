"""Questions past the cluster's DNS, as packets of a real pod: seen at its interface and told for what they are."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from collector.metrics import Metrics
from collector.netlink import in_namespace
from collector.schema import DNS, Batch, encode
from collector.sources.dns import DnsSource
from deploy.lab import needs
from deploy.lab.cluster import MANIFESTS, Lab
from deploy.lab.topology import OUTSIDE_API
from deploy.lab.workloads import dns
from pipeline.attribution.dnsqueries import asked_of, attribute_dns
from pipeline.bus import Message
from pipeline.decode import decode
from pipeline.inventory import manifests, snapshot

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(needs.missing()), reason="; ".join(needs.missing()))]

NAME = "www.example.com"


def attributed(columns: Any) -> pl.DataFrame:
    value = encode(DNS, columns)
    batch = Batch(DNS.name, "node-a", 1, 0, len(columns["time"]), 0, value)
    frame = decode(Message(batch.topic, batch.node, 0, batch.key, batch.headers(), batch.value)).frame
    return attribute_dns(asked_of(frame), snapshot.build(manifests.load(MANIFESTS)[0]))


def datagram_socket() -> socket.socket:
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(60)
    return asker


def test_what_a_pod_asks_beyond_the_cluster_is_told_apart(tmp_path: Path) -> None:
    """One question to the DNS Service, which answers, and one to an address outside, where nobody does."""
    with Lab(tmp_path, enforce="none") as lab:
        pod = lab.pods["default", "netshoot"]
        resolver = lab.cluster.services["kube-system", "kube-dns"].cluster_ip
        node = next(node for node in lab.nodes if node.name == lab.cluster.pods["default", "netshoot"].node)
        source = DnsSource(Metrics(), node.netns)
        source.start()
        try:
            for server, has_answer in ((str(resolver), True), (OUTSIDE_API, False)):
                with in_namespace(pod.netns, datagram_socket) as asker:
                    asker.connect((server, 53))
                    asker.send(dns.question(NAME, 7))
                    if has_answer:
                        assert asker.recv(4096)
            frame = attributed(source.finish(1 << 62))
        finally:
            source.stop()
    told = {row["is_bypass"]: row for row in frame.iter_rows(named=True)}
    assert frame.height == 2
    assert told[False]["latency_ns"] > 0
    assert {row["question"] for row in told.values()} == {NAME}
