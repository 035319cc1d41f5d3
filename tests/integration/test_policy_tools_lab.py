"""What the policy tools say of recorded traffic, against what happens when the lab's kernels enforce it.

One run of the lab is recorded through collectors and pipeline with nothing enforced. Then the same plan of traffic runs
twice more: under a deny-all of one namespace, and under the policies that were suggested. Needs root.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from deploy.lab import needs
from deploy.lab.cluster import MANIFESTS, Lab
from pipeline.attribution.policies import compile_policies
from pipeline.cli.main import main
from pipeline.inventory import manifests, snapshot
from pipeline.policy.ends import judged
from pipeline.policy.record import record_of
from pipeline.policy.whatif import CUT, changed_pairs
from pipeline.query import scan_flows
from tests.integration.demo_runs import TRAFFIC_S, DemoRuns
from tests.integration.nft_policies import objects, ruleset

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(needs.missing()), reason="; ".join(needs.missing()))]

DEBUGGER = "netshoot"
NAMESPACES = ("app-namespace", "ingress-nginx", "monitoring", "production", "shop")
DENY_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny-all", "namespace": "production"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
}

PLANNED = re.compile(r"\d+-\d{5}(-dns)?")
"""Ids of what the plan holds, and of the look-ups before it."""

Row = dict[str, Any]
Truth = Mapping[str, Row]


@dataclass(frozen=True)
class Recorded:
    """The run without enforcement: where its history is, and its truth by the connection's id."""

    lake: Path
    truth: Truth


@pytest.fixture(scope="module")
def recorded(demo_runs: DemoRuns) -> Recorded:
    output = demo_runs("none", "conntrack").output
    lines = (output / "lab" / "truth.jsonl").read_text().splitlines()
    return Recorded(output / "lake", by_id([json.loads(line) for line in lines]))


def by_id(rows: list[Row]) -> Truth:
    """The connections of the plan; what proxies open on their own has no id that is the same in the next run."""
    return {row["id"]: row for row in rows if PLANNED.fullmatch(row["id"])}


def enforced(folder: Path, policies: list[dict[str, Any]]) -> Truth:
    """The truth of the same plan under these policies and no others."""
    with Lab(folder, enforce="none", rules=ruleset(policies, objects(MANIFESTS))) as lab:
        lab.traffic(TRAFFIC_S)
        return by_id(lab.truth())


def without_policies(folder: Path, namespace: str) -> Path:
    """The lab's manifests, but for the NetworkPolicies of a namespace."""
    shutil.copytree(MANIFESTS, folder)
    for path in folder.glob("*.yaml"):
        kept = [
            item
            for item in yaml.safe_load_all(path.read_text())
            if item and not (item["kind"] == "NetworkPolicy" and item["metadata"]["namespace"] == namespace)
        ]
        path.write_text(yaml.safe_dump_all(kept))
    return folder


def test_a_what_if_of_deny_all_predicts_exactly_what_then_fails(recorded: Recorded, tmp_path: Path) -> None:
    state = without_policies(tmp_path / "state", "production")
    resources, refusals = manifests.load(state)
    assert refusals == []
    (tmp_path / "deny-all.yaml").write_text(yaml.safe_dump(DENY_ALL))
    denials, _ = manifests.load(tmp_path / "deny-all.yaml")
    cluster = snapshot.build(resources)
    known = judged(record_of(scan_flows(recorded.lake)).pairs, cluster)
    changed = changed_pairs(
        known.pairs, compile_policies(resources, cluster), compile_policies([*resources, *denials], cluster)
    )
    assert set(changed["change"].to_list()) == {CUT}
    cut = {(row["source_name"], row["destination_name"], row["port"], row["protocol"]) for row in changed.to_dicts()}

    then = enforced(tmp_path / "lab", [DENY_ALL])

    assert then.keys() == recorded.truth.keys()
    failed = {
        number
        for number, row in recorded.truth.items()
        if row["outcome"] != then[number]["outcome"] and then[number]["outcome"] == "no_reply"
    }
    predicted = {number for number, row in recorded.truth.items() if row["backend"] and pair_of(row) in cut}
    assert len(failed) > 10
    assert predicted == failed
    assert {row["scenario"] for number, row in recorded.truth.items() if number in failed} >= {
        "database",
        "headless",
        "denied-egress",
        "denied-ingress",
    }
    known_places = ["--state", str(state), "--lake", str(recorded.lake)]
    assert main(["policy", "whatif", *known_places, "-f", str(tmp_path / "deny-all.yaml"), "--fail-on-deny"]) == 1


