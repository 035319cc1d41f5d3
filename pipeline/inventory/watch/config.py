"""Settings of the watcher. Where they come from (file, environment, flags) is `pipeline.cli.settings`' concern."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from collector import buses
from collector.schema import MAX_MESSAGE_BYTES, NODE_NAME

from ...errors import ConfigError


@dataclass(frozen=True, slots=True)
class WatcherConfig:
    """Settings of `flowatlas watch`. Raises ConfigError that names the key where a value cannot work."""

    bus: str
    """kafka://HOST:PORT[,HOST:PORT] or file://DIR: the bus of the pipelines that read the cluster's state."""
    node: str = "cluster-watcher"
    """The watcher's name on the bus, where collectors have their node's. A bus carries one cluster."""
    kubeconfig: Path | None = None
    """The kubeconfig file; none: the pod's own account, else $KUBECONFIG or ~/.kube/config."""
    context: str | None = None
    """The kubeconfig's context; none: its current one."""
    metrics_address: str | None = None
    """HOST:PORT of the watcher's own metrics; none serves none, no host means every address, port 0 a free one."""
    web_config: Path | None = None
    """Web config file of Prometheus's exporters: TLS and passwords of `metrics_address`; none: neither."""
    mark_s: float = 0.25
    """Changes are sent this often, and with them up to when every change is known."""
    settle_s: float = 0.2
    """How long the API server may take to tell a change: a mark stands for this long before it is made."""
    discovery_s: float = 10.0
    """How often the cluster is asked which kinds it has, and with it whether it answers at all."""
    in_flight_bytes: int = 32 * 1024 * 1024
    """kafka://: what may wait for the broker's answer."""

    def __post_init__(self) -> None:
        if not buses.is_bus(self.bus):
            raise ConfigError(f"watcher.bus: {buses.shown(self.bus)} is not {buses.WANTED}")
        if not NODE_NAME.match(self.node):
            raise ConfigError(
                f"watcher.node: {self.node!r} is not an RFC 1123 name (lower case letters, digits, - and .)"
            )
        for key, least, most in (("mark_s", 0.02, 60.0), ("settle_s", 0.0, 60.0), ("discovery_s", 0.1, 3600.0)):
            value = getattr(self, key)
            if not least <= value <= most:
                raise ConfigError(f"watcher.{key}: {value} is not within {least:g} and {most:g} seconds")
        if self.in_flight_bytes < 4 * MAX_MESSAGE_BYTES:
            raise ConfigError(
                f"watcher.in_flight_bytes: {self.in_flight_bytes} is less than four of the largest messages"
            )
