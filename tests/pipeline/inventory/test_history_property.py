"""The history against an oracle that replays the whole log for every question, over random changes.

The oracle knows nothing of spans: for an instant and an address it goes through all lives of all pods, one at a time,
and asks each how well it held the address then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inventory import history as history_module
from pipeline.inventory.addresses import parse
from pipeline.inventory.history import History
from pipeline.inventory.models import Node, Pod, ReplicaSet, Resource
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.inventory.changes import at, described, made, pod, service, slices

IPS = ("10.0.1.1", "10.0.1.2")
NAMES = ("a", "b", "c")
INSTANTS = [step / 2 - 1.75 for step in range(64)]
"""Quarters of seconds, where nothing changes: changes are at halves."""


@dataclass
class Life:
    """One pod from its creation to its end, as it was told."""

    name: str
    created: float
    held: list[tuple[str, float, float, float]] = field(default_factory=list)
    """Address, since when, when it was told, until when."""
    leaving: float = float("inf")


@dataclass(frozen=True)
class Step:
    """One change: of a pod's address, its deletion or its Service."""

    name: str
    action: str
    ip: str = ""


STEPS = st.lists(
    st.one_of(
        st.builds(Step, st.sampled_from(NAMES), st.just("hold"), st.sampled_from(IPS)),
        st.builds(Step, st.sampled_from(NAMES), st.sampled_from(("create", "leave", "end", "delete"))),
        st.builds(Step, st.sampled_from(NAMES), st.sampled_from(("serve", "unserve")), st.sampled_from(IPS)),
    ),
    max_size=25,
)
GAPS = st.lists(st.integers(0, 3), min_size=25, max_size=25)
"""Half seconds between changes."""


class Cluster:
    """Plays steps: says the changes, and keeps what they mean for the oracle."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self.now = 0.0
        self._pods: dict[str, tuple[Life, str, bool]] = {}
        """By name: its life, the address that it has, whether it has ended."""
        self.services: dict[str, tuple[str, float]] = {}
        self.served: list[tuple[str, str, float, float]] = []

    def play(self, step: Step) -> list[tuple[str, Resource]]:
        """The changes to tell now: ("put" or "delete", object)."""
        known = self._pods.get(step.name)
        if step.action in {"serve", "unserve"}:
            return self._serve(step)
        if step.action == "create" and known is None:
            life = Life(step.name, float(int(self.now)))
            self.lives.append(life)
            self._pods[step.name] = (life, "", False)
        elif known is None or (known[2] and step.action != "delete"):
            return []
        elif step.action == "hold" and not known[1]:
            life = known[0]
            life.held.append((step.ip, min(life.created, self.now), self.now, float("inf")))
            self._pods[step.name] = (life, step.ip, False)
        elif step.action == "leave":
            known[0].leaving = min(known[0].leaving, self.now)
        elif step.action == "end":
            self._close(known[0])
            self._pods[step.name] = (known[0], known[1], True)
        elif step.action == "delete":
            self._close(known[0])
            body = self._body(step.name)
            del self._pods[step.name]
            return [("delete", body)]
        else:
            return []
        return [("put", self._body(step.name))]

    def everything(self) -> list[Resource]:
        """All objects as they are now."""
        return [*map(self._body, self._pods), *(self._service(n, ip, c) for n, (ip, c) in self.services.items())]

    def _body(self, name: str) -> Resource:
        life, ip, is_over = self._pods[name]
        more: dict[str, Any] = {"phase": "Failed"} if is_over else {}
        return pod(name, ip, created=life.created, uid=f"{name}{id(life)}", leaving=life.leaving <= self.now, **more)

    def _serve(self, step: Step) -> list[tuple[str, Resource]]:
        vip = f"10.96.0.{NAMES.index(step.name) + 1}"
        if step.action == "serve" and step.name not in self.services:
            self.services[step.name] = (vip, self.now)
            return [("put", self._service(step.name, vip, self.now)), ("put", slices(step.name, step.ip))]
        if step.action == "unserve" and step.name in self.services:
            _, since = self.services.pop(step.name)
            self.served.append((step.name, vip, since, self.now))
            return [("delete", self._service(step.name, vip, since))]
        return []

    def _service(self, name: str, ip: str, created: float) -> Resource:
        return service(name, ip, created=created, uid=f"{name}{created}")

    def _close(self, life: Life) -> None:
        life.held = [(ip, since, told, min(until, self.now)) for ip, since, told, until in life.held]

    # --- the oracle ---

    def holder(self, ip: str, instant: float) -> str:
        """Who held the address: told ones before leaving ones, those before ones told later, and the first of these."""
        claims = []
        for number, life in enumerate(self.lives):
            for address, since, told, until in life.held:
                if address == ip and since <= instant < until:
                    rank = (2, told) if instant < told else (1, 0.0) if instant >= life.leaving else (0, 0.0)
                    claims.append((rank, number, life.name))
        best = [claim for claim in claims if claim[0] == min(claims)[0]]
        if not best:
            return ""
        return best[0][2] if len({number for _, number, _ in best}) == 1 else "unknown"

    def dialled(self, vip: str, instant: float) -> list[str]:
        """The Services that had the address; created in whole seconds, but not before an earlier one gave it up."""
        lives = [*self.served, *((name, ip, since, float("inf")) for name, (ip, since) in self.services.items())]
        ends = [0.0]
        found = []
        for name, ip, since, until in sorted(lives, key=lambda life: life[2]):
            if ip == vip:
                if max(float(int(since)), ends[-1] if ends[-1] <= since else 0.0) <= instant < until:
                    found.append(name)
                ends.append(until)
        return found


def tell(history: History, changes: list[tuple[str, Resource]], now: float) -> None:
    for op, item in changes:
        if op == "put":
            history.put(at(now), item)
        else:
            namespace = item.metadata.namespace or ""
            history.delete(at(now), "v1", item.kind, namespace, item.metadata.name)


class Read:
    """A snapshot as plain rows: a test asks it thousands of questions."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.names = snapshot.endpoints["name"].to_list()
        self.addresses = snapshot.addresses.select("addr_hi", "addr_lo", "since", "until", "endpoint_id").rows()
        joined = snapshot.dialled.join(snapshot.services, on="service_id")
        self.dials = joined.select("addr_hi", "addr_lo", "since", "until", "service").rows()

    def holder(self, ip: str, instant: float) -> str:
        found = _as_of(self.addresses, ip, instant)
        assert len(found) <= 1, "an address has one holder at a time"
        return self.names[found[0]] if found else ""

    def dialled(self, vip: str, instant: float) -> list[str]:
        return sorted(_as_of(self.dials, vip, instant))


