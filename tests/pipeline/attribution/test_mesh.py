"""The mesh: who is in it, which subset answered, what its hops are, and who insists on mutual TLS."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pipeline.attribution import attribute, with_structs
from pipeline.attribution.mesh_lookups import mesh_lookups_of
from pipeline.inventory.history import History
from pipeline.inventory.models import Resource
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.frames import frame_of
from tests.pipeline.attribution.mesh_cluster import (
    AMBIENT_CLIENT,
    AMBIENT_SERVER,
    CLIENT,
    CLUSTER,
    PLAIN,
    V1,
    V2,
    WEB_IP,
    ambient,
    authentication,
    destination_rule,
    flow,
)
from tests.pipeline.inventory.objects import pod, service

SNAPSHOT = build([*CLUSTER, destination_rule()])


def judged(*flows: Flow, snapshot: Snapshot = SNAPSHOT) -> list[dict[str, Any]]:
    return with_structs(attribute(frame_of(flows), snapshot).lazy(), snapshot).collect().to_dicts()


def test_a_pair_of_sidecars_is_one_and_the_backend_tells_the_service_and_the_subset() -> None:
    (row,) = judged(flow(CLIENT, V2))
    assert row["mesh"] == {"mode": "sidecar", "subset": "v2"}
    assert (row["service"]["name"], row["service"]["via"]) == ("web", "backend")
    assert (row["role"], row["attribution"], row["reason"]) == ("canonical", "inferred", "backend_only")


def test_a_client_outside_the_mesh_has_the_subset_of_the_pod_that_answered() -> None:
    (row,) = judged(flow(PLAIN, WEB_IP, 80, V1, 8080))
    assert row["mesh"] == {"mode": None, "subset": "v1"}
    assert row["attribution"] == "exact"


def test_a_client_outside_the_mesh_that_dials_a_pod_means_no_service() -> None:
    (row,) = judged(flow(PLAIN, V1))
    assert (row["service"], row["mesh"]) == (None, None)


def test_two_services_behind_one_port_are_candidates() -> None:
    alias = service("alias", "10.0.0.2", ports=[{"port": 80, "targetPort": 8080}], selector={"app": "web"})
    (row,) = judged(flow(CLIENT, V1), snapshot=build([*CLUSTER, alias, destination_rule()]))
    assert [told["name"] for told in row["service_candidates"]] == ["alias", "web"]
    assert (row["attribution"], row["mesh"]) == ("ambiguous", {"mode": "sidecar", "subset": None})


def test_ambients_tunnel_is_the_pair() -> None:
    (row,) = judged(flow(AMBIENT_CLIENT, AMBIENT_SERVER, 15008))
    assert (row["source"]["name"], row["destination"]["name"]) == ("ambient-client", "ambient-server")
    assert (row["mesh"], row["role"]) == ({"mode": "ambient", "subset": None}, "canonical")


@pytest.mark.parametrize(
    "hop",
    [
        flow(CLIENT, WEB_IP, 80, "127.0.0.1", 15001),  # out of the application into its sidecar
        flow(PLAIN, V1, 8080, V1, 15006),  # into the pod, taken by its sidecar
        flow(CLIENT, CLIENT, 15001),
        flow(AMBIENT_CLIENT, V1, 8080, "127.0.0.1", 15001),
    ],
)
def test_what_happens_inside_a_pod_is_an_observers(hop: Flow) -> None:
    assert judged(hop)[0]["role"] == "observer"


def test_a_port_of_the_same_number_elsewhere_counts() -> None:
    rows = judged(flow(PLAIN, V1, 15006), flow(PLAIN, PLAIN, 15001), flow(CLIENT, PLAIN, 15001))
    assert [row["role"] for row in rows] == ["canonical"] * 3


def test_a_pod_that_joins_the_mesh_later_is_in_it() -> None:
    """Ambient's node agent notes the redirection when the pod runs; that makes no new endpoint of it."""
    history = History()
    history.begin()
    for item in (*CLUSTER[:-3], bare("ambient-client", AMBIENT_CLIENT), bare("ambient-server", AMBIENT_SERVER)):
        history.put(0, item)
    history.synced(0)
    tunnel = flow(AMBIENT_CLIENT, AMBIENT_SERVER, 15008, start=2_000_000_000)
    assert judged(tunnel, snapshot=history.snapshot())[0]["mesh"] is None
    for name, ip in (("ambient-client", AMBIENT_CLIENT), ("ambient-server", AMBIENT_SERVER)):
        history.put(1_000_000_000, ambient(name, ip))
    assert judged(tunnel, snapshot=history.snapshot())[0]["mesh"] == {"mode": "ambient", "subset": None}


def bare(name: str, ip: str) -> Resource:
    return pod(name, ip, labels={"app": name}, on="n1")


def test_without_a_mesh_there_is_none() -> None:
    bare = build([item for item in CLUSTER if item.kind in {"Node", "Service"}])
    (row,) = judged(flow(PLAIN, WEB_IP, 80, V1, 8080), snapshot=bare)
    assert row["mesh"] is None


def strict(snapshot: Snapshot, *asked: tuple[str, int], start: int = 0) -> list[bool]:
    ids = {name: number for number, name in snapshot.endpoints.select("id", "name").rows()}
    pods = pl.Series([ids[name] for name, _ in asked], dtype=pl.UInt32)
    ports = pl.Series([port for _, port in asked], dtype=pl.UInt16)
    starts = pl.Series([start] * len(asked), dtype=pl.Int64)
    return mesh_lookups_of(snapshot).is_strict(pods, ports, starts).to_list()


WEB_1, WEB_2 = ("web-1", 8080), ("web-2", 8080)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], [False, False]),
        ([authentication("default", "STRICT", "istio-system")], [True, True]),
        ([authentication("default", "STRICT", "elsewhere")], [False, False]),
        ([authentication("default", "STRICT", "istio-system"), authentication("own", "PERMISSIVE")], [False, False]),
        ([authentication("own", "STRICT"), authentication("two", "DISABLE", labels={"version": "v2"})], [True, False]),
        ([authentication("two", "STRICT", labels={"version": "v2"})], [False, True]),
        ([authentication("two", "STRICT", labels={"version": "v2"}, p8080="PERMISSIVE")], [False, False]),
        ([authentication("two", "PERMISSIVE", labels={"version": "v2"}, p8080="STRICT")], [False, True]),
        ([authentication("two", "UNSET", labels={"version": "v2"}), authentication("own", "STRICT")], [True, True]),
    ],
)
def test_the_closest_word_on_mutual_tls_is_the_one_that_counts(told: list[Resource], expected: list[bool]) -> None:
    assert strict(build([*CLUSTER, *told]), WEB_1, WEB_2) == expected


def test_mutual_tls_is_asked_as_of_the_instant() -> None:
    snapshot = build([*CLUSTER, authentication("own", "STRICT")])
    frames = {
        name: frame.with_columns(since=pl.lit(100, pl.Int64), until=pl.lit(200, pl.Int64))
        for name, frame in snapshot.tracked.items()
    }
    past = Snapshot(**{**vars(snapshot), "tracked": frames})
    assert [strict(past, WEB_1, start=start) for start in (99, 100, 199, 200)] == [[False], [True], [True], [False]]
