"""What counts as a mismatch, what does not, and that a connection is marked once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from collector.schema import OUTCOMES
from pipeline.attribution.confidence import REASON
from pipeline.attribution.policies import PolicyTimeline
from pipeline.attribution.policies.mismatches import MismatchFinder
from pipeline.attribution.roles import ROLES
from pipeline.inventory import snapshot
from pipeline.inventory.addresses import parse
from pipeline.inventory.history import History, PolicyEpoch
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.snapshot import Snapshot
from pipeline.inventory.spans import BEGINNING
from tests.pipeline.inventory.objects import node, pod

SECOND = 1_000_000_000
AT = 1_000 * SECOND
"""When the flows of these tests begin."""
IPS = {"n1": "192.0.2.1", "n2": "192.0.2.2", "a": "10.0.0.1", "b": "10.0.0.2", "outside": "203.0.113.9"}
BODIES: list[Resource] = [
    node("n1", IPS["n1"]),
    node("n2", IPS["n2"]),
    pod("a", IPS["a"], on="n1", labels={"app": "a"}),
    pod("b", IPS["b"], on="n2", labels={"app": "b"}),
]


def policy(name: str, app: str) -> Resource:
    """Nobody may come into the pods of an app."""
    spec = {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"]}
    body = {"kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}
    return convert("networking.k8s.io/v1", "NetworkPolicy", body)


def flow(src: str, dst: str, outcome: str, **values: Any) -> dict[str, Any]:
    hi, lo = parse(IPS[src])
    backend_hi, backend_lo = parse(IPS[dst])
    row = {
        "src": src,
        "dst": dst,
        "src_hi": hi,
        "src_lo": lo,
        "nat_src_hi": hi,
        "nat_src_lo": lo,
        "backend_hi": backend_hi,
        "backend_lo": backend_lo,
        "backend_port": 80,
        "protocol": 6,
        "node": "n1",
        "flow_id": 1,
        "start": AT,
        "time": AT + SECOND,
        "outcome": OUTCOMES.index(outcome),
        "reply_packets": 0,
        "role": "canonical",
        "reason": "",
    }
    return row | values


DTYPES: dict[str, pl.DataType] = {
    "backend_port": pl.UInt16(),
    "protocol": pl.UInt8(),
    "outcome": pl.UInt8(),
    "flow_id": pl.UInt64(),
    "src_id": pl.UInt32(),
    "dst_id": pl.UInt32(),
    **{f"{end}_{half}": pl.UInt64() for end in ("src", "nat_src", "backend") for half in ("hi", "lo")},
    "reason": REASON,
    "role": ROLES,
    "node": pl.Categorical(),
}


class Seen:
    """Marks rows under one cluster and its policies."""

    def __init__(self, *epochs: tuple[int, list[Resource]], cluster: Snapshot | None = None) -> None:
        self.cluster = cluster or snapshot.build(BODIES)
        self.policies = PolicyTimeline()
        self.policies.use(self.cluster, [PolicyEpoch(since, tuple(objects)) for since, objects in epochs])
        self.finder = MismatchFinder(self.policies)

    def marks(self, *rows: dict[str, Any]) -> list[str | None]:
        names = self.cluster.endpoints["name"].to_list()
        ids = [{f"{end}_id": self._id(names, row[end]) for end in ("src", "dst")} for row in rows]
        frame = pl.DataFrame(list(rows)).drop("src", "dst").hstack(pl.DataFrame(ids))
        frame = frame.with_columns(pl.col(name).cast(dtype) for name, dtype in DTYPES.items())
        return self.finder.marks(frame, self.policies.say(frame), self.cluster).to_list()

    @staticmethod
    def _id(names: list[str], end: str | int) -> int:
        return names.index(end) if isinstance(end, str) else end


@pytest.fixture
def denied() -> Seen:
    return Seen((BEGINNING, [policy("no-b", "b")]))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (flow("a", "b", "closed"), "established_denied"),
        (flow("a", "b", "reset"), "established_denied"),
        (flow("a", "b", "open", reply_packets=1), "established_denied"),
        (flow("a", "b", "open", reply_packets=1, protocol=17), "established_denied"),
        (flow("outside", "b", "closed"), "established_denied"),
        (flow("n1", "b", "closed"), "established_denied"),
        (flow("n2", "b", "closed"), None),  # a node may always speak to its own pods
        (flow("a", "b", "open"), None),  # nothing came back yet
        (flow("a", "b", "refused"), None),  # that is how some dataplanes deny
        (flow("a", "b", "no_reply"), None),
        (flow("a", "b", "closed", role="observer"), None),
        (flow("a", "b", "closed", reason="before_status"), None),
        (flow("a", "b", "closed", reason="ambiguous_address"), None),
        (flow("a", "b", "closed", reason="backend_only"), "established_denied"),
        (flow("b", "a", "closed"), None),  # the other way is allowed
        (flow("b", "a", "no_reply"), "dropped_allowed"),
        (flow("b", "a", "no_reply", protocol=132), "dropped_allowed"),
        (flow("b", "a", "no_reply", protocol=17), None),  # silence is no sign in UDP
        (flow("b", "a", "refused"), None),  # it came to the pod, where nobody listens
        (flow("b", "outside", "no_reply"), None),
        (flow("b", "n1", "no_reply"), None),
        (flow("b", "a", "no_reply", reason="before_status"), None),
    ],
)
def test_outcome_and_verdict(denied: Seen, row: dict[str, Any], expected: str | None) -> None:
    assert denied.marks(row) == [expected]


def test_a_connection_is_marked_once_however_many_rows_it_has(denied: Seen) -> None:
    first = flow("a", "b", "open", reply_packets=1)
    later = flow("a", "b", "open", reply_packets=5)
    last = flow("a", "b", "closed", reply_packets=1)
    other = flow("a", "b", "closed", flow_id=2)
    assert denied.marks(first, later) == ["established_denied", None]
    assert denied.marks(later, other) == [None, "established_denied"]
    assert denied.marks(last) == [None]
    assert denied.marks(first) == ["established_denied"], "the number is used anew after the end"


def test_near_a_change_of_the_policies_that_judge_it_nothing_is_a_mismatch() -> None:
    rows = [flow("a", "b", "closed", start=AT + after * SECOND, flow_id=n) for n, after in enumerate((-30, -5, 5, 30))]
    assert Seen((BEGINNING, []), (AT, [policy("no-b", "b")])).marks(*rows) == [None, None, None, "established_denied"]
    dropped = [{**row, "outcome": OUTCOMES.index("no_reply")} for row in rows]
    assert Seen((BEGINNING, []), (AT, [policy("no-b", "b")])).marks(*dropped) == ["dropped_allowed", None, None, None]


def test_a_change_of_policies_that_do_not_judge_it_excuses_nothing() -> None:
    both = [policy("no-b", "b"), policy("no-c", "c")]
    seen = Seen((BEGINNING, both[:1]), (AT, both))
    assert seen.marks(flow("a", "b", "closed", start=AT + SECOND)) == ["established_denied"]


def behind(node_ip: str) -> dict[str, int]:
    """The columns of a source that a node masqueraded."""
    hi, lo = parse(node_ip)
    return {"nat_src_hi": hi, "nat_src_lo": lo}


def let_in(name: str, cidr: str) -> Resource:
    """Who is of a range may come into the pods of `b`, and nobody else."""
    rules = [{"from": [{"ipBlock": {"cidr": cidr}}]}]
    spec = {"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Ingress"], "ingress": rules}
    body = {"kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}
    return convert("networking.k8s.io/v1", "NetworkPolicy", body)


def test_behind_a_node_that_masquerades_both_sources_must_be_denied(denied: Seen) -> None:
    """The API leaves open whether policies see the client or the node; a pod's own node is let in always."""
    through = [flow("outside", "b", "closed", flow_id=n, **behind(IPS[f"n{n}"])) for n in (1, 2)]
    assert denied.marks(*through) == ["established_denied", None]
    nodes = Seen((BEGINNING, [let_in("nodes", "192.0.2.1/32")]))
    assert nodes.marks(through[0], flow("outside", "b", "closed", flow_id=3)) == [None, "established_denied"]
    clients = Seen((BEGINNING, [let_in("clients", "203.0.113.0/24")]))
    dropped = [{**row, "outcome": OUTCOMES.index("no_reply")} for row in through]
    assert clients.marks(*dropped) == [None, "dropped_allowed"]


