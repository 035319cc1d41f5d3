"""Addresses of a bus: what is none is refused by every part, before anybody connects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from collector.buses import servers_of
from collector.config import CollectorConfig
from collector.errors import ConfigError as CollectorConfigError
from pipeline.config import PipelineConfig
from pipeline.errors import ConfigError
from pipeline.inventory.watch.config import WatcherConfig

PARTS: tuple[Callable[[str], object], ...] = (
    lambda bus: CollectorConfig("node", bus),
    lambda bus: PipelineConfig(bus, Path("bus")),
    lambda bus: WatcherConfig(bus),
)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "bus",
    [
        *("", "kafka", "kafka:a:9092", "KAFKA://a:9092", "http://a:9092", "kafka://", "kafka:///a:9092"),
        *("kafka://a", "kafka://:9092", "kafka://a:", "kafka://a:0", "kafka://a:65536", "kafka://a:+9092"),
        *("kafka://a:9092,", "kafka://a:9092,b", "kafka://a:9092, b:9092", "kafka://a b:9092", "kafka://::1:9092"),
        *("kafka://a:9092/topic", "kafka://a:9092?x=1", "kafka://a:9092\n", "kafka://[a]:9092"),
        *("file://", "file:///", "file:bus"),
    ],
)
def test_what_is_no_bus_is_refused(part: Callable[[str], object], bus: str) -> None:
    with pytest.raises((ConfigError, CollectorConfigError), match=r"bus: .* is not file://DIR or kafka://HOST:PORT"):
        part(bus)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("bus", "servers"),
    [
        ("kafka://a:9092", ["a:9092"]),
        ("kafka://a.b-c_d:1,192.0.2.1:65535/", ["a.b-c_d:1", "192.0.2.1:65535"]),
        ("kafka://[2001:db8::1]:9092,[fe80::1%eth0]:9092", ["[2001:db8::1]:9092", "[fe80::1%eth0]:9092"]),
        ("file:///var/lib/bus", []),
        ("file://bus", []),
    ],
)
def test_what_is_one_is_taken(part: Callable[[str], object], bus: str, servers: list[str]) -> None:
    part(bus)
    assert servers_of(bus) == servers


@pytest.mark.parametrize("part", PARTS)
def test_a_password_in_an_address_is_refused_and_not_shown(part: Callable[[str], object]) -> None:
    with pytest.raises((ConfigError, CollectorConfigError)) as caught:
        part("kafka://anna:secret@a:9092")
    assert "'kafka://...@a:9092'" in str(caught.value)
    assert "secret" not in str(caught.value)
