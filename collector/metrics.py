"""What the agent tells about itself: plain numbers on the live path, the Prometheus client only where somebody scrapes.

`FAMILIES` repeats the entries of the project's metric catalogue that the collector exposes, since the agent imports
nothing of the pipeline; a test holds the two together.
"""

from __future__ import annotations

import platform
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from .errors import ConfigError
from .progress import Progress
from .schema import Batch

_PREFIX: Final = "flowatlas_collector_"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family; `name` is without the agent's prefix."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


FAMILIES: Final = (
    Family(
        "build_info",
        "gauge",
        ("version", "python"),
        "Always 1; the labels tell the versions of the collector and of its Python.",
    ),
    Family("is_signing", "gauge", (), "1 where batches are signed with the node's key (collector.node_key)."),
    Family("batches_total", "counter", ("table",), "Batches sent to the bus."),
    Family("rows_total", "counter", ("table",), "Rows sent to the bus."),
    Family(
        "lost_rows_total",
        "counter",
        ("table", "reason"),
        "Rows that did not reach the bus, by reason: bus_full, bus_error, too_large, retention, spool_full, "
        "spool_error, spool_corrupt, out_of_range (of a driver that counts below zero).",
    ),
    Family(
        "lost_bytes_total",
        "counter",
        ("table", "reason"),
        "Flow bytes of the rows that did not reach the bus, by reason.",
    ),
    Family(
        "failed_reads_total",
        "counter",
        ("table",),
        "Times that the source of a table could not be read; it is asked again in the next cycle.",
    ),
    Family(
        "netlink_overruns_total",
        "counter",
        (),
        "Times that the kernel dropped conntrack events because they were not read in time.",
    ),
    Family(
        "malformed_messages_total",
        "counter",
        ("reason",),
        "Kernel messages that could not be decoded, by reason: truncated, attribute, family.",
    ),
    Family("spool_bytes", "gauge", (), "Size of the batches that wait on disk for the bus."),
    Family("spool_is_degraded", "gauge", (), "1 while the disk refuses batches and they are sent from memory or lost."),
    Family(
        "spool_corrupt_segments_total",
        "counter",
        (),
        "Segments of the spool that were damaged and deleted; their rows are lost with reason spool_corrupt.",
    ),
    Family(
        "dns_messages_total",
        "counter",
        ("result",),
        "DNS messages of pods, by result: read, malformed, skipped (more came than are read in a cycle), ring_full.",
    ),
    Family(
        "heads_total",
        "counter",
        ("result",),
        "Heads of connections seen at pods' interfaces, by result: joined (to a flow), repeated (the flow's row told "
        "one already), unmatched (no flow came), malformed, cut (goes on in a later segment), skipped (more came than "
        "are read in a cycle), ring_full.",
    ),
    Family("tracked_flows", "gauge", (), "Connections that the flow source followed at its last look."),
    Family(
        "cut_flows_total",
        "counter",
        (),
        "Connections that nobody answered, told as ended before their time since too many of them were followed.",
    ),
    Family(
        "source_info",
        "gauge",
        ("source", "reason"),
        "1 for the source that flows come from; the reason is why no better one could be used, empty where none is.",
    ),
    Family(
        "hook_info",
        "gauge",
        ("hook", "reason"),
        "1 where the hooks of tcp_health, drops, dns or heads are in the kernel, 0 where it refuses them; the reason "
        "is why: object, libbpf, privileges, kernel.",
    ),
    Family(
        "tcp_observations_total",
        "counter",
        ("result",),
        "What TCP sockets told of their connections, by result: joined (to a flow), unmatched (no flow came), "
        "table_full, no_memory.",
    ),
    Family("missed_drops_total", "counter", (), "Dropped packets that had no place in the kernel's table of drops."),
    Family("attached_interfaces", "gauge", (), "Interfaces that the eBPF program counts at."),
    Family(
        "missed_packets_total",
        "counter",
        ("reason",),
        "Packets that were seen and put into no flow, by reason: table_full, ring_full, malformed, fragment, "
        "icmp_control.",
    ),
    Family(
        "missed_bytes_total",
        "counter",
        ("reason",),
        "Bytes of packets that were seen and put into no flow, by reason as flowatlas_collector_missed_packets_total.",
    ),
    Family(
        "cycle_seconds_total",
        "counter",
        (),
        "Time spent reading the kernel, building rows and encoding batches.",
    ),
)


