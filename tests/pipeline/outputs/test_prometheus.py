"""The HTTP server: what it answers, and that no client can hold it up."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from collector import webconnections
from collector.webconnections import CONNECTION_SECONDS, SILENT_SECONDS
from dashboards.prometheus import Prometheus
from pipeline.aggregate.samples import Samples, samples_of
from pipeline.catalog import BY_NAME, SERIES
from pipeline.errors import ConfigError
from pipeline.outputs.exposition import CONTENT_TYPES, Format
from pipeline.outputs.prometheus import PrometheusServer, accepts_gzip, prefers_openmetrics
from pipeline.outputs.publication import Publication
from tests.pipeline.outputs.every_metric import one_of_each
from tests.prometheus_server import prometheus

LOOPBACK = ("127.0.0.1", 0)


def observed(*values: int) -> list[Samples]:
    metric = BY_NAME["flowatlas_observer_bytes_total"]
    return [samples_of(metric, {(f"node-{i}",): value for i, value in enumerate(values)})]


class Served:
    """A server under test, its publication and its readiness."""

    def __init__(self, **limits: float) -> None:
        self.publication = Publication()
        self.is_ready = threading.Event()
        self.server = PrometheusServer(LOOPBACK, self.publication, self.is_ready.is_set, **limits)  # type: ignore[arg-type] # numbers alike

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*self.server.address, timeout=60)
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def dial(self) -> socket.socket:
        return socket.create_connection(self.server.address, timeout=60)


@pytest.fixture
def served() -> Iterator[Served]:
    it = Served()
    with it.server:
        yield it


def test_metrics_are_what_was_published_last(served: Served) -> None:
    served.publication.publish(observed(1))
    served.publication.publish(observed(2, 3))
    status, headers, body = served.get("/metrics?name=ignored")
    assert (status, headers["content-type"]) == (200, CONTENT_TYPES["text"])
    assert "content-encoding" not in headers
    assert body.splitlines()[2:] == [
        b'flowatlas_observer_bytes_total{node="node-0"} 2',
        b'flowatlas_observer_bytes_total{node="node-1"} 3',
    ]


def test_gzip_is_sent_to_those_who_ask_for_it(served: Served) -> None:
    served.publication.publish(observed(*range(100)))
    plain = served.get("/metrics")[2]
    _, headers, body = served.get("/metrics", {"Accept-Encoding": "gzip;q=1.0, identity"})
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == plain
    assert len(body) < len(plain)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=x", False),
        ("identity", False),
        ("xgzip", False),
    ],
)
def test_accept_encoding(header: str, wanted: bool) -> None:
    assert accepts_gzip(header) is wanted


PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (PROMETHEUS_2_42, True),
        ("application/openmetrics-text", True),
        ('Application/OpenMetrics-Text; Version="1.0.0"; charset=utf-8', True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=1.0.0;q=0", False),
        ("application/openmetrics-text;version=1.0.0;q=0.4,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=nan", False),
        ("application/openmetrics-text;q=,;;=", False),
    ],
)
def test_accept(header: str, wanted: bool) -> None:
    assert prefers_openmetrics(header) is wanted


def test_openmetrics_is_sent_to_those_who_ask_for_it(served: Served) -> None:
    served.publication.publish(observed(5))
    _, headers, body = served.get("/metrics", {"Accept": PROMETHEUS_2_42})
    assert headers["content-type"] == CONTENT_TYPES["openmetrics"]
    assert headers["vary"] == "Accept, Accept-Encoding"
    assert body.endswith(b'flowatlas_observer_bytes_total{node="node-0"} 5\n# EOF\n')
    _, headers, packed = served.get("/metrics", {"Accept": PROMETHEUS_2_42, "Accept-Encoding": "gzip"})
    assert headers["content-type"] == CONTENT_TYPES["openmetrics"]
    assert gzip.decompress(packed) == body
    assert b"EOF" not in served.get("/metrics")[2]


class Remembering(Publication):
    """A publication that knows what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[Format] = set()

    def gzipped(self, form: Format = "text", by: str = "") -> bytes:
        self.asked.add(form)
        return super().gzipped(form, by)


@pytest.mark.prometheus
def test_prometheus_asks_for_openmetrics_and_reads_every_series(tmp_path: Path) -> None:
    publication = Remembering()
    publication.publish(one_of_each())
    with (
        PrometheusServer(LOOPBACK, publication, lambda: True) as server,
        prometheus(tmp_path, "{}:{}".format(*server.address), scrapes=1) as url,
    ):
        found = Prometheus(url).instant('count by (__name__) ({job="flowatlas"})', time.time())
    assert {series["metric"]["__name__"] for series in found} >= set(SERIES)
    assert publication.asked == {"openmetrics"}


def test_a_pipeline_is_alive_before_it_is_ready(served: Served) -> None:
    assert (served.get("/healthz")[0], served.get("/readyz")[0]) == (200, 503)
    served.is_ready.set()
    assert (served.get("/healthz")[0], served.get("/readyz")[0]) == (200, 200)


