"""A server of exposition text made from the catalogue: every metric, with values that grow from scrape to scrape."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pipeline.catalog import METRICS, Metric

SERIES = 3

VALUES = {
    "coverage": ("unprotected", "isolated", "explicit"),
    "direction": ("ingress", "egress", "ingress"),
    "destination_namespace": ("destination_namespace-0", "", "destination_namespace-2"),
    "destination_workload_kind": ("Deployment", "External", "Node"),
    "flow_direction": ("request", "reply", "request"),
    "locality": ("cross_zone", "same_zone", "internet"),
    "mismatch": ("established_denied", "dropped_allowed", "established_denied"),
    "protocol": ("TCP", "UDP", "TCP"),
    "scope": ("node", "overlay", "node"),
    "source_namespace": ("source_namespace-0", "source_namespace-1", ""),
    "source_workload_kind": ("Deployment", "Node", "External"),
    "verdict": ("allowed", "denied", "not judged"),
}
"""What panels ask for by name: labels whose values are known. All others are their name and a number."""


def exposition(growth: int, without: frozenset[str] = frozenset()) -> str:
    """All metrics save those named in `without`; counters stand at a multiple of `growth`."""
    return "".join(_family(metric, growth) for metric in METRICS if metric.name not in without)


def _family(metric: Metric, growth: int) -> str:
    lines = [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
    for series in range(SERIES if metric.labels else 1):
        labels = [
            f'{label}="{VALUES[label][series] if label in VALUES else f"{label}-{series}"}"' for label in metric.labels
        ]
        for name, bounds in ((name, metric.le if "le" in have else ("",)) for name, have in metric.series.items()):
            for bound in bounds:
                inside = ",".join([*labels, *([f'le="{bound}"'] if bound else [])])
                lines.append(f"{name}{{{inside}}} {(series + 1) * growth}")
    return "\n".join(lines) + "\n"


@contextmanager
def served(without: frozenset[str] = frozenset()) -> Iterator[str]:
    """Serve the exposition on loopback; yields host:port."""
    scrapes = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal scrapes
            scrapes += 1
            body = exposition(scrapes, without).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
