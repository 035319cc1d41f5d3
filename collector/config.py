"""The agent's settings, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import buses
from .errors import ConfigError
from .schema import MAX_MESSAGE_BYTES, NODE_NAME

FLOW_SOURCES: Final = ("auto", "ebpf", "conntrack", "packets")
SOURCES: Final = (*FLOW_SOURCES, "counters", "drops", "dns")


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """What one agent reads and where it ships. Raises ConfigError that names the first key that is wrong."""

    node: str
    """The node's name in the cluster."""
    bus: str
    """`file://DIR` or `kafka://HOST:PORT[,HOST:PORT]`."""
    sources: tuple[str, ...] = ("auto", "counters", "drops", "dns")
    """At most one of FLOW_SOURCES, `auto` being the best that works here; `counters`; `drops`; `dns`."""
    interval_s: float = 1.0
    """Time between two reads."""
    netns: Path | None = None
    """The node's network namespace, like /proc/PID/ns/net; None is the process's own."""
    proc: Path = Path("/proc")
    """The /proc in which the node's processes are seen."""
    metrics_address: str | None = None
    """HOST:PORT of the agent's own metrics; None serves none, no host means every address, port 0 takes a free one."""
    web_config: Path | None = None
    """Web config file of Prometheus's exporters: TLS and passwords of `metrics_address`; None: neither."""
    spool_bytes: int = 256 * 1024 * 1024
    """file://: segments kept for each table; older ones are deleted, whether they were read or not."""
    spool: Path | None = None
    """kafka://: folder where batches wait for the broker, `spool_bytes` at most in all; None: in memory."""
    node_key: Path | None = None
    """File of the node's key, by which its batches are signed (`flowatlas keys` makes it); None: they are not."""
    in_flight_bytes: int = 32 * 1024 * 1024
    """kafka://: what may wait for the broker's answer."""
    tcp_health: bool = True
    """Whether flows have connect times, round-trip times and retransmits, told by the TCP sockets of the node."""
    heads: bool = False
    """Whether flows have the names at the head of what they carry: TLS server name; HTTP host, method and path."""
    heads_one_in: int = 1
    """Of how many heads one is read, by chance."""
    heads_path_segments: int = 2
    """How much of a path is kept, 64 characters at most and never its query; 0: no path."""
    table_flows: int = 131_072
    """ebpf: conversations at interfaces that the kernel keeps between two reads, in twice 29 MB; more are missed."""

    pin: Path | None = None
    """ebpf: folder of a bpffs, like /sys/fs/bpf/flowatlas: the kernel's tables and hooks stay there when the collector
    goes, and the next one ships what was counted meanwhile. Needs `journal`."""
    journal: Path | None = None
    """ebpf (with `pin`) and conntrack: folder, best on a tmpfs like /run/flowatlas, of what a killed collector knew."""

    def __post_init__(self) -> None:
        if not NODE_NAME.match(self.node):
            raise ConfigError(f"node: {self.node!r} is not an RFC 1123 name (lower case letters, digits, - and .)")
        if not buses.is_bus(self.bus):
            raise ConfigError(f"bus: {buses.shown(self.bus)} is not {buses.WANTED}")
        unknown = [source for source in self.sources if source not in SOURCES]
        if unknown or not self.sources or len(set(self.sources)) != len(self.sources):
            raise ConfigError(f"sources: {','.join(self.sources)!r} is not a choice of {', '.join(SOURCES)}")
        if len(set(self.sources) & set(FLOW_SOURCES)) > 1:
            raise ConfigError(f"sources: {','.join(self.sources)!r} would count every flow twice")
        if not 1024 <= self.table_flows <= 1 << 24:
            raise ConfigError(f"table_flows: {self.table_flows} is not between 1024 and {1 << 24}")
        if self.pin is not None and self.journal is None:
            raise ConfigError("pin: needs `journal`")
        for key, value, least, most in (
            ("heads_one_in", self.heads_one_in, 1, 1 << 20),
            ("heads_path_segments", self.heads_path_segments, 0, 64),
        ):
            if not least <= value <= most:
                raise ConfigError(f"{key}: {value} is not between {least} and {most}")
        if not 0.05 <= self.interval_s <= 3600 or not math.isfinite(self.interval_s):
            raise ConfigError(f"interval_s: {self.interval_s} is not between 0.05 and 3600")
        for key, value in (("spool_bytes", self.spool_bytes), ("in_flight_bytes", self.in_flight_bytes)):
            if value < 4 * MAX_MESSAGE_BYTES:
                raise ConfigError(f"{key}: {value} is less than {4 * MAX_MESSAGE_BYTES}, four of the largest messages")
