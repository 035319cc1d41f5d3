"""The cluster over time, scenario by scenario: who held what, when, and which ids stay what they were."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.inventory.history import History
from pipeline.inventory.models import Namespace, Resource
from pipeline.inventory.spans import BEGINNING, END
from tests.pipeline.inventory.changes import Told, at, described, made, node, pod, seconds, service, slices

IP = "10.0.1.5"
FOREVER = float("inf")


def names(told: Told) -> list[str]:
    return told.history.snapshot().endpoints["name"].to_list()


def test_nothing_is_known_before_the_first_listing_is_whole() -> None:
    history = History()
    history.begin()
    history.put(at(0), pod("a", IP))
    history.mark(at(1))
    assert (history.is_synced, history.objects(), history.snapshot().addresses.height) == (False, [], 0)
    history.synced(at(2))
    assert history.is_synced
    assert history.known_until == at(2)
    assert history.snapshot().addresses.height == 1


def test_a_pod_of_the_first_listing_holds_its_address_since_its_creation() -> None:
    told = Told(pod("a", IP, created=-100))
    assert told.spans(IP) == [("a", -100, FOREVER)]


def test_a_pod_talks_before_its_status_tells() -> None:
    told = Told()
    told.put(10, pod("a", created=10))
    told.put(12.5, pod("a", IP, created=10))
    assert told.spans(IP) == [("a", 10, FOREVER)]
    assert told.history.snapshot().addresses["seen"].to_list() == [at(12.5)]


def test_an_address_that_is_used_again_at_once_changes_hands_when_the_first_pod_is_gone() -> None:
    """The newcomer was created, in whole seconds, before the other was gone; it cannot have had the address then."""
    told = Told(pod("old", IP))
    told.delete(20.3, "Pod", "old")
    told.put(20.4, pod("new", created=20))
    told.put(22.0, pod("new", IP, created=20))
    assert told.spans(IP) == [("old", -3600, 20.3), ("new", 20.3, FOREVER)]


def test_between_two_pods_nobody_holds_the_address() -> None:
    told = Told(pod("old", IP))
    told.delete(20, "Pod", "old")
    told.put(40, pod("new", IP, created=38))
    assert told.spans(IP) == [("old", -3600, 20), ("new", 38, FOREVER)]
    assert told.holder(IP, 30) == ""


def test_a_leaving_pod_yields_when_another_is_said_to_hold_its_address() -> None:
    told = Told(pod("old", IP))
    told.put(10, pod("old", IP, leaving=True))
    told.put(14, pod("new", IP, created=12))
    told.delete(15, "Pod", "old")
    assert told.spans(IP) == [("old", -3600, 14), ("new", 14, FOREVER)]


def test_a_leaving_pod_whose_containers_have_ended_yields_to_whoever_comes() -> None:
    told = Told(pod("old", IP))
    told.put(10, pod("old", IP, leaving=True, finished=11))
    told.put(13, pod("old", IP, leaving=True, finished=11))
    told.put(16, pod("new", IP, created=14))
    told.delete(17, "Pod", "old")
    assert told.spans(IP) == [("old", -3600, 14), ("new", 14, FOREVER)]


def test_two_running_pods_with_one_address_leave_two_answers_while_both_run() -> None:
    told = Told(pod("a", IP))
    told.put(10, pod("b", IP, created=5))
    told.delete(20, "Pod", "a")
    assert told.spans(IP) == [("a", -3600, 10), ("unknown", 10, 20), ("b", 20, FOREVER)]


def test_a_completed_pod_gives_its_address_back_when_its_last_container_ended() -> None:
    """Whole seconds: the container that finished at 30 may have talked until 31."""
    told = Told(pod("job", IP))
    told.put(33, pod("job", IP, phase="Succeeded", finished=30))
    told.put(34, pod("next", IP, created=31))
    assert told.spans(IP) == [("job", -3600, 31), ("next", 31, FOREVER)]


def test_a_completed_pod_without_that_gives_it_back_when_it_is_told() -> None:
    told = Told(pod("job", IP))
    told.put(33, pod("job", IP, phase="Failed"))
    assert told.spans(IP) == [("job", -3600, 33)]


def test_a_pod_that_had_completed_before_the_first_listing_held_its_address_until_then() -> None:
    told = Told(pod("job", IP, created=-60, phase="Succeeded", finished=-30), pod("job2", "10.0.1.6", phase="Failed"))
    assert told.spans(IP) == [("job", -60, -29)]
    assert told.spans("10.0.1.6") == []


def test_a_pod_that_came_and_completed_between_two_looks_held_its_address() -> None:
    told = Told()
    told.put(10, pod("job", IP, created=7, phase="Succeeded", finished=8))
    assert told.spans(IP) == [("job", 7, 9)]


def test_the_same_name_with_another_uid_is_another_endpoint() -> None:
    told = Told(pod("db-0", IP, uid="one"))
    told.put(10, pod("db-0", "10.0.2.9", uid="two", created=8))
    snapshot = told.history.snapshot()
    assert told.spans(IP) == [("db-0", -3600, 10)]
    assert told.spans("10.0.2.9") == [("db-0", 8, FOREVER)]
    assert len(set(snapshot.addresses["endpoint_id"])) == 2
    assert set(snapshot.endpoints.filter(pl.col("kind") == "Pod")["uid"]) == {"one", "two"}


def test_a_pod_that_gets_another_address_held_it_since_it_was_last_told_of() -> None:
    told = Told(pod("a", IP))
    told.put(10, pod("a", IP, labels={"app": "a"}))
    told.put(20, pod("a", "10.0.1.6", labels={"app": "a"}))
    assert told.spans(IP)[-1] == ("a", 10, 20)
    assert told.spans("10.0.1.6") == [("a", 10, FOREVER)]


@pytest.mark.parametrize(
    ("first", "owner", "workload"),
    [
        (("ReplicaSet", "web-5"), made("apps/v1", "ReplicaSet", "web-5"), ("ReplicaSet", "web-5")),
        (
            ("Job", "nightly"),
            made(
                "batch/v1",
                "Job",
                "nightly",
                metadata={
                    "namespace": "shop",
                    "ownerReferences": [{"kind": "CronJob", "name": "night", "controller": True}],
                },
            ),
            ("CronJob", "night"),
        ),
    ],
)
def test_an_owner_that_is_told_late_holds_for_the_past(
    first: tuple[str, str], owner: object, workload: tuple[str, str]
) -> None:
    told = Told()
    told.put(5, pod("x", IP, created=4, owner=first))
    told.history.snapshot()
    told.put(9, owner)  # type: ignore[arg-type] # every owner here is a resource
    snapshot = told.history.snapshot()
    ((since, number),) = snapshot.addresses.select("since", "endpoint_id").rows()
    assert snapshot.endpoints.row(number, named=True)["workload"] == workload[1]
    assert snapshot.endpoints.row(number, named=True)["workload_kind"] == workload[0]
    assert since == at(4)


def test_an_owner_that_goes_first_leaves_its_pods_what_they_were() -> None:
    owner = made(
        "apps/v1",
        "ReplicaSet",
        "odd",
        metadata={"namespace": "shop", "ownerReferences": [{"kind": "Rollout", "name": "web", "controller": True}]},
    )
    told = Told(owner, pod("odd-1", IP, owner=("ReplicaSet", "odd")))
    told.delete(10, "ReplicaSet", "odd")
    told.put(11, pod("odd-1", IP, owner=("ReplicaSet", "odd"), leaving=True))
    snapshot = told.history.snapshot()
    assert snapshot.endpoints["workload"][snapshot.addresses["endpoint_id"][0]] == "web"


def test_what_cilium_notes_of_a_node_is_the_nodes_for_as_long_as_it_says_so() -> None:
    def noted(*ips: str) -> Resource:
        spec = {"addresses": [{"type": "CiliumInternalIP", "ip": ip} for ip in ips]}
        return made("cilium.io/v2", "CiliumNode", "node-a", spec=spec)

    told = Told(noted(IP), node("node-a", "192.0.2.1"))
    told.put(10, noted(IP, "10.0.1.6"))
    told.put(20, noted("10.0.1.6"))
    told.history.drop(at(30), noted("10.0.1.6"))
    assert told.spans(IP) == [("node-a", -3600, 20)]
    assert told.spans("10.0.1.6") == [("node-a", -3600, 30)]


def test_a_node_that_is_told_after_its_pods_places_them() -> None:
    told = Told(pod("a", IP))
    told.put(5, node("node-a", "192.0.2.1", zone="z1"))
    snapshot = told.history.snapshot()
    held = snapshot.addresses.join(snapshot.endpoints, left_on="endpoint_id", right_on="id")
    assert dict(held.select("name", "zone").iter_rows()) == {"a": "z1", "node-a": "z1"}
    assert told.spans("192.0.2.1") == [("node-a", -7200, FOREVER)]


def test_a_pod_that_is_alone_on_its_node_has_the_nodes_address_from_its_creation_to_its_end() -> None:
    told = Told()
    told.put(1, node("alone", "192.168.13.23", created=1, labels={"eks.amazonaws.com/compute-type": "fargate"}))
    told.put(12, pod("dns", "192.168.13.23", created=10, on="alone", host_ip="192.168.13.23"))
    told.put(20, pod("dns", "192.168.13.23", created=10, on="alone", host_ip="192.168.13.23", leaving=True))
    told.delete(30, "Pod", "dns")
    told.delete(31, "Node", "alone")
    assert told.spans("192.168.13.23") == [("alone", 1, 10), ("dns", 10, 30), ("alone", 30, 31)]


def test_other_labels_are_another_endpoint_from_then_on() -> None:
    told = Told(pod("a", IP, labels={"app": "old"}))
    told.put(10, pod("a", IP, labels={"app": "new"}))
    snapshot = told.history.snapshot()
    spans = snapshot.addresses.sort("since").select("endpoint_id", "since", "until").rows()
    subjects = [snapshot.subjects[number] for number, _, _ in spans]
    assert [(seconds(since), seconds(until)) for _, since, until in spans] == [(-3600, 10), (10, FOREVER)]
    assert [subject.metadata.labels for subject in subjects if subject] == [{"app": "old"}, {"app": "new"}]


def test_ids_stay_and_new_ones_are_added_at_the_end() -> None:
    told = Told(node("node-a", "192.0.2.1"), pod("a", IP), service("web", "10.96.0.1"))
    before = told.history.snapshot()
    told.put(1, pod("b", "10.0.1.6"), service("api", "10.96.0.2"))
    told.delete(2, "Pod", "a")
    after = told.history.snapshot()
    assert after.numbering is before.numbering
    assert after.endpoints.head(before.endpoints.height).equals(before.endpoints)
    assert after.services.head(before.services.height).equals(before.services)
    assert after.endpoints["id"].to_list() == list(range(after.endpoints.height))


def test_a_snapshot_is_the_same_object_while_nothing_changed_and_never_changes_itself() -> None:
    told = Told(pod("a", IP), service("web", "10.96.0.1"))
    before = told.history.snapshot()
    rows = before.addresses.rows()
    told.history.mark(at(5))
    told.put(6, pod("a", IP))
    assert told.history.snapshot() is before
    told.delete(7, "Pod", "a", watched=False)
    after = told.history.snapshot()
    assert before.addresses.rows() == rows
    assert after.addresses.rows() != rows
    assert after.services is before.services
    assert (told.history.known_until, after.known_until) == (at(5), at(5))


def test_what_vanished_while_nobody_watched_yields_to_who_came_then() -> None:
    """The watcher was away from 10 to 30; the address is another pod's since a moment of second 20."""
    told = Told(pod("gone", IP), pod("lost", "10.0.1.6"), pod("stays", "10.0.1.7"))
    told.history.mark(at(10))
    told.relist(30, pod("new", IP, created=20), pod("stays", "10.0.1.7"))
    assert told.spans(IP) == [("gone", -3600, 20), ("unknown", 20, 21), ("new", 21, FOREVER)]
    assert told.spans("10.0.1.6") == [("lost", -3600, 30)]
    assert told.spans("10.0.1.7") == [("stays", -3600, FOREVER)]


