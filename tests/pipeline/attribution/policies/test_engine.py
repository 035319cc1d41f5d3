"""The engine against an oracle that takes one connection and one rule at a time."""

from __future__ import annotations

import os
from typing import Any

import polars as pl
import pytest

from pipeline.attribution.offline import attribute_rows
from pipeline.attribution.policies import compile_policies
from pipeline.inventory import snapshot
from pipeline.inventory.models import convert
from tests.pipeline.attribution.policies.clusters import NAMESPACES, Draw
from tests.pipeline.attribution.policies.oracle import Answer, End, Oracle

SETS = int(os.environ.get("FLOWATLAS_POLICY_SETS", "300"))
"""How many random policy sets are tried; set it to 10,000 for the long run."""
BLOCK = 50


def judged(drawn: Draw, connections: list[tuple[End, End, str, int]]) -> list[dict[str, Any]]:
    objects = [convert(item["apiVersion"], item["kind"], item) for item in drawn.objects()]
    cluster = snapshot.build(objects)
    rows = pl.DataFrame(
        [(src.ip, dst.ip, protocol, port) for src, dst, protocol, port in connections],
        schema={"src_ip": pl.String, "dst_ip": pl.String, "protocol": pl.String, "dst_port": pl.Int64},
        orient="row",
    )
    return attribute_rows(rows, cluster, compile_policies(objects, cluster)).to_dicts()


def answer(side: dict[str, Any]) -> Answer:
    return Answer(side["verdict"], [tuple(policy.values()) for policy in side["policies"]])


@pytest.mark.parametrize("block", range((SETS + BLOCK - 1) // BLOCK))
def test_verdicts_and_responsible_policies_are_those_of_the_oracle(block: int) -> None:
    for seed in range(block * BLOCK, min((block + 1) * BLOCK, SETS)):
        drawn = Draw(seed)
        oracle = Oracle({name: labels for name, labels in NAMESPACES.items() if name != "z"}, drawn.policies)
        connections = drawn.connections(60)
        for connection, row in zip(connections, judged(drawn, connections), strict=True):
            sides = {
                "egress": oracle.side("egress", *connection),
                "ingress_policy": oracle.side("ingress", *connection),
            }
            for column, expected in sides.items():
                assert answer(row[column]) == expected, (seed, connection, column)
            is_denied = any(expected.verdict == "denied" for expected in sides.values())
            assert row["verdict"] == ("denied" if is_denied else "allowed")
