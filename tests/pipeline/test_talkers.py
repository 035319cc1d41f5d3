"""Talkers: sums of canonical rows by what is compared."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline import talker_keys
from pipeline.talkers import KEYS, talkers
from tests.pipeline.test_flowfilter import rows

FLOWS = rows(
    {"role": "canonical", "source_kind": "Pod", "source_namespace": "shop", "source_name": "web-1",
     "source_workload": "web", "destination_namespace": "shop", "destination_name": "db-0", "service_namespace": "shop",
     "service": "db", "destination_workload": "db", "bytes": 10, "reply_bytes": 5, "packets": 2, "reply_packets": 1,
     "opened": 1, "outcome": "closed", "node": "n1", "backend_port": 5432},
    {"role": "canonical", "source_kind": "Pod", "source_namespace": "shop", "source_name": "web-2",
     "source_workload": "web", "destination_namespace": "shop", "destination_name": "db-0", "service_namespace": "shop",
     "service": "db", "destination_workload": "db", "bytes": 1, "reply_bytes": 1, "packets": 1, "reply_packets": 1,
     "opened": 1, "outcome": "refused", "node": "n2", "backend_port": 5432},
    {"role": "canonical", "source_name": "n1", "source_kind": "Node", "src_ip": "192.168.0.1", "backend_ip": "8.8.8.8",
     "dns_name": "dns.google", "bytes": 100, "reply_bytes": 0, "opened": 0, "outcome": "open", "node": "n1",
     "backend_port": 53},
    {"role": "observer", "source_name": "n1", "src_ip": "192.168.0.1", "backend_ip": "8.8.8.8", "bytes": 999,
     "reply_bytes": 999, "opened": 1, "outcome": "open", "node": "n1", "backend_port": 53},
)  # fmt: skip


def test_canonical_rows_are_summed_most_first() -> None:
    found = talkers(FLOWS.lazy(), "pair")
    assert found.rows() == [
        ("n1 \N{RIGHTWARDS ARROW} 8.8.8.8", 100, 100, 0, 0, 0, 0),
        ("shop/web \N{RIGHTWARDS ARROW} shop/db", 17, 11, 6, 5, 2, 1),
    ]
    assert found.columns == ["key", *talker_keys.SORTS]
    assert talkers(FLOWS.lazy(), "pair", "connections")["connections"].to_list() == [2, 0]


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("service", {"shop/db"}),
        ("name", {"dns.google"}),
        ("node", {"n1", "n2"}),
        ("port", {"5432", "53"}),
        ("from", {"shop/web", "n1"}),
        ("to", {"shop/db", "8.8.8.8"}),
        ("route", set()),
        ("namespaces", {"shop \N{RIGHTWARDS ARROW} shop", "outside \N{RIGHTWARDS ARROW} outside"}),
    ],
)
def test_a_key_leaves_out_only_what_has_none(by: str, keys: set[str]) -> None:
    assert set(talkers(FLOWS.lazy(), by)["key"]) == keys


def test_every_key_and_column_on_the_command_line_is_there() -> None:
    assert list(KEYS) == list(talker_keys.KEYS)
    for sort in talker_keys.SORTS:
        assert isinstance(talkers(FLOWS.lazy(), "pods", sort), pl.DataFrame)
