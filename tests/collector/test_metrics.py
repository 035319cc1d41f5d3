"""The agent's own metrics: the same as the catalogue's, and served as Prometheus reads them."""

from __future__ import annotations

import contextlib
import platform
import socket
import threading
import time
import urllib.request
from importlib import metadata

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector import webserver
from collector.errors import ConfigError
from collector.metrics import FAMILIES, Metrics, MetricsServer
from collector.webconnections import SILENT_SECONDS
from pipeline.catalog import METRICS


def test_families_are_the_catalogues() -> None:
    catalogue = {(m.name, m.kind, m.labels, m.help) for m in METRICS if m.exposer == "collector"}
    assert {(f"flowatlas_collector_{f.name}", f.kind, f.labels, f.help) for f in FAMILIES} == catalogue


def test_what_was_counted_is_served() -> None:
    metrics = Metrics()
    metrics.lost("flows", 7, 900, "bus_full")
    metrics.lost("flows", 3, 100, "bus_full")
    metrics.set("tracked_flows", 42)
    with MetricsServer(metrics, "127.0.0.1:0") as server:
        url = f"http://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(url) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
    samples = {(s.name, s.labels.get("reason")): s.value for family in families for s in family.samples}
    assert samples["flowatlas_collector_lost_rows_total", "bus_full"] == 10
    assert samples["flowatlas_collector_lost_bytes_total", "bus_full"] == 1000
    assert samples["flowatlas_collector_tracked_flows", None] == 42
    assert samples["flowatlas_collector_netlink_overruns_total", None] == 0
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", server.port))  # the port is free once the server is closed


def test_the_versions_that_run_are_told() -> None:
    metrics = Metrics()
    metrics.built()
    assert metrics.value("build_info", version=metadata.version("flowatlas"), python=platform.python_version()) == 1


@pytest.mark.parametrize("address", ["", "9400", "host:", "host:x", "127.0.0.1:70000"])
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="metrics_address"):
        MetricsServer(Metrics(), address)


def test_no_host_means_every_address_of_both_families() -> None:
    with MetricsServer(Metrics(), ":0") as server:
        for host in ("127.0.0.1", *(["[::1]"] if socket.has_dualstack_ipv6() else [])):
            with urllib.request.urlopen(f"http://{host}:{server.port}/metrics", timeout=60) as answer:
                assert answer.status == 200


def test_clients_that_never_end_their_request_take_nothing_from_the_agent_or_its_probes() -> None:
    before = threading.active_count()
    with MetricsServer(Metrics(), "127.0.0.1:0") as server, contextlib.ExitStack() as stack:
        address = "127.0.0.1", server.port
        for _ in range(100):
            with contextlib.suppress(OSError):  # it may be cut already
                stack.enter_context(socket.create_connection(address, timeout=60)).sendall(b"GET /metrics HTTP/1.1\r\n")
        with contextlib.suppress(OSError):  # connections are taken in order, so these are by now
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=60).close()
        time.sleep(SILENT_SECONDS)
        for _ in range(10):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=60) as answer:
                assert answer.status == 200
        assert threading.active_count() - before <= webserver.MAX_CONNECTIONS + 1


def test_a_client_that_drips_bytes_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webserver, "CONNECTION_SECONDS", 0.5)
    with (
        MetricsServer(Metrics(), "127.0.0.1:0") as server,
        socket.create_connection(("127.0.0.1", server.port)) as slow,
    ):
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 - which byte fails depends on the kernel
            while time.monotonic() - began < 60:
                slow.sendall(b"G")
                time.sleep(0.05)


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="metrics_address"):
        MetricsServer(Metrics(), f"127.0.0.1:{taken.getsockname()[1]}").__enter__()
