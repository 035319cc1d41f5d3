"""The plan of the lab's traffic: deterministic, complete, and honest about what enforcement changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.lab.cluster import MANIFESTS
from deploy.lab.objects import Cluster, load
from deploy.lab.scenarios import plan
from deploy.lab.workloads import dns

Jobs = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return load(MANIFESTS)


def actions(jobs: Jobs) -> list[dict[str, Any]]:
    return [action for job in jobs.values() for action in job["actions"]]


def test_same_seed_same_plan(cluster: Cluster) -> None:
    one, again = (json.dumps(plan(cluster, 30, 7, 1, enforced=True)) for _ in range(2))
    assert one == again
    assert one != json.dumps(plan(cluster, 30, 8, 1, enforced=True))


def test_every_scenario_in_a_short_run(cluster: Cluster) -> None:
    """Five seconds hold every scenario that thirty hold, and fewer actions."""
    short, long = (actions(plan(cluster, seconds, 1, 1, enforced=True)) for seconds in (5, 30))
    assert {a["scenario"] for a in short} == {a["scenario"] for a in long}
    assert len(short) < len(long) / 2


def test_everything_begins_within_the_run(cluster: Cluster) -> None:
    jobs = plan(cluster, 30, 1, 1, enforced=True)
    assert all(0 <= action["at"] < 30 for action in actions(jobs))
    assert all(job["actions"] == sorted(job["actions"], key=lambda a: float(a["at"])) for job in jobs.values())


def test_numbers_are_unique_over_runs(cluster: Cluster) -> None:
    numbers = [a["id"] for run in (1, 2) for a in actions(plan(cluster, 5, 1, run, enforced=True))]
    assert len(set(numbers)) == len(numbers)


def test_without_enforcement_nothing_is_denied(cluster: Cluster) -> None:
    """The same attempts, of which none is denied; what fails for other reasons stays untracked."""
    denied = actions(plan(cluster, 30, 1, 1, enforced=True))
    free = actions(plan(cluster, 30, 1, 1, enforced=False))
    assert [a["id"] for a in denied] == [a["id"] for a in free]
    assert {a["denied_by"] for a in free} == {None}
    assert {a["denied_by"] for a in denied} >= {"production/deny-all", "shop/web-netpol"}
    assert {a["scenario"] for a in free if not a["tracked"]} == {
        "no-endpoints",
        "no-such-service-port",
        "unused-address",
    }


def test_subsets_get_ninety_to_ten(cluster: Cluster) -> None:
    chosen = [a["mesh"]["subset"] for a in actions(plan(cluster, 30, 1, 1, enforced=True)) if a["scenario"] == "mesh"]
    assert chosen.count("v1") == 9 * chosen.count("v2") > 0


def test_lookup_messages_by_another_implementation() -> None:
    """What we ask is what scapy reads, and what scapy answers is what we read, aliases skipped."""
    from scapy.layers.dns import DNS, DNSQR, DNSRR

    asked = DNS(dns.question("partner-api.shop.svc.cluster.local", 4242))
    assert asked.id == 4242
    assert asked.qd[0].qname == b"partner-api.shop.svc.cluster.local."
    alias = DNSRR(rrname="a.example.", type="CNAME", rdata="b.example.")
    found = DNSRR(rrname="b.example.", type="A", rdata="203.0.113.10")
    message = bytes(DNS(id=4242, qr=1, qd=DNSQR(qname="a.example."), an=[alias, found]))
    assert dns.answer(message) == (0, ["203.0.113.10"])
    assert dns.answer(bytes(DNS(qr=1, rcode=3, qd=DNSQR(qname="a.example.")))) == (dns.NXDOMAIN, [])