def pair_of(row: Row) -> tuple[str, str, int, int]:
    """A connection of the truth as the record names it: all beyond the cluster is `outside` there."""
    backend = row["backend"]
    who, whom = (end.get("pod", "outside") for end in (row["client"], backend))
    return who, whom, backend["port"], row["protocol"]


def test_suggested_policies_break_nothing_and_cut_the_debug_pod(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [argument for namespace in NAMESPACES for argument in ("-n", namespace)]
    asked += ["--state", str(MANIFESTS), "--lake", str(recorded.lake), "--deny-all"]
    status = main(["policy", "suggest", *asked, "--exclude", f"default/{DEBUGGER}", "--include", "no_reply/udp"])
    text = capsys.readouterr().out
    assert status == 0
    assert "replayed: 0 recorded legitimate connections cut" in text

    then = enforced(tmp_path / "lab", list(yaml.safe_load_all(text)))

    assert then.keys() == recorded.truth.keys()
    legitimate = {
        number
        for number, row in recorded.truth.items()
        if row["client"].get("pod") != DEBUGGER and not row["scenario"].startswith("denied-")
    }
    certain = legitimate & all_of_it_recorded(recorded.truth)
    assert len(certain) > 100
    broken = [then[number] for number in certain if then[number]["outcome"] != recorded.truth[number]["outcome"]]
    assert broken == []
    unwanted = {
        number: row
        for number, row in recorded.truth.items()
        if number not in legitimate and row["outcome"] in {"closed", "reset", "refused"} and is_guarded(row)
    }
    assert {row["client"].get("pod") for row in unwanted.values()} >= {DEBUGGER}
    assert len(unwanted) > 20
    passed = {row["scenario"] for number, row in unwanted.items() if then[number]["outcome"] != "no_reply"}
    assert passed == set()


def all_of_it_recorded(truth: Truth) -> set[str]:
    """The connections to no Service, or to one that led this client from here to each of its backends at least once.

    Others may be led, by the kernel's dice, to a backend to which the record knows no way.
    """

    def client(row: Row) -> tuple[str, str, int, int]:
        """Who dials what: the node that is dialled decides how a backend sees the client."""
        return json.dumps(row["client"]), row["dst_ip"], row["dst_port"], row["protocol"]

    reached, backends = defaultdict[Any, set[str]](set), defaultdict[str, set[str]](set)
    for row in truth.values():
        if row["service"] and row["backend"]:
            backend = json.dumps(row["backend"])
            reached[client(row)].add(backend)
            backends[json.dumps(row["service"])].add(backend)
    return {
        number
        for number, row in truth.items()
        if not row["service"] or reached[client(row)] == backends[json.dumps(row["service"])]
    }


def is_guarded(row: Row) -> bool:
    """Whether a connection led to or from a namespace with suggested policies, unhidden by a node's masquerading.

    What a pod sends to a node port or a load balancer comes from the node, and a node that reaches its own pod is
    always let through.
    """
    if row["scenario"] in {"node-port-from-pod", "load-balancer-from-pod", "host-to-own-guarded-pod"}:
        return False
    ends = (row["client"], row["backend"] or {})
    return any(end.get("namespace") in NAMESPACES for end in ends)


def test_the_record_is_of_this_traffic(recorded: Recorded) -> None:
    """Else the proofs above would be of nothing."""
    flows = scan_flows(recorded.lake).filter(pl.col("role") == "canonical").collect()
    assert flows["opened"].cast(pl.Int64).sum() > 200