def test_what_a_watcher_that_went_on_finds_gone_yields_to_who_came_then_too() -> None:
    """The API server was away from 10 to 30, or had forgotten: what vanished is told as deleted when that is known."""
    told = Told(pod("gone", IP), pod("lost", "10.0.1.6"), node("node-a", "192.0.2.1"))
    told.history.mark(at(10))
    for name in ("gone", "lost"):
        told.delete(30, "Pod", name, watched=False)
    told.delete(30, "Node", "node-a", watched=False)
    told.put(30, pod("new", IP, created=20), node("node-b", "192.0.2.1", created=15))
    assert told.spans(IP) == [("gone", -3600, 20), ("unknown", 20, 21), ("new", 21, FOREVER)]
    assert told.spans("10.0.1.6") == [("lost", -3600, 30)]
    assert told.spans("192.0.2.1") == [("node-a", -7200, 15), ("node-b", 15, FOREVER)]


def test_an_epoch_that_the_bus_wanted_is_no_mark() -> None:
    """The API server was away from 10 to 30, and the bus lost a batch in between: all was said again, as it was."""
    told = Told(pod("gone", IP))
    told.history.mark(at(10))
    told.relist(25, pod("gone", IP))
    assert told.history.known_until == at(10)
    told.delete(30, "Pod", "gone", watched=False)
    told.put(30, pod("new", IP, created=20))
    assert told.spans(IP) == [("gone", -3600, 20), ("unknown", 20, 21), ("new", 21, FOREVER)]