def test_who_is_denied_on_the_way_out_is_denied_behind_any_node() -> None:
    spec = {"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"]}
    body = {"kind": "NetworkPolicy", "metadata": {"name": "no-way-out", "namespace": "shop"}, "spec": spec}
    seen = Seen((BEGINNING, [convert("networking.k8s.io/v1", "NetworkPolicy", body)]))
    assert seen.marks(flow("a", "b", "closed", **behind(IPS["n1"]))) == ["established_denied"]


def test_near_a_change_of_labels_that_judge_it_nothing_is_a_mismatch() -> None:
    """A dataplane follows a pod's labels no faster than a policy; other labels excuse nothing."""

    def became(app: str, **more: str) -> Snapshot:
        history = History()
        history.begin()
        for item in BODIES:
            history.put(0, item)
        history.synced(0)
        history.put(AT, pod("b", IPS["b"], on="n2", labels={"app": app, **more}))
        return history.snapshot()

    rows = [flow("a", "b", "closed", start=AT + after * SECOND, flow_id=n) for n, after in enumerate((-30, -5, 5, 30))]

    def marks(cluster: Snapshot, app: str) -> list[str | None]:
        ids = cluster.endpoints.filter(name="b")["id"].to_list()
        seen = Seen((BEGINNING, [policy("no", app)]), cluster=cluster)
        return seen.marks(*({**row, "dst": ids[row["start"] >= AT]} for row in rows))

    assert marks(became("c"), "c") == [None, None, None, "established_denied"]
    assert marks(became("c"), "b") == ["established_denied", None, None, None]
    assert marks(became("b", more="labels"), "b") == ["established_denied"] * 4


