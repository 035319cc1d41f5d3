"""Which servers a kafka:// address names."""

from __future__ import annotations

from collector import buses

from ..errors import ConfigError


def servers_of(url: str) -> list[str]:
    """The HOST:PORT of a kafka:// address. Raises ConfigError."""
    if servers := buses.servers_of(url):
        return servers
    raise ConfigError(f"bus: {buses.shown(url)} is not kafka://HOST:PORT[,HOST:PORT]")