def test_an_address_that_is_handed_on_within_a_second_is_nobodys_for_that_long() -> None:
    """The change itself is told late: which of the two had it in between, nobody says."""
    told = Told(service("web", "10.96.0.1"))
    told.history.mark(at(20.2))
    told.delete(20.7, "Service", "web", watched=False)
    told.put(20.7, service("api", "10.96.0.1", created=20))
    assert told.spans("10.96.0.1") == [("web", -3600, 20.2), ("unknown", 20.2, 20.7), ("api", 20.7, FOREVER)]


def test_a_listing_that_breaks_off_deletes_nothing() -> None:
    told = Told(pod("a", IP), pod("b", "10.0.1.6"))
    told.history.begin()
    told.put(10, pod("a", IP))
    assert told.holder("10.0.1.6", 11) == "b"
    told.relist(20, pod("b", "10.0.1.6"))
    assert told.spans(IP) == [("a", -3600, 20)]
    assert told.holder("10.0.1.6", 21) == "b"


def test_a_pod_in_its_nodes_network_listens_from_when_it_was_placed_to_its_end() -> None:
    told = Told(node("node-a", "192.0.2.1"))
    told.put(5, pod("dns", created=4, host_network=True, port=53))
    told.put(9, pod("dns", "192.0.2.1", created=4, host_network=True, port=53))
    told.delete(20, "Pod", "dns")
    listeners = told.history.snapshot().listeners.select("port", "since", "until").rows()
    assert [(port, seconds(since), seconds(until)) for port, since, until in listeners] == [(53, 5, 20)]
    assert told.spans("192.0.2.1") == [("node-a", -7200, FOREVER)]


