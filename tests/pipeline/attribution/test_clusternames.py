"""What names of the cluster's own DNS mean."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.attribution.clusternames import meanings
from pipeline.inventory.models import convert
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.small_cluster import OBJECTS, pod, service

SNAPSHOT = build(
    convert(body["apiVersion"], body["kind"], body)
    for body in (
        *OBJECTS,
        service("peers", "None", 5432),
        service(
            "two",
            "10.96.0.20",
            0,
            ports=[{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}],
        ),
        service("mail", "", 25, type="ExternalName", externalName="mail.example.com"),
        pod("six", "node-a", "fd00::5"),
        service("workers", "None", 0, ports=None),
        {**pod("train-0-x7k2p", "node-a", "10.0.1.30"), "spec": {"hostname": "train-0", "subdomain": "workers"}},
    )
)


def meaning(name: str, snapshot: Snapshot = SNAPSHOT, domain: str = "cluster.local") -> tuple[str, str, str] | None:
    """Kind and name of the object, and its Service port."""
    ((endpoint, service_id),) = meanings(pl.Series([name]), snapshot, domain).rows()
    if endpoint is None:
        assert service_id is None
        return None
    row = snapshot.endpoints.row(endpoint, named=True)
    port = snapshot.services["service_port"][service_id] if service_id is not None else ""
    return row["kind"], row["name"], port


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("database.shop.svc.cluster.local", ("Service", "database", "5432")),
        ("two.shop.svc.cluster.local", ("Service", "two", "")),
        ("mail.shop.svc.cluster.local", ("Service", "mail", "25")),
        ("_dns._udp.two.shop.svc.cluster.local", ("Service", "two", "dns")),
        ("_dns-tcp._tcp.two.shop.svc.cluster.local", ("Service", "two", "dns-tcp")),
        ("_dns._tcp.two.shop.svc.cluster.local", None),
        ("_dns._icmp.two.shop.svc.cluster.local", None),
        ("database-0.peers.shop.svc.cluster.local", ("Pod", "database-0", "")),
        ("10-0-2-7.peers.shop.svc.cluster.local", ("Pod", "database-0", "")),
        ("database-0.database.shop.svc.cluster.local", None),  # only headless Services have hosts
        ("workers.shop.svc.cluster.local", ("Service", "workers", "")),
        ("train-0.workers.shop.svc.cluster.local", ("Pod", "train-0-x7k2p", "")),  # an indexed Job's
        ("train-0.peers.shop.svc.cluster.local", None),
        ("10-0-1-30.workers.shop.svc.cluster.local", ("Pod", "train-0-x7k2p", "")),
        ("10-0-2-7.shop.pod.cluster.local", ("Pod", "database-0", "")),
        ("fd00--5.shop.pod.cluster.local", ("Pod", "six", "")),
        ("10-0-2-7.elsewhere.pod.cluster.local", None),
        ("10-0-9-9.shop.pod.cluster.local", None),
        ("192-0-2-10.shop.pod.cluster.local", None),  # a node's
        ("database.shop.svc", None),
        ("database.shop.svc.cluster.local.example.com", None),
        ("database.elsewhere.svc.cluster.local", None),
        ("databaseXshop.svc.cluster.local", None),
        ("cluster.local", None),
        ("", None),
    ],
)
def test_a_name_means_one_object_or_nothing(name: str, told: tuple[str, str, str] | None) -> None:
    assert meaning(name) == told


def test_another_domain() -> None:
    assert meaning("database.shop.svc.k8s.corp", domain="k8s.corp") == ("Service", "database", "5432")
    assert meaning("database.shop.svc.k8sxcorp", domain="k8s.corp") is None


def test_many_names_keep_their_order() -> None:
    names = [
        "x.example",
        "two.shop.svc.cluster.local",
        "10-0-2-7.shop.pod.cluster.local",
        "database.shop.svc.cluster.local",
    ]
    told = meanings(pl.Series([*names, None]), SNAPSHOT)["endpoint_id"].to_list()
    assert [SNAPSHOT.endpoints["name"][number] if number is not None else None for number in told] == [
        None,
        "two",
        "database-0",
        "database",
        None,
    ]


def test_no_names_and_no_objects_are_fine() -> None:
    assert meanings(pl.Series([], dtype=pl.String), SNAPSHOT).is_empty()
    assert meaning("database.shop.svc.cluster.local", build([])) is None
