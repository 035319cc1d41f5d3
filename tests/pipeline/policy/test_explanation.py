"""One connection explained on the lab's cluster: look-ups with their objects, each backend, and what came near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from pipeline.attribution.offline import NOW
from pipeline.attribution.policies import Policies, compile_policies
from pipeline.errors import ConfigError
from pipeline.inventory import manifests, snapshot
from pipeline.inventory.models import Other, Resource
from pipeline.inventory.snapshot import Snapshot
from pipeline.policy.evidence import instant_text
from pipeline.policy.explanation import Dialled, Explanation, explain
from pipeline.policy.naming import addresses_of
from tests.pipeline.inventory.changes import Told, at, made, pod, service, slices

LAB = Path(__file__).parents[3] / "deploy" / "lab" / "manifests"
BACKEND, NETSHOOT, CONTROLLER = "10.244.1.7", "10.244.1.13", "10.244.1.3"
DATABASE_SERVICE, FRONTEND_SERVICE = "10.96.20.10", "10.96.30.20"


@pytest.fixture(scope="module")
def lab() -> tuple[list[Resource], Snapshot, Policies]:
    objects, refusals = manifests.load(LAB)
    assert refusals == []
    cluster = snapshot.build(objects)
    return objects, cluster, compile_policies(objects, cluster)


def explained(lab: tuple[list[Resource], Snapshot, Policies], src: str, dst: str, port: int) -> Explanation:
    return explain(*lab, Dialled(src, dst, port, 6, NOW))


def test_a_service_leads_through_its_slices_to_every_backend(lab: tuple[list[Resource], Snapshot, Policies]) -> None:
    told = explained(lab, BACKEND, DATABASE_SERVICE, 5432)
    assert told.verdict == "allowed"
    answers = {look_up.asked.split(" ")[0]: look_up for look_up in told.look_ups}
    assert "production/database-service (ClusterIP), port postgresql" in answers["dialled"].answer
    assert [item["kind"] for item in answers["backends"].objects] == ["EndpointSlice"]
    assert all(item["uid"] and item["created"] for look_up in told.look_ups for item in look_up.objects)
    (judged,) = told.backends
    assert "database-0" in judged.connection
    assert len(judged.alike) == 1
    assert "database-1" in judged.alike[0]


def test_what_isolates_is_named_and_what_came_near_told(lab: tuple[list[Resource], Snapshot, Policies]) -> None:
    (judged,) = explained(lab, NETSHOOT, DATABASE_SERVICE, 5432).backends
    assert judged.verdict == "denied"
    assert [(item["name"], item["effect"]) for item in judged.ingress.policies] == [
        ("allow-from-app-namespace", "isolates"),
        ("deny-all", "isolates"),
    ]
    (rule,) = judged.ingress.steps[0].rules
    assert rule.port.met
    assert "namespace default has name=default, wanted name=app-namespace" in rule.peer.why


def test_a_port_that_the_service_has_not_gives_no_verdict(lab: tuple[list[Resource], Snapshot, Policies]) -> None:
    told = explained(lab, NETSHOOT, DATABASE_SERVICE, 80)
    assert (told.verdict, told.backends) == ("no verdict", ())
    assert any("a port that it does not have" in look_up.answer for look_up in told.look_ups)


@pytest.mark.parametrize(
    ("host", "path", "said", "named"),
    [
        ("", "", None, "ambiguous: "),
        ("app.example.com", "", "app.example.com, which leaves several routes", "ambiguous: "),
        (
            "app.example.com",
            "/shop/x",
            "app.example.com/shop/x, which tells the route among several",
            "kind Ingress, namespace shop, name web-ingress, host app.example.com, path /shop",
        ),
    ],
)
def test_a_head_tells_the_route_among_several(
    lab: tuple[list[Resource], Snapshot, Policies], host: str, path: str, said: str | None, named: str
) -> None:
    dialled = Dialled(CONTROLLER, FRONTEND_SERVICE, 80, 6, NOW, host, path)
    answers = {look_up.asked: look_up for look_up in explain(*lab, dialled).look_ups}
    assert ("head" in answers) == (said is not None)
    assert said is None or answers["head"].answer == said
    assert answers["ingress"].answer.startswith(named)
    assert {item["kind"] for item in answers["ingress"].objects} >= {"Ingress"}


def test_names_become_addresses(lab: tuple[list[Resource], Snapshot, Policies]) -> None:
    cluster = lab[1]
    assert addresses_of(cluster, "default/netshoot", "--from") == [NETSHOOT, "fd00:10:244:1::13"]
    assert addresses_of(cluster, "production/database-service", "--to") == [DATABASE_SERVICE]
    assert sorted(addresses_of(cluster, "service/production/database", "--to")) == ["10.244.1.10", "10.244.2.10"]
    assert addresses_of(cluster, "2001:db8::1", "--to") == ["2001:db8::1"]
    with pytest.raises(ConfigError, match="--to: production/nothing"):
        addresses_of(cluster, "production/nothing", "--to")
    with pytest.raises(ConfigError, match=r"; did you mean default/netshoot\?"):
        addresses_of(cluster, "default/netshot", "--from")


def test_each_answer_tells_at_which_version_and_since_when() -> None:
    """What changes nothing that is read leaves the version; what does is dated by the watcher's clock."""
    web, db = pod("web", "10.0.1.5", created=-60), pod("db", "10.0.1.6", created=-60)
    namespace = made("v1", "Namespace", "shop")
    told = Told(namespace, versioned(web, 3), versioned(db, 4), service("db", "10.96.0.9"))
    told.put(10, versioned(slices("db", "10.0.1.6"), 7))
    told.put(20, versioned(DENY_ALL, 8))
    told.put(30, versioned(db, 9), versioned(DENY_ALL, 10), versioned(web, 11))
    told.put(40, versioned(pod("web", "10.0.1.5", created=-60, port=81), 12), made("v1", "Namespace", "other"))
    history, cluster = told.history, told.history.snapshot()
    objects = history.objects()
    asked = Dialled("10.0.1.5", "10.96.0.9", 80, 6, at(50))
    found = explain(objects, cluster, compile_policies(objects, cluster), asked, history.policy_epochs())
    look_ups = {look_up.asked.partition(" ")[0]: look_up for look_up in found.look_ups}
    assert versions(look_ups["source"].objects) == [("Pod", "web", "12")]
    assert look_ups["source"].since == instant_text(at(40))
    assert versions(look_ups["backends"].objects) == [("EndpointSlice", "db-x", "7")]
    assert look_ups["backends"].since == instant_text(at(10))
    assert versions(look_ups["backend"].objects) == [("Pod", "db", "4")]
    assert look_ups["backend"].since == instant_text(at(-60))
    (step,) = found.backends[0].ingress.steps
    assert (versions(step.objects), step.since) == ([("NetworkPolicy", "deny-all", "8")], instant_text(at(20)))


DENY_ALL = made(
    "networking.k8s.io/v1",
    "NetworkPolicy",
    "deny-all",
    metadata={"namespace": "shop"},
    spec={"podSelector": {}, "policyTypes": ["Ingress"]},
)


def versioned(resource: Resource, version: int) -> Resource:
    assert not isinstance(resource, Other)
    metadata = msgspec.structs.replace(resource.metadata, resource_version=str(version))
    return msgspec.structs.replace(resource, metadata=metadata)


def versions(objects: Sequence[Mapping[str, str]]) -> list[tuple[str, str, str]]:
    return [(item["kind"], item["name"], item["version"]) for item in objects]
