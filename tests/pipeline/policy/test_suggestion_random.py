"""What is suggested for random clusters, whatever guards them already, cuts nothing legitimate that was recorded."""

from __future__ import annotations

import random

import polars as pl
import pytest

from pipeline.attribution import offline
from pipeline.attribution.policies import Policies, compile_policies
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.snapshot import Snapshot
from pipeline.policy import behind, legitimate
from pipeline.policy.ends import judged
from pipeline.policy.files import history_like
from pipeline.policy.record import record_of
from pipeline.policy.replay import replay, without
from pipeline.policy.suggestion import suggest
from pipeline.policy.whatif import changed_pairs
from tests.pipeline.attribution.policies.clusters import NODE_IPS, Draw

INCLUDED = ((), ("denied",), ("no_reply",))
MASQUERADERS = (*NODE_IPS.values(), "192.0.2.77")
NAMESPACES = (("x",), ("x", "y", "z"), ("y",))


def resources(draw: Draw, drawn: random.Random) -> list[Resource]:
    """The cluster's objects; most pods belong to one of a few workloads, some of them called alike."""
    for pod in draw.pods:
        owner = {
            "kind": drawn.choice(("StatefulSet", "DaemonSet")),
            "name": drawn.choice(("a", "b")),
            "controller": True,
        }
        pod["metadata"]["ownerReferences"] = [owner] if drawn.random() < 0.8 else []
    if drawn.random() < 0.4:
        draw.policies = []
    return [convert(item["apiVersion"], item["kind"], item) for item in draw.objects()]


def recorded(draw: Draw, drawn: random.Random, known: Snapshot) -> pl.DataFrame:
    """Pairs of a record in which every third connection over IPv4 was masqueraded by a node."""
    flows = [
        (src.ip, dst.ip, protocol, port, drawn.choice(("open", "closed", "no_reply", "refused")))
        for src, dst, protocol, port in draw.connections(60)
        if (":" in src.ip) == (":" in dst.ip)
    ]
    columns = ["src_ip", "dst_ip", "protocol", "dst_port", "outcome"]
    rows = pl.DataFrame(flows, schema=columns, schema_overrides={"dst_port": pl.Int64}, orient="row")
    is_behind = (pl.int_range(pl.len()) % 3 == 0) & ~pl.col("src_ip").str.contains(":")
    seen = pl.when(is_behind).then(pl.lit(drawn.choice(MASQUERADERS))).otherwise("src_ip")
    history = history_like(offline.attribute_rows(rows, known)).with_columns(nat_src_ip=seen)
    return judged(record_of(history).pairs, known).pairs


@pytest.mark.parametrize("seed", range(25))
def test_what_is_suggested_cuts_nothing_legitimate(seed: int) -> None:
    draw, drawn = Draw(seed), random.Random(seed)
    objects = resources(draw, drawn)
    known = snapshot.build(objects)
    today = compile_policies(objects, known)
    include, namespaces = drawn.choice(INCLUDED), drawn.choice(NAMESPACES)
    pairs = legitimate.sorted_out(recorded(draw, drawn, known), today, include)
    whole = behind.with_others_behind(pairs, known, today, include)
    suggested = [policy for namespace in namespaces for policy in suggest(known, whole, namespace)]
    names = [(policy.namespace, policy.name) for policy in suggested]
    assert len(set(names)) == len(names)
    result = replay(objects, known, pairs, suggested)
    assert result.cut.is_empty()
    wanted = pairs.filter(pl.col("left_out").is_null())
    assert result.passed + result.denied_still["counted"].sum() == wanted["counted"].sum()

    added = [convert(item.manifest["apiVersion"], "NetworkPolicy", item.manifest) for item in suggested]
    kept = without({policy.namespace for policy in suggested}, objects)
    for beside in (kept, objects):
        assert is_cut(wanted, today, compile_policies([*beside, *added], known)).is_empty()


def is_cut(pairs: pl.DataFrame, before: Policies, after: Policies) -> pl.DataFrame:
    return changed_pairs(pairs, before, after).filter(change="cut")