class Metrics:
    """Counters and gauges, by default the agent's; safe to use from several threads."""

    def __init__(self, families: Sequence[Family] = FAMILIES, prefix: str = _PREFIX) -> None:
        self.progress = Progress()
        """Of the loop that these metrics are about."""
        self._families = families
        self._prefix = prefix
        self._labels = {family.name: family.labels for family in families}
        self._lock = threading.Lock()
        self._values: Counter[tuple[str, tuple[str, ...]]] = Counter()
        for family in families:
            if not family.labels:
                self._values[family.name, ()] = 0

    def add(self, name: str, amount: float, **labels: str) -> None:
        """Count `amount` more; `labels` are exactly the family's."""
        key = (name, tuple(labels[label] for label in self._labels[name]))
        with self._lock:
            self._values[key] += amount  # type: ignore[assignment]  # typeshed knows Counter of int alone

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge; `labels` are exactly the family's."""
        key = (name, tuple(labels[label] for label in self._labels[name]))
        with self._lock:
            self._values[key] = value  # type: ignore[assignment]  # as above

    def built(self) -> None:
        """Tell which versions run."""
        self.set("build_info", 1, version=metadata.version("flowatlas"), python=platform.python_version())

    def sent(self, batch: Batch) -> None:
        """Count a batch that has reached the bus."""
        self.add("batches_total", 1, table=batch.table)
        self.add("rows_total", batch.rows, table=batch.table)

    def lost(self, table: str, rows: int, byte_sum: int, reason: str) -> None:
        """Count rows that will not reach the bus, or did not stay there until they were read."""
        self.add("lost_rows_total", rows, table=table, reason=reason)
        if byte_sum:
            self.add("lost_bytes_total", byte_sum, table=table, reason=reason)

    def value(self, name: str, **labels: str) -> float:
        """One value; 0 where nothing was counted."""
        with self._lock:
            return self._values[name, tuple(labels[label] for label in self._labels[name])]

    def collect(self) -> Iterator[Any]:
        """The families as the Prometheus client wants them of a collector."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            values = dict(self._values)
        for family in self._families:
            build = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            exposed = build(self._prefix + family.name, family.help, labels=family.labels)
            for (name, labels), value in values.items():
                if name == family.name:
                    exposed.add_metric(labels, value)
            yield exposed


class MetricsServer:
    """The endpoint of /metrics, and of /healthz and /readyz for probes.

    `address` is HOST:PORT; no host means every address, port 0 a free one, told by `port` once it is started.
    `web_config` is a file as `webconfig` reads it; without one everybody is answered, in plain text.
    """

    def __init__(self, metrics: Metrics, address: str, web_config: Path | None = None) -> None:
        host, _, port = address.rpartition(":")
        if ":" not in address or not port.isdecimal() or int(port) > 65535:
            raise ConfigError(f"metrics_address: {address!r} is not HOST:PORT")
        self._metrics, self._host, self.port = metrics, host.strip("[]"), int(port)
        self._web_config = web_config
        self._running: tuple[Any, threading.Thread] | None = None

    def __enter__(self) -> Self:
        from prometheus_client import CollectorRegistry

        from .webguard import WebGuard
        from .webserver import serve

        registry = CollectorRegistry()
        registry.register(self._metrics)
        guard = WebGuard(self._web_config) if self._web_config else None
        try:
            self._running = serve(self._host, self.port, registry, guard, self._metrics.progress)
        except OSError as error:
            raise ConfigError(f"metrics_address: cannot listen on {self._host}:{self.port}: {error}") from error
        self.port = self._running[0].server_port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()
            self._running = None
