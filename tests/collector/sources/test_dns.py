"""The DNS source: what it reads of segments, and where the kernel does not let it."""

from __future__ import annotations

import errno
import os
from collections import Counter

import numpy as np
import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from collector.metrics import Metrics
from collector.packets.ring import Ring
from collector.sources.dns import HOOK, DnsSource
from tests.collector.packets.blocks import WALL_NS, captured


@pytest.mark.parametrize(("number", "reason"), [(errno.EPERM, "privileges"), (errno.ENOPROTOOPT, "kernel")])
def test_a_refusal_is_told_once_and_gives_no_rows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, reason: str
) -> None:
    """A collector that may not capture goes on with its other sources."""

    def refuse(ring: Ring) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Ring, "start", refuse)
    metrics = Metrics()
    source = DnsSource(metrics)
    source.start()
    for columns in (source.read(1), source.finish(2)):
        assert {len(values) for values in columns.values()} == {0}
    source.stop()
    told = next(family for family in metrics.collect() if family.name == "flowatlas_collector_hook_info")
    assert [(sample.labels, sample.value) for sample in told.samples] == [({"hook": HOOK, "reason": reason}, 0)]
    assert len(caplog.records) == 1


CLIENT, SERVER = "10.244.1.5", "10.96.0.10"


def segment(payload: bytes, *, is_told: bool) -> Packet:
    ends = (CLIENT, 40000), (SERVER, 53)
    (src, sport), (dst, dport) = reversed(ends) if is_told else ends
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    packet: Packet = ether / IP(src=src, dst=dst) / TCP(sport=sport, dport=dport, flags="PA") / Raw(payload)
    return packet


def over_tcp(*messages: DNS) -> bytes:
    return b"".join(len(bytes(one)).to_bytes(2, "big") + bytes(one) for one in messages)


@pytest.mark.parametrize("cut", [0, 300, 700, 1400])
def test_an_answer_that_tcp_cuts_is_an_answer(cut: int) -> None:
    """As that of a headless Service with hundreds of pods; a second one follows it at once."""
    name = "cache.shop.svc.cluster.local"
    records = [DNSRR(rrname=name, ttl=5, rdata=f"10.244.2.{number}") for number in range(100)]
    questions = [DNS(id=number, qd=DNSQR(qname=name)) for number in (7, 8)]
    answers = [DNS(id=number, qr=1, qd=DNSQR(qname=name), an=records[:count]) for number, count in ((8, 1), (7, 100))]
    told = over_tcp(*answers)
    parts = [part for part in (told[:cut], told[cut:]) if part]
    frames = [segment(over_tcp(*questions), is_told=False), *(segment(part, is_told=True) for part in parts)]
    source, counts = DnsSource(Metrics()), Counter[str]()
    for frame, is_outgoing in zip(frames, (False, True, True), strict=False):
        source._read(captured([frame], outgoing=is_outgoing, snap=4096), np.array([3], np.uint32), counts)
    rows = source._exchanges.take(WALL_NS + 60 * 1_000_000_000)
    first = np.flatnonzero(np.asarray(rows["exchanges"]))
    assert [int(rows["rcode"][row]) for row in first] == [0, 0]
    assert all(rows["ttl_s"][row] == 5 for row in first)
    assert counts["read"] == 4
