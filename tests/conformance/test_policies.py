"""The policy engine against cases that other projects wrote: every check through objects, snapshot and flows.

Scores are printed by file and provenance. A difference that the API's text explains would be listed in EXPLAINED.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from pipeline.attribution.offline import attribute_rows
from pipeline.attribution.policies import compile_policies
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert

EXPLAINED: Final[Mapping[str, str]] = {}
"""Case name to the API's text that it contradicts. There is none."""

Case = dict[str, Any]
POLICY_KEYS: Final = ("kind", "namespace", "name", "rule", "effect", "near_miss_rule")


def objects(case: Case) -> list[Resource]:
    """The case's cluster as Kubernetes objects; a hostNetwork pod's address is its node's."""
    found = [convert("v1", "Namespace", {"kind": "Namespace", "metadata": item}) for item in case["namespaces"]]
    nodes = {item["name"]: item for item in case.get("nodes", [])}
    for pod in case["pods"]:
        if pod.get("hostNetwork") and "nodeName" in pod:
            nodes.setdefault(pod["nodeName"], {"name": pod["nodeName"], "labels": {}, "ip": pod["ip"]})
        found.append(
            convert(
                "v1",
                "Pod",
                {
                    "kind": "Pod",
                    "metadata": {"name": pod["name"], "namespace": pod["namespace"], "labels": pod["labels"]},
                    "spec": {
                        "hostNetwork": pod.get("hostNetwork", False),
                        "nodeName": pod.get("nodeName"),
                        "containers": [
                            {
                                "ports": [
                                    {"name": p["name"], "containerPort": p["port"], "protocol": p["protocol"]}
                                    for p in pod["ports"]
                                ]
                            }
                        ],
                    },
                    "status": {"phase": "Running", "podIP": pod["ip"]},
                },
            )
        )
    for node in nodes.values():
        metadata = {"name": node["name"], "labels": node["labels"]}
        status = {"addresses": [{"type": "InternalIP", "address": node["ip"]}]}
        found.append(convert("v1", "Node", {"kind": "Node", "metadata": metadata, "status": status}))
    return [*found, *(convert(item["apiVersion"], item["kind"], item) for item in case["policies"])]


def judged(case: Case, checks: list[Case]) -> Iterator[tuple[Case, Case]]:
    """Each check and what the engine says of it."""
    ips = {(pod["namespace"], pod["name"]): pod["ip"] for pod in case["pods"]}

    def ip(end: Mapping[str, str]) -> str:
        return end["ip"].partition("/")[0] if "ip" in end else ips[end["namespace"], end["pod"]]

    rows = pl.DataFrame(
        [(ip(c["src"]), ip(c["dst"]), c["port"], c["protocol"]) for c in checks],
        schema={"src_ip": pl.String, "dst_ip": pl.String, "dst_port": pl.Int64, "protocol": pl.String},
        orient="row",
    )
    resources = objects(case)
    cluster = snapshot.build(resources)
    answers = attribute_rows(rows, cluster, compile_policies(resources, cluster))
    return zip(checks, answers.iter_rows(named=True), strict=True)


def differences(check: Case, answer: Case) -> list[str]:
    """What the engine says otherwise: verdicts first, then who is responsible."""
    found = []
    sides = {"egress": answer["egress"], "ingress": answer["ingress_policy"]}
    if (answer["verdict"] == "allowed") != check["allowed"]:
        found.append("verdict")
    for direction, side in sides.items():
        if f"{direction}_allowed" in check and (side["verdict"] != "denied") != check[f"{direction}_allowed"]:
            found.append(f"{direction} verdict")
        if direction in check:
            expected = check[direction]
            if (side["verdict"] == "denied") != (expected["verdict"] == "denied"):
                found.append(f"{direction} verdict")
            if named(side["policies"]) != named(expected["policies"]):
                found.append(f"{direction} policies")
    return found


def named(policies: list[Case]) -> list[tuple[str | None, ...]]:
    """Policies as comparable rows; a rule's place among the rules is text."""
    return sorted(
        (tuple(None if p.get(key) is None else str(p[key]) for key in POLICY_KEYS) for p in policies),
        key=lambda row: [value or "" for value in row],
    )


@pytest.mark.parametrize("file", ["netpol_cases.json", "anp_cases.json", "attribution_cases.json"])
def test_every_check_agrees(file: str, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    total: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    wrong: defaultdict[str, list[str]] = defaultdict(list)
    for case in json.loads((corpus / file).read_text()):
        checks = case.get("checks", case.get("attributions"))
        for check, answer in judged(case, checks):
            total[case["provenance"]] += 1
            found = differences(check, answer)
            agreed[case["provenance"]] += not found
            if found and case["name"] not in EXPLAINED:
                wrong[case["name"]].append(f"{found}: {check} but {answer}")
    with capsys.disabled():
        for provenance, count in sorted(total.items()):
            print(f"\n{file} {provenance}: {agreed[provenance]} of {count} checks agree", end="")  # noqa: T201  # the score
    assert total
    assert not wrong, f"{len(wrong)} cases, such as " + "\n".join(found[0] for found in wrong.values())