def _as_of(rows: list[tuple[Any, ...]], ip: str, instant: float) -> list[Any]:
    key, when = parse(ip), at(instant)
    return [value for hi, lo, since, until, value in rows if (hi, lo) == key and since <= when < until]


@settings(max_examples=300, deadline=None)
@given(STEPS, GAPS, st.sets(st.integers(0, 24)), st.sets(st.integers(0, 24)))
def test_every_look_up_is_what_a_replay_of_the_log_says(
    steps: list[Step], gaps: list[int], looks: set[int], relists: set[int]
) -> None:
    """Snapshots taken in between and listings said anew change nothing."""
    cluster, history = Cluster(), History()
    history.begin()
    history.synced(at(0))
    for number, (step, gap) in enumerate(zip(steps, gaps, strict=False)):
        cluster.now += gap / 2
        tell(history, cluster.play(step), cluster.now)
        if number in looks:
            history.snapshot()
        if number in relists:
            history.begin()
            for item in cluster.everything():
                history.put(at(cluster.now), item)
            history.synced(at(cluster.now))
    read = Read(history.snapshot())
    for instant in INSTANTS:
        for ip in IPS:
            assert read.holder(ip, instant) == cluster.holder(ip, instant), (ip, instant)
        for number in range(len(NAMES)):
            vip = f"10.96.0.{number + 1}"
            assert read.dialled(vip, instant) == sorted(cluster.dialled(vip, instant)), (vip, instant)


@settings(max_examples=60, deadline=None)
@given(STEPS, GAPS)
def test_a_history_that_begins_late_knows_the_same_of_now(steps: list[Step], gaps: list[int]) -> None:
    """Whoever was told everything and whoever was told what there is at the end agree on the end."""
    cluster, history = Cluster(), History()
    history.begin()
    history.synced(at(0))
    for step, gap in zip(steps, gaps, strict=False):
        cluster.now += gap / 2
        tell(history, cluster.play(step), cluster.now)
    late = History()
    late.begin()
    for item in history.objects():
        late.put(at(cluster.now), item)
    late.synced(at(cluster.now))
    now = cluster.now + 0.25
    one, other = Read(late.snapshot()), Read(history.snapshot())
    for ip in IPS:
        assert one.holder(ip, now) == other.holder(ip, now)
    for number in range(len(NAMES)):
        vip = f"10.96.0.{number + 1}"
        assert one.dialled(vip, now) == other.dialled(vip, now)
    assert late.snapshot().ranges.equals(history.snapshot().ranges)
    assert late.snapshot().objects == history.snapshot().objects


