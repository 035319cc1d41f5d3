"""Heads of connections against a real kernel: what the filter passes, and what flows tell. Needs root."""

from __future__ import annotations

import math
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from collector.heads.segments import head_filter
from collector.metrics import Metrics
from collector.packets.ring import Ring
from collector.schema import APP_PROTOCOLS
from collector.sources import Source
from collector.sources.heads import HeadSource
from tests.collector.flow_sources import SOURCES, read_until, started
from tests.collector.network import Network, connected, echo_all, routed_network, serving

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[2]
EVENLY_SECONDS = 2.0
ROOM_SECONDS = 4.0
ANSWERING = {"10.96.0.10": "10.2.0.2", "fd96::10": "fd02::2"}


@pytest.fixture
def network() -> Iterator[Network]:
    with routed_network() as built:
        yield built


def capture(network: Network, source: str, metrics: Metrics, one_in: int = 1) -> AbstractContextManager[Source]:
    netns = network.netns("node")
    return started(HeadSource(SOURCES[source](metrics, netns), metrics, netns, one_in))


def said(network: Network, address: str, *messages: bytes) -> None:
    """One connection to a Service's address that sends these, each after the echo of the one before."""
    with connected(network, address, 80) as sock:
        for message in messages:
            sock.sendall(message)
            left = len(message)
            while left:
                left -= len(sock.recv(65536))


def told(rows: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    return [
        (APP_PROTOCOLS[row["app_protocol"]], row["server_name"], row["method"], row["path"])
        for row in rows
        if row["app_protocol"]
    ]


def hello(name: str) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    channel = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        channel.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("dialled", ANSWERING)
def test_the_first_row_of_a_connection_has_its_head(network: Network, source: str, dialled: str) -> None:
    """Through a Service's address, short connections too; the echo of a head is none of the answerer's."""
    metrics = Metrics()
    with serving(network, ANSWERING[dialled], echo_all), capture(network, source, metrics) as flows:
        said(network, dialled, b"GET /cart/items/7?card=4242 HTTP/1.1\r\nHost: Shop.Example:80\r\n\r\n")
        said(network, dialled, hello("tls.example"))
        said(network, dialled, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        said(network, dialled, b"SSH-2.0-x\r\n", b"nothing to see")
        rows = read_until(flows, lambda rows: sum(row["opened"] for row in rows) == 4 and len(told(rows)) == 3)
    assert sorted(told(rows)) == [
        ("http1", "shop.example", "GET", "/cart/items/…"),
        ("http2", "", "", ""),
        ("tls", "tls.example", "", ""),
    ]
    assert metrics.value("hook_info", hook="heads", reason="") == 1
    assert metrics.value("heads_total", result="joined") == 3
    assert metrics.value("heads_total", result="malformed") == 0


def test_the_kernel_hands_over_nothing_but_heads(network: Network) -> None:
    ring = Ring(network.netns("node"), program=head_filter(4096), blocks=8, block_bytes=1 << 17, retire_ms=10)
    with serving(network, "10.2.0.2", echo_all):
        ring.start()
        try:
            said(network, "10.96.0.10", b"user=me&password=GET /", b"DELETE /x HTTP/1.1\r\n\r\n", bytes(30_000))
            kept: list[bytes] = []
            deadline = time.monotonic() + 60
            while len(kept) < 4 and time.monotonic() < deadline:  # into the node and out of it, there and echoed
                time.sleep(0.1)  # blocks of the ring are handed over after 10 ms
                kept += [
                    captured.octets.part(start, end)
                    for captured in ring.blocks(1)
                    for start, end in zip(captured.start.tolist(), captured.end.tolist(), strict=True)
                ]
        finally:
            ring.stop()
    assert len(kept) == 4
    assert all(frame[14 + 20 :].endswith(b"DELETE /x HTTP/1.1\r\n\r\n") for frame in kept)


def test_of_many_heads_some_are_read(network: Network) -> None:
    metrics = Metrics()
    with serving(network, "10.2.0.2", echo_all), capture(network, "ebpf", metrics, one_in=4) as flows:
        for number in range(100):
            said(network, "10.96.0.10", f"GET /{number} HTTP/1.1\r\n\r\n".encode())
        heads = told(read_until(flows, lambda rows: sum(row["closed"] for row in rows) == 100))
    assert 10 <= len(heads) < 90  # at either of two interfaces: 44 of 100 are expected


def test_heads_that_come_evenly_have_room_until_they_are_read(network: Network) -> None:
    """A read comes once a second, and later on a busy node; few heads fill as many blocks as many do."""
    metrics, took_s = Metrics(), math.inf
    with serving(network, "10.2.0.2", echo_all), capture(network, "ebpf", metrics) as flows:
        while took_s > ROOM_SECONDS:  # this machine may be busier than a node ever is
            before = metrics.value("heads_total", result="ring_full")
            began = time.monotonic()
            with connected(network, "10.96.0.10", 80) as sock:
                while time.monotonic() - began < EVENLY_SECONDS:
                    sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    sock.recv(65536)
                    time.sleep(0.005)
            flows.read(time.time_ns())
            took_s = time.monotonic() - began
    assert metrics.value("heads_total", result="ring_full") == before


CAPTURES = {
    "heads": "from collector.sources.heads import HeadSource; source = HeadSource(Nothing(), metrics)",
    "dns": "from collector.sources.dns import DnsSource; source = DnsSource(metrics)",
    "packets": "from collector.sources.packets import PacketSource; source = PacketSource(metrics)",
}
CAPTURE = """
from collector.errors import ConfigError
from collector.metrics import Metrics

class Nothing:
    def start(self): pass
    def stop(self): pass

metrics = Metrics()
{source}
try:
    source.start()
except ConfigError as error:
    print("refused" if "CAP_NET_RAW" in str(error) else error)
else:
    reasons = [labels[1] for name, labels in metrics._values if name == "hook_info"]
    print("refused" if reasons == ["privileges"] else "captures")
source.stop()
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
@pytest.mark.parametrize("source", CAPTURES)
def test_captures_need_one_capability(network: Network, source: str) -> None:
    """CAP_NET_RAW alone is enough; without it the reason is told."""
    for capabilities, expected in (("-all,+net_raw", "captures"), ("-all", "refused")):
        program = CAPTURE.format(source=CAPTURES[source])
        command = ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}", "--"]
        run = ["nsenter", f"--net={network.netns('node')}", *command, sys.executable, "-c", program]
        done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, check=True)
        assert done.stdout == expected + "\n", (capabilities, done)
