"""Which pod an interface belongs to."""

from __future__ import annotations

import polars as pl

from pipeline.attribution import attribute_counters
from pipeline.inventory.addresses import NO_ADDRESS, Address, parse
from pipeline.inventory.snapshot import build
from tests.pipeline.inventory.objects import node, pod, service

SNAPSHOT = build(
    [
        node("n1", "192.0.2.1"),
        pod("a", "10.0.0.1", on="n1", uid="uid-a"),
        pod("b", "10.0.0.2", on="n1"),
        service("web", "10.96.0.1"),
    ]
)


def owners_of(*interfaces: tuple[str, Address]) -> list[tuple[str, str]]:
    frame = pl.DataFrame(
        [(uid, *address, number) for number, (uid, address) in enumerate(interfaces)],
        schema={"pod_uid": pl.String(), "addr_hi": pl.UInt64(), "addr_lo": pl.UInt64(), "row": pl.Int64()},
        orient="row",
    )
    attributed = attribute_counters(frame.lazy(), SNAPSHOT).collect()
    assert attributed.columns == [*frame.columns, "namespace", "pod"]
    assert attributed.select(frame.columns).equals(frame)
    return attributed.select("namespace", "pod").rows()


def test_the_uid_decides_and_the_address_where_there_is_none() -> None:
    """An address may be its successor's already; a uid is never used again."""
    assert owners_of(("uid-a", parse("10.0.0.2")), ("", parse("10.0.0.2")), ("uid-a", NO_ADDRESS)) == [
        ("shop", "a"),
        ("shop", "b"),
        ("shop", "a"),
    ]


def test_an_interface_of_no_known_pod_has_no_name() -> None:
    interfaces = [("", parse(ip)) for ip in ("10.0.0.9", "192.0.2.1", "10.96.0.1")]
    assert owners_of(*interfaces, ("", NO_ADDRESS)) == [("", "")] * 4