MEMBERS = ("x", "y", "z")
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(("pod", "host pod", "node", "owner", "service", "slice")),
        st.sampled_from(MEMBERS),
        st.sampled_from(("put", "delete")),
        st.integers(0, 3),
    ),
    max_size=40,
)


def thing(kind: str, name: str, variant: int) -> Resource:
    """One of four forms of an object; other forms have other addresses, labels, owners, ports."""
    number = MEMBERS.index(name)
    match kind:
        case "pod":
            ip, over = (f"10.0.1.{variant}", "Running") if variant < 3 else ("10.0.1.9", "Failed")
            owner = ("ReplicaSet", MEMBERS[variant % 3])
            return pod(name, ip, labels={"v": str(variant % 2)}, owner=owner, on=f"node-{variant % 2}", phase=over)
        case "host pod":
            node = f"node-{number % 2}"
            return pod(f"h{name}", f"192.0.2.{number % 2}", on=node, host_network=True, port=50 + variant)
        case "node":
            ip = f"192.0.2.{number + 3 * (variant % 2)}"
            labels = {"topology.kubernetes.io/zone": f"z{variant // 2}", "role": str(variant)}
            addresses = [{"type": "InternalIP", "address": ip}]
            return made("v1", "Node", f"node-{number}", metadata={"labels": labels}, status={"addresses": addresses})
        case "owner":
            above = [{"kind": "Deployment", "name": f"d{variant}", "controller": True}]
            return made("apps/v1", "ReplicaSet", name, metadata={"namespace": "shop", "ownerReferences": above})
        case "service":
            ports = [{"port": 80, "nodePort": 30_000 + variant}, {"port": 81 + variant, "name": "more"}]
            return service(name, f"10.96.0.{variant % 2 + 2 * number}", type="NodePort", ports=ports)
        case _:
            return slices(name, *(f"10.0.1.{n}" for n in range(variant)))


def now_held(snapshot: Snapshot) -> dict[str, list[tuple[object, ...]]]:
    """What holds still, by names, without times."""
    return {
        name: sorted(tuple(value for value in row if not isinstance(value, int) or abs(value) < 2**60) for row in rows)
        for name, rows in described(snapshot, only_open=True).items()
    }


def is_spoken_of(item: Resource, objects: list[Resource]) -> bool:
    """Whether a pod is on this Node or owned by this ReplicaSet."""
    pods = [known for known in objects if isinstance(known, Pod)]
    owners = {owner.name for known in pods for owner in known.metadata.owner_references or []}
    nodes = {known.spec.node_name for known in pods}
    if isinstance(item, Node):
        return item.metadata.name in nodes
    return isinstance(item, ReplicaSet) and item.metadata.name in owners


@settings(max_examples=150, deadline=None)
@given(CHANGES, st.booleans())
def test_changes_of_all_kinds_in_any_order_end_where_a_first_listing_begins(
    changes: list[tuple[str, str, str, int]], forgets: bool
) -> None:
    """Also where ids are given anew all the time, and whatever endpoints late news had to replace.

    Nodes and owners go after their pods here: what they told of a pod is remembered as long as it is there.
    """
    history = History(keep_s=4 if forgets else 900)
    history.begin()
    history.synced(at(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_module, "_WORTH", 0)
        for number, (kind, name, op, variant) in enumerate(changes):
            item = thing(kind, name, variant)
            if op == "put":
                history.put(at(number), item)
            elif not is_spoken_of(item, history.objects()):
                version = {"ReplicaSet": "apps/v1", "EndpointSlice": "discovery.k8s.io/v1"}.get(item.kind, "v1")
                history.delete(at(number), version, item.kind, item.metadata.namespace or "", item.metadata.name)
            if forgets:
                history.mark(at(number))
    fresh = History()
    fresh.begin()
    for item in history.objects():
        fresh.put(at(99), item)
    fresh.synced(at(99))
    one, other = history.snapshot(), fresh.snapshot()
    assert now_held(one) == now_held(other)
    assert one.objects == other.objects
    assert one.ranges.equals(other.ranges)
    for number, subject in enumerate(one.subjects[: one.endpoints.height]):
        assert subject is None or subject.metadata.name == one.endpoints["name"][number]