def test_an_address_that_a_node_reports_later_is_listened_on_too() -> None:
    told = Told(pod("dns", host_network=True, port=53))
    assert told.history.snapshot().listeners.is_empty()
    told.put(5, node("node-a", "192.0.2.1"))
    assert told.history.snapshot().listeners.height == 1


def test_what_ended_is_kept_for_a_while_and_ids_stay() -> None:
    told = Told(pod("old", IP), keep_s=80)
    told.delete(10, "Pod", "old")
    told.history.mark(at(85))
    numbering = told.history.snapshot().numbering
    assert told.spans(IP) == [("old", -3600, 10)]
    told.history.mark(at(120))
    assert told.spans(IP) == []
    assert told.history.snapshot().numbering is numbering


def test_many_dead_ids_are_given_anew_and_everything_still_means_the_same() -> None:
    fixed = (
        node("node-a", "192.0.2.1", zone="z"),
        pod("dns", "192.0.2.1", host_network=True, port=53),
        pod("stays", "10.0.2.1"),
        service("web", "10.96.0.1", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]),
        slices("web", "10.0.2.1"),
    )
    told = Told(service("first", "10.96.0.9"), *fixed, keep_s=80)
    told.delete(0, "Service", "first")
    for number in range(1500):
        told.put(number / 100, pod(f"p{number}", IP, created=number // 100, uid=str(number)))
        told.delete((number + 0.5) / 100, "Pod", f"p{number}")
    before = told.history.snapshot()
    told.history.mark(at(200))
    after = told.history.snapshot()
    assert after.numbering is not before.numbering
    assert after.endpoints.height < before.endpoints.height - 1400
    fresh = Told(*fixed).history.snapshot()
    assert described(after) == described(fresh)
    told.put(201, pod("stays", "10.0.2.1", labels={"new": "label"}))
    told.delete(202, "Service", "web")
    told.delete(203, "Pod", "dns")
    assert told.holder("10.0.2.1", 204) == "stays"
    final = told.history.snapshot()
    assert final.listeners["until"].to_list() == [at(203)]
    assert [frame["until"].to_list() for frame in (final.dialled, final.node_ports, final.backends)] == [[at(202)]] * 3


def namespace(name: str, **labels: str) -> Namespace:
    item = made("v1", "Namespace", name, metadata={"labels": labels})
    assert isinstance(item, Namespace)
    return item


def test_policy_epochs_begin_when_what_policies_are_made_of_changes() -> None:
    told = Told(namespace("shop"), pod("a", IP))
    (first,) = told.history.policy_epochs()
    assert (first.since_ns, [item.kind for item in first.objects]) == (BEGINNING, ["Namespace"])
    told.put(5, pod("b", "10.0.1.6"))
    assert told.history.policy_epochs()[0] is first
    policy = made("networking.k8s.io/v1", "NetworkPolicy", "deny", metadata={"namespace": "shop"}, spec={})
    told.put(10.1, policy)
    told.put(10.2, namespace("shop", team="a"))
    told.put(12, namespace("shop", team="b"))
    epochs = told.history.policy_epochs()
    assert [seconds(epoch.since_ns) for epoch in epochs[1:]] == [10, 12]
    assert epochs[0] is first
    assert {item.metadata.name for item in epochs[1].objects} == {"shop", "deny"}
    told.history.mark(at(3000))
    assert [seconds(epoch.since_ns) for epoch in told.history.policy_epochs()] == [12]


def test_a_dump_and_a_first_listing_say_the_same() -> None:
    from pipeline.inventory.snapshot import build

    objects = [
        node("node-a", "192.0.2.1"),
        pod("dns", "192.0.2.1", host_network=True, port=53),
        pod("a", IP),
        pod("b", IP),
        pod("job", "10.0.1.9", phase="Succeeded"),
        service("web", "10.96.0.1", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]),
        slices("web", IP),
    ]
    dump, listing = build(objects), Told(*objects).history.snapshot()
    for name, rows in described(dump).items():
        held = [row for row in described(listing)[name] if END in row]
        assert sorted(map(timeless, rows)) == sorted(map(timeless, held)), name
    assert dump.ranges.equals(listing.ranges)
    assert dump.objects == listing.objects
    assert dump.nodes == listing.nodes == {"node-a"}


def timeless(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(value for value in row if not (isinstance(value, int) and (value < 0 or value > 2**60)))
