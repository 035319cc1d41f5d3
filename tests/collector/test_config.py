"""Settings are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from collector.config import CollectorConfig
from collector.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("node", ""),
        ("node", "../etc"),
        ("node", "Node1"),
        ("bus", "file://"),
        ("bus", "kafka://"),
        ("bus", "http://x"),
        ("sources", ()),
        ("sources", ("conntrack", "netflow")),
        ("sources", ("conntrack", "packets")),
        ("sources", ("conntrack", "ebpf")),
        ("sources", ("auto", "ebpf", "counters")),
        ("table_flows", 0),
        ("heads_one_in", 0),
        ("heads_path_segments", -1),
        ("sources", ("conntrack", "conntrack")),
        ("interval_s", 0),
        ("interval_s", float("nan")),
        ("interval_s", float("inf")),
        ("spool_bytes", 1024),
        ("in_flight_bytes", 0),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: object) -> None:
    settings: dict[str, Any] = {"node": "n1", "bus": "file:///tmp/bus", key: value}
    with pytest.raises(ConfigError, match=rf"^{key}: "):
        CollectorConfig(**settings)


def test_defaults_are_valid() -> None:
    assert CollectorConfig("node-1.example", "kafka://a:9092,b:9092").sources == ("auto", "counters", "drops", "dns")