def test_a_pod_that_came_just_now_or_went_meanwhile_dropped_nothing() -> None:
    cluster = snapshot.build(BODIES)

    def held(since: int, until: int) -> Snapshot:
        is_a = pl.col("endpoint_id") == cluster.endpoints["name"].to_list().index("a")
        return replace(
            cluster,
            addresses=cluster.addresses.with_columns(
                pl.when(is_a).then(pl.lit(since)).otherwise("since").alias("since"),
                pl.when(is_a).then(pl.lit(until)).otherwise("until").alias("until"),
            ),
        )

    row = flow("b", "a", "no_reply", time=AT + 60 * SECOND)
    never = 1 << 62
    for since, until, expected in (
        (AT - 60 * SECOND, never, "dropped_allowed"),
        (AT - 3 * SECOND, never, None),
        (AT - 60 * SECOND, AT + 30 * SECOND, None),
    ):
        assert Seen((BEGINNING, []), cluster=held(since, until)).marks(row) == [expected]


@pytest.mark.parametrize(
    ("api_version", "kind", "namespace", "is_said"),
    [
        ("cilium.io/v2", "CiliumNetworkPolicy", "shop", False),  # Cilium lets through what either kind allows
        ("crd.projectcalico.org/v1", "GlobalNetworkPolicy", None, False),  # Calico asks it first, by its order
        ("cilium.io/v2", "CiliumNetworkPolicy", "elsewhere", True),
        ("security.istio.io/v1", "AuthorizationPolicy", "shop", True),  # a proxy sees what came through alone
    ],
)
def test_where_a_policy_that_is_not_judged_may_know_better_nothing_is_a_mismatch(
    api_version: str, kind: str, namespace: str | None, is_said: bool
) -> None:
    strange = convert(api_version, kind, {"kind": kind, "metadata": {"name": "x", "namespace": namespace}})
    to_b = {"podSelector": {"matchLabels": {"app": "b"}}, "ingress": [{}]}
    let_in = {"kind": "NetworkPolicy", "metadata": {"name": "let-in", "namespace": "shop"}, "spec": to_b}
    allowed = Seen((BEGINNING, [convert("networking.k8s.io/v1", "NetworkPolicy", let_in), strange]))
    assert allowed.marks(flow("a", "b", "no_reply")) == ["dropped_allowed" if is_said else None]
    denied = Seen((BEGINNING, [policy("no-b", "b"), strange]))
    assert denied.marks(flow("a", "b", "closed")) == ["established_denied" if is_said else None]


def test_what_is_not_judged_is_no_drop_of_what_is_allowed() -> None:
    strange = convert("cilium.io/v2", "CiliumNetworkPolicy", {"kind": "CiliumNetworkPolicy", "metadata": {"name": "x"}})
    assert Seen((BEGINNING, [])).marks(flow("b", "a", "no_reply")) == ["dropped_allowed"]
    assert Seen((BEGINNING, [strange])).marks(flow("b", "a", "no_reply")) == [None]
