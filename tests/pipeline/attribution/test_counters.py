"""Which pod an interface belongs to."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from pipeline.attribution import attribute_counters
from pipeline.inventory.addresses import NO_ADDRESS, Address, parse
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.attribution.cluster import APod, Cluster, Era
from tests.pipeline.attribution.eras import snapshot_over
from tests.pipeline.inventory.objects import node, pod, service

SNAPSHOT = build(
    [
        node("n1", "192.0.2.1"),
        pod("a", "10.0.0.1", on="n1", uid="uid-a"),
        pod("b", "10.0.0.2", on="n1"),
        service("web", "10.96.0.1"),
    ]
)


def owners_of(*interfaces: tuple[str, Address], snapshot: Snapshot = SNAPSHOT, time: int = 0) -> list[tuple[str, str]]:
    frame = pl.DataFrame(
        [(uid, *address, number, time) for number, (uid, address) in enumerate(interfaces)],
        schema={
            "pod_uid": pl.String(),
            "addr_hi": pl.UInt64(),
            "addr_lo": pl.UInt64(),
            "row": pl.Int64(),
            "time": pl.Int64(),
        },
        orient="row",
    )
    attributed = attribute_counters(frame, snapshot)
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


def test_an_address_is_the_pods_that_held_it_at_the_time_of_the_observation() -> None:
    def cluster(name: str) -> Cluster:
        return Cluster((), [APod(name, ["10.0.0.1"], "n1", False, "", "Running", False, "web", ())], ())

    snapshot = snapshot_over([Era(10, 20, 0, cluster("old")), Era(20, 30, 0, cluster("new"))])
    interface = ("", parse("10.0.0.1"))
    told = [owners_of(interface, snapshot=snapshot, time=time) for time in (9, 10, 19, 20, 30)]
    assert told == [[("", "")], [("shop", "old")], [("shop", "old")], [("shop", "new")], [("", "")]]


def test_a_pod_known_under_several_ids_is_counted_once() -> None:
    moved = SNAPSHOT.endpoints.filter(name="a").with_columns(
        id=pl.lit(SNAPSHOT.endpoints.height, pl.UInt32), zone=pl.lit("z")
    )
    snapshot = replace(SNAPSHOT, endpoints=pl.concat([SNAPSHOT.endpoints, moved]))
    assert owners_of(("uid-a", NO_ADDRESS), snapshot=snapshot) == [("shop", "a")]
