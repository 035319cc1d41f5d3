"""Conditions pick the rows that a plain reading of them picks."""

from __future__ import annotations

import ipaddress
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.schema import OUTCOMES
from pipeline import conditions
from pipeline.conditions import KINDS, Condition
from pipeline.errors import ConfigError
from pipeline.flowfilter import TESTS, matching
from pipeline.outputs.history import HISTORY, filled

NAMES = ["web", "web-1", "db", ""]
SPACES = ["shop", "prod", ""]


def rows(*given: dict[str, Any]) -> pl.DataFrame:
    """Rows of the history that have these values."""
    frame = pl.DataFrame(list(given))
    frame = frame.with_columns(pl.col(name).cast(HISTORY[name]) for name in frame.columns)
    whole = filled(frame.lazy().match_to_schema(HISTORY, missing_columns="insert")).collect()
    return whole.with_columns(pl.col(pl.String).fill_null(""))


def picked(frame: pl.DataFrame, *asked: Condition) -> list[int]:
    return frame.with_row_index().filter(matching(asked))["index"].to_list()


FLOWS = rows(
    {"source_kind": "Pod", "source_namespace": "shop", "source_name": "web-1", "source_workload": "web",
     "src_ip": "10.1.0.5", "dst_ip": "10.96.0.1", "backend_ip": "10.2.0.9", "dst_port": 80, "backend_port": 8080,
     "service_namespace": "shop", "service": "api", "protocol": 6, "verdict": "allowed", "outcome": "closed"},
    {"source_kind": "Pod", "source_namespace": "prod", "source_name": "web-2", "source_workload": "web",
     "src_ip": "10.1.1.5", "dst_ip": "fd00::1", "backend_ip": "fd00::1", "dst_port": 53, "backend_port": 53,
     "protocol": 17, "verdict": "denied", "outcome": "no_reply", "mismatch": "established_denied"},
    {"source_kind": "Node", "source_name": "web-node", "src_ip": "192.168.0.1", "dst_ip": "8.8.8.8",
     "backend_ip": "8.8.8.8", "dst_port": 443, "backend_port": 443, "protocol": 6, "dns_name": "dns.google",
     "server_name": "api.example.com", "path": "/v1/users"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("from-pod", "web", [0, 1]),
        ("from-pod", "shop/web-1", [0]),
        ("from-pod", "shop/eb", []),
        ("from-workload", "web", [0, 1]),
        ("workload", "prod/web", [1]),
        ("namespace", "shop", [0]),
        ("to-service", "api", [0]),
        ("to-service", "prod/api", []),
        ("ip", "10.2.0.9", [0]),
        ("from-ip", "10.1.0.0/16", [0, 1]),
        ("to-ip", "fd00::/8", [1]),
        ("to-ip", "FD00:0:0::0001", [1]),
        ("to-ip", "[fd00::1]", [1]),
        ("to-ip", "fd00::1%eth0", [1]),
        ("ip", "::ffff:10.2.0.9", [0]),
        ("from-ip", "::ffff:10.1.0.0/112", [0, 1]),
        ("ip", "::/0", [1]),
        ("to-ip", "8.8.8.8/8", [2]),
        ("port", "8080", [0]),
        ("port", "53-443", [0, 1, 2]),
        ("protocol", "udp", [1]),
        ("protocol", "6", [0, 2]),
        ("verdict", "denied", [1]),
        ("verdict", "established_denied", [1]),
        ("outcome", "closed", [0]),
        ("to-fqdn", "DNS.google.", [2]),
        ("to-fqdn", "*.google", [2]),
        ("to-fqdn", "*.oogle", []),
        ("host", "*.example.com", [2]),
        ("path", "/v1", [2]),
    ],
)
def test_a_condition_means_what_it_says(kind: str, value: str, expected: list[int]) -> None:
    assert picked(FLOWS, Condition(kind, value)) == expected
    others = [row for row in range(FLOWS.height) if row not in expected]
    assert picked(FLOWS, Condition(kind, value, is_negated=True)) == others


def test_one_kind_twice_is_either_and_two_kinds_are_both() -> None:
    assert picked(FLOWS, Condition("from-namespace", "shop"), Condition("from-namespace", "prod")) == [0, 1]
    assert picked(FLOWS, Condition("from-workload", "web"), Condition("protocol", "udp")) == [1]
    both = (Condition("from-workload", "web"), Condition("port", "53", is_negated=True))
    assert picked(FLOWS, *both, Condition("namespace", "none", is_negated=True)) == [0]
    assert picked(FLOWS) == [0, 1, 2]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("colour", "red"),
        ("from-pod", ""),
        ("from-pod", "/web"),
        ("from-pod", "a/b/c"),
        ("to-service", "shop/"),
        ("ip", "10.0.0"),
        ("ip", "10.0.0.0/33"),
        ("port", "http"),
        ("port", "70000"),
        ("port", "9-8"),
        ("port", "9-"),
        ("protocol", "carrier pigeon"),
        ("protocol", "256"),
        ("verdict", "maybe"),
        ("outcome", "fine"),
        ("to-fqdn", "*."),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name(kind: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{kind}: "):
        matching([Condition(kind, value)])


def test_every_kind_compares_columns_of_the_history_by_a_test_that_there_is() -> None:
    for name, kind in KINDS.items():
        assert kind.test in TESTS, name
        columns = [f"{side}_kind" for side in kind.columns] if kind.test == "pod" else kind.columns
        assert set(columns) <= set(HISTORY), name
    assert conditions.OUTCOMES == OUTCOMES


@given(
    st.lists(st.tuples(st.sampled_from(SPACES), st.sampled_from(NAMES)), min_size=1, max_size=8),
    st.sampled_from(["shop", "prod"]),
    st.sampled_from(["web", "db", "we", "(", "\\w+"]),
)
def test_pods_and_workloads_equal_a_row_at_a_time_reading(
    ends: list[tuple[str, str]], namespace: str, name: str
) -> None:
    frame = rows(
        *({"source_kind": "Pod", "source_namespace": ns, "source_name": n, "source_workload": n} for ns, n in ends)
    )
    pods = [i for i, (ns, n) in enumerate(ends) if ns == namespace and n.startswith(name)]
    assert picked(frame, Condition("from-pod", f"{namespace}/{name}")) == pods
    workloads = [i for i, (_, n) in enumerate(ends) if n == name]
    assert picked(frame, Condition("from-workload", name)) == workloads


@given(st.lists(st.ip_addresses(), min_size=1, max_size=10), st.integers(0, 32))
def test_a_network_holds_what_ipaddress_says(addresses: list[Any], length: int) -> None:
    frame = rows(*({"src_ip": str(address), "nat_src_ip": str(address)} for address in addresses))
    network = ipaddress.ip_network(f"{addresses[0]}/{length}", strict=False)
    expected = [i for i, address in enumerate(addresses) if address in network]
    assert picked(frame, Condition("from-ip", str(network))) == expected
