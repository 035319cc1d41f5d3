"""Settings of the pipeline. Where they come from (file, environment, flags) is `pipeline.cli.settings`' concern.

The invariant: a config that exists is valid; whether files and brokers exist is found out at start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from collector import buses

from .errors import ConfigError

SETTLE_SECONDS: Final = 2.0
"""No pod of a simulated cluster that hands every address on at once was taken for its predecessor then."""
_GROUP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_DOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """Settings of `flowatlas pipeline`. Raises ConfigError that names the key where a value cannot work."""

    bus: str
    """kafka://HOST:PORT[,HOST:PORT] or file://DIR."""
    state: Path
    """The cluster's objects: a manifest file, a dump, or a folder of them; `bus`: as a watcher tells them there."""
    group: str = "flowatlas"
    """Consumer group: what one group has dealt with is remembered under this name."""
    partitions: str = "group"
    """kafka://: which partitions are read. `I/N`: the I-th of N fixed shares, from 0; `ordinal/N`: the same, with I
    from the number that ends POD_NAME, else HOSTNAME (a StatefulSet's); `group`: what the consumer group divides."""
    workers: int = 1
    """kafka://: processes on this machine, each with a fixed share of the partitions that are this pipeline's (`group`:
    of all), and one /metrics of all."""
    listen: str = "127.0.0.1:9464"
    """HOST:PORT of /metrics; IPv6 in brackets; no host means every address; port 0 takes a free one."""
    web_config: Path | None = None
    """Web config file of Prometheus's exporters: TLS and passwords of `listen`; None: neither."""
    root_key: Path | None = None
    """File of the root key, of which every node's key is derived (`flowatlas keys` makes both): what is not signed by
    the key of the node that it names is set aside. None: nodes are believed."""
    outside: Path | None = None
    """YAML file of names for ranges beyond the cluster; None knows the built-in ones alone."""
    prices: Path | None = None
    """YAML file of what a gigabyte costs, by how far it goes; None charges nothing."""
    geo: tuple[Path, ...] = ()
    """MaxMind databases (.mmdb) that tell country and network of addresses beyond the cluster: GeoLite2 or GeoIP2
    Country, City, ASN and others of their shape. Read at the start; wants the extra `geo`."""
    lake: str | None = None
    """Where the history's Delta tables are: a folder, or `s3://BUCKET/PREFIX`, `gs://...`, `az://...`; None writes
    none."""
    lake_options: tuple[str, ...] = ()
    """Of the object store: KEY=VALUE as `deltalake` takes them, or KEY=@FILE for what a file holds, as secrets must be.
    What the environment says (AWS_REGION, ...) counts too."""
    lake_maintain_s: float = 300.0
    """The tables are cared for this often, by a process of its own: rolled up, merged, forgotten; 0: never here."""
    lake_keep: tuple[str, ...] = ()
    """TABLE=DAYS that rows are kept; without: flows, counters, dns 14, policy_events, flows_1m 90, flows_1h 730."""
    lake_readers_h: int = 24
    """A file that was merged into another stays so many hours, for readers that began before."""
    snapshot: Path | None = None
    """Folder of snapshots, which make metrics go on after a restart as if there had been none; one below it for each
    group and share of partitions. None keeps none: metrics begin at zero, what was not committed is counted again."""
    services_by: Literal["auto", "dialled", "backend"] = "auto"
    """What tells the Service of a flow: the address dialled; the backend too, where the dataplane shows no other
    (Cilium in kube-proxy's place); `auto` looks which of them the cluster runs."""
    cluster_domain: str = "cluster.local"
    """The domain of the cluster's own DNS names."""
    state_wait_s: float = 2.0
    """How long a flow may wait for the cluster's state to tell of its time, and its ends."""
    state_settle_s: float | None = None
    """How far beyond a flow's start the state must be known before it is judged: what a pod's status may lag behind its
    packets. With 0 a pod that takes over an address within that time may bring its predecessor's name. None: with
    `snapshot` 2 (or `state_wait_s`, where that is less), else 0, for without one commits wait for rows that wait."""
    lateness_s: float = 60.0
    """How far a row may be behind the newest one of its partition before it is late: counted as such, and otherwise
    like all others."""
    live: Literal["auto", "on", "off"] = "auto"
    """Whether single flows can be followed at `listen` by `flowatlas observe` and `top`; `auto`: on the
    pipeline's own machine, as through `kubectl port-forward`; `on`: by whoever reaches it."""
    window_s: float = 1.0
    """Metrics are published this often."""
    series_max: int = 1_000_000
    """Series of flow metrics at most, all together; what is beyond is folded into `other`, and sums stay exact."""
    series_max_per_family: int = 100_000
    """Label sets of one family of metrics at most."""
    series_namespace_share: float = 0.8
    """Up to this share of both limits, namespaces have what they ask for; the rest is kept for who comes later, and of
    that one has half of what is left at most. 1: there are no quotas."""
    series_fold: tuple[Literal["pod", "workload", "namespace"], ...] = ("pod", "workload", "namespace")
    """What is folded first where there are more: labels of pods, of workloads, of namespaces, in this order."""
    series_idle_s: float = 86_400.0
    """Series that have not grown for so long go, and begin at 0 if they come again; 0: none goes."""
    lake_flush_s: float = 10.0
    """The history is written at least this often."""
    lake_flush_rows: int = 500_000
    """The history is written when this many rows are held."""

    def __post_init__(self) -> None:
        if not buses.is_bus(self.bus):
            raise ConfigError(f"pipeline.bus: {buses.shown(self.bus)} is not {buses.WANTED}")
        if not str(self.state):
            raise ConfigError("pipeline.state: a path is wanted")
        if not _GROUP.match(self.group):
            raise ConfigError(f"pipeline.group: {self.group!r} holds more than letters, digits, dot, dash, underscore")
        parse_address(self.listen, "pipeline.listen")
        if not _DOMAIN.match(self.cluster_domain):
            raise ConfigError(f"pipeline.cluster_domain: {self.cluster_domain!r} is no domain in lower case")
        limits = (
            ("state_wait_s", 0.0, 60.0),
            ("state_settle_s", 0.0, self.state_wait_s),
            ("lateness_s", 0.0, 86_400.0),
            ("window_s", 0.05, 3600.0),
            ("lake_flush_s", 0.05, 3600.0),
            ("lake_maintain_s", 0.0, 86_400.0),
            ("lake_readers_h", 1, 24 * 30),
        )
        for key, least, most in limits:
            value = self.settle_s if key == "state_settle_s" else getattr(self, key)
            if not least <= value <= most:
                raise ConfigError(f"pipeline.{key}: {value} is not within {least} and {most} seconds")
        if not 1 <= self.workers <= 256:
            raise ConfigError(f"pipeline.workers: {self.workers} is not within 1 and 256")
        for key, least in (("series_max", 1_000), ("series_max_per_family", 10)):
            if not least <= getattr(self, key) <= 100_000_000:
                raise ConfigError(f"pipeline.{key}: {getattr(self, key)} is not within {least:,} and 100,000,000")
        if not 0.01 <= self.series_namespace_share <= 1.0:
            raise ConfigError(
                f"pipeline.series_namespace_share: {self.series_namespace_share} is not within 0.01 and 1"
            )
        if self.series_idle_s and not 60.0 <= self.series_idle_s <= 366 * 86_400.0:
            raise ConfigError(f"pipeline.series_idle_s: {self.series_idle_s} is neither 0 nor a minute to a year")
        if not 1 <= self.lake_flush_rows <= 50_000_000:
            raise ConfigError(f"pipeline.lake_flush_rows: {self.lake_flush_rows} is not within 1 and 50,000,000")

    @property
    def settle_s(self) -> float:
        """`state_settle_s`, or what it is where nothing is said."""
        if self.state_settle_s is not None:
            return self.state_settle_s
        return min(SETTLE_SECONDS, self.state_wait_s) if self.snapshot is not None else 0.0

    @property
    def is_state_on_bus(self) -> bool:
        """Whether a watcher tells the state on the bus."""
        return self.state == Path("bus")

    @property
    def is_live(self) -> bool:
        """Whether single flows can be followed."""
        return self.live != "off"

    @property
    def listen_address(self) -> tuple[str, int]:
        """`listen` as host and port."""
        return parse_address(self.listen, "pipeline.listen")


def parse_address(text: str, key: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`. Raises ConfigError that names `key`."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if port is None or text != parts.netloc or "@" in text:
        raise ConfigError(f"{key}: {text!r} is not HOST:PORT")
    return host or "", port