def test_other_paths_and_methods_are_refused(served: Served) -> None:
    assert served.get("/")[0] == 404
    with served.dial() as client:
        client.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert client.makefile("rb").readline().split()[1] == b"501"


def test_every_scrape_sees_one_publication_as_a_whole(served: Served) -> None:
    """Publications change while scrapes run; no answer mixes two."""
    served.publication.publish(observed(*[0] * 500))
    done = threading.Event()

    def publish() -> None:
        for i in range(1, 1_000_000):
            if done.is_set():
                return
            served.publication.publish(observed(*[i] * 500))

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        seen = set()
        for _ in range(30):
            body = served.get("/metrics")[2]
            values = {line.rpartition(b" ")[2] for line in body.splitlines() if not line.startswith(b"#")}
            assert len(values) == 1
            assert body.count(b"\n") == 502
            seen |= values
    finally:
        done.set()
        publisher.join()
    assert len(seen) > 1


def test_rendering_happens_once_a_publication(served: Served) -> None:
    served.publication.publish(observed(1))
    assert served.publication.text() is served.publication.text()
    assert served.publication.gzipped() is served.publication.gzipped()
    assert served.publication.text("openmetrics") is served.publication.text("openmetrics")
    assert served.publication.gzipped("openmetrics") is served.publication.gzipped("openmetrics")


def test_a_client_that_says_nothing_is_cut_and_holds_up_nobody() -> None:
    it = Served(connection_seconds=3)
    with it.server, it.dial() as silent:
        assert it.get("/healthz")[0] == 200
        assert silent.recv(1) == b""


def test_a_client_that_drips_bytes_is_cut_too() -> None:
    """Each byte comes in time, the request as a whole does not."""
    it = Served(connection_seconds=0.5)
    with it.server, it.dial() as dripping:
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 - which byte fails depends on the kernel
            while time.monotonic() - began < 60:
                dripping.sendall(b"G")
                time.sleep(0.05)


def test_beyond_the_limit_of_connections_the_answer_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webconnections, "SILENT_SECONDS", 120)
    it = Served(max_connections=2)
    with it.server:
        held = [it.dial() for _ in range(2)]
        try:
            deadline = time.monotonic() + 90
            while it.get("/healthz")[0] != 503:
                assert time.monotonic() < deadline
        finally:
            for client in held:
                client.close()
        while it.get("/healthz")[0] != 200:
            assert time.monotonic() < deadline


def test_who_does_not_say_what_it_wants_makes_room_for_probes_and_scrapes() -> None:
    """Else whoever reaches the port has the kubelet kill the pipeline, with as many connections as there may be."""
    it = Served(max_connections=4)
    with it.server, contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(it.dial()).sendall(b"GET /metrics HTTP/1.1\r\n")
        it.get("/healthz")  # connections are taken in order, so these are by now
        time.sleep(SILENT_SECONDS)
        assert [it.get("/healthz")[0] for _ in range(10)] == [200] * 10


def test_who_takes_its_answer_slowly_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webconnections, "SILENT_SECONDS", 0)
    asked, go_on = threading.Event(), threading.Event()

    def wait(*_: str) -> tuple[HTTPStatus, dict[str, str], bytes]:
        asked.set()
        assert go_on.wait(60)
        return HTTPStatus.OK, {}, b"done"

    server = PrometheusServer(LOOPBACK, Publication(), lambda: True, more={"/slow": wait}, max_connections=1)
    with server, socket.create_connection(server.address, timeout=60) as slow:
        slow.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        assert asked.wait(60)
        with socket.create_connection(server.address, timeout=60) as other:
            assert b" 503 " in other.recv(100)
        go_on.set()
        assert slow.makefile("rb").read().endswith(b"done")


def test_stop_does_not_wait_for_open_connections() -> None:
    it = Served()
    it.server.start()
    with it.dial() as silent:
        assert it.get("/healthz")[0] == 200  # connections are taken in order, so the silent one is by now
        began = time.monotonic()
        it.server.stop()
        it.server.stop()
        assert silent.recv(1) == b""
    assert time.monotonic() - began < CONNECTION_SECONDS


def test_an_address_in_use_is_a_wrong_setting() -> None:
    with socket.create_server(LOOPBACK) as taken:
        host, port = taken.getsockname()
        with pytest.raises(ConfigError, match=r"pipeline\.listen: 127\.0\.0\.1:\d+: "):
            PrometheusServer((host, port), Publication(), lambda: True).start()


def test_no_host_means_every_address_of_both_families() -> None:
    """A cluster may have the one, the other or both, and kubelets ask at the pod's first address."""
    with PrometheusServer(("", 0), Publication(), lambda: True) as server:
        for host in ("127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])):
            connection = http.client.HTTPConnection(host, server.address[1], timeout=60)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()


def test_ipv6_loopback() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with PrometheusServer(("::1", 0), Publication(), lambda: True) as server:
        connection = http.client.HTTPConnection(*server.address, timeout=60)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
