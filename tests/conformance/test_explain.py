"""`flowatlas explain` against the engine on cases that other projects wrote: one conclusion, and the near misses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.attribution.policies import compile_policies
from pipeline.attribution.policies.terms import Direction
from pipeline.inventory import snapshot
from pipeline.inventory.addresses import parse
from pipeline.policy.parties import namespaces_of, party_of
from pipeline.policy.walk import Question, SideWalk, walk
from tests.conformance.test_policies import Case, named, objects
from tests.pipeline.policy.pairs import pairs_of

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
MOST = 25
"""Checks of one case that are walked; the attribution cases are walked whole."""
SIDES: tuple[tuple[Direction, str], ...] = (("egress", "egress"), ("ingress", "ingress_policy"))


@pytest.mark.parametrize("file", ["netpol_cases.json", "anp_cases.json", "attribution_cases.json"])
def test_every_walk_concludes_as_the_engine_does(file: str, corpus: Path) -> None:
    walked = near_misses = 0
    for case in json.loads((corpus / file).read_text()):
        checks = case.get("attributions") or sample(case["checks"])
        resources = objects(case)
        cluster = snapshot.build(resources)
        policies = compile_policies(resources, cluster)
        namespaces = namespaces_of(resources)
        asked = [(ip(case, c["src"]), ip(case, c["dst"]), PROTOCOLS[c["protocol"]], c["port"]) for c in checks]
        pairs = pairs_of(cluster, asked)
        answers = policies.judge(pairs).to_dicts()
        for check, (src, dst, protocol, port), pair, answer in zip(
            checks, asked, pairs.to_dicts(), answers, strict=True
        ):
            question = Question(
                party_of(cluster, pair["src_id"], parse(src), namespaces),
                party_of(cluster, pair["dst_id"], parse(dst), namespaces),
                protocol,
                port,
            )
            for direction, column in SIDES:
                told = walk(policies, direction, question)
                walked += 1
                assert (told.verdict, told.policies) == (answer[column]["verdict"], answer[column]["policies"]), check
                if direction in check:
                    expected = check[direction]["policies"]
                    assert named(told.policies) == named(expected), check
                    near_misses += sum(policy.get("near_miss_rule") is not None for policy in expected)
                    assert_near_misses_in_words(told)
    assert walked > 400
    assert (near_misses > 0) == (file == "attribution_cases.json")


def assert_near_misses_in_words(told: SideWalk) -> None:
    """A near miss by the port alone is told: the peer that fits, and the port that does not."""
    for step in told.steps:
        if step.near_miss_rule is not None:
            (rule,) = [rule for rule in step.rules if rule.label == step.near_miss_rule]
            assert rule.peer.met
            assert not rule.port.met
            assert rule.port.why


def sample(checks: list[Case]) -> list[Case]:
    """Some checks from all over a case."""
    return checks[:: max(1, len(checks) // MOST)]


def ip(case: Case, end: Case) -> str:
    if "ip" in end:
        return str(end["ip"]).partition("/")[0]
    (found,) = {p["ip"] for p in case["pods"] if (p["namespace"], p["name"]) == (end["namespace"], end["pod"])}
    return str(found)
