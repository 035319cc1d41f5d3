"""Policies and one pod: which select it, what they deny of what was tried, and what goes against them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

import polars as pl

from ..attribution.offline import NOW
from ..attribution.policies.terms import Direction
from ..inventory.addresses import parse
from ..inventory.models import Pod
from ..policy.explanation import Dialled, Explanation, explain
from ..policy.parties import Party, namespaces_of, party_of
from ..policy.wording import selects
from .evidence import VIRTUAL, Evidence, counted, full
from .finding import Finding

CHECK: Final = "policies"
_SHOWN: Final = 5
_ENDS: Final = tuple(f"{side}_{part}" for side in ("source", "destination") for part in ("namespace", "workload"))


def policies_of_pod(evidence: Evidence) -> Iterator[Finding]:
    """Of the pod that is asked about, which policies select it, a note a direction; nothing where none is asked."""
    party = _party(evidence)
    if party is None or evidence.pod is None:
        return
    policies = evidence.cluster.policies
    for direction in get_args(Direction):
        mine = [each for each in policies.written if each.direction == direction and selects(each.subject, party).met]
        named = [f"{each.kind} {full((each.namespace or '', each.name))}" for each in mine]
        strangers = [
            f"{each.kind} {full((each.namespace or '', each.name))} is not understood, so not judged"
            for each in policies.not_judged
            if each.may_apply(direction, party.namespace)
        ]
        yield Finding(
            CHECK,
            "note",
            party.text,
            f"{direction}: what selects it" if mine else f"{direction}: no policy selects it",
            (*dict.fromkeys(named), *strangers),
            _explain(evidence, direction),
        )


def denied(evidence: Evidence) -> Iterator[Finding]:
    """What policies denied of the pod's connections, by the other end and port, judged again under those of now.

    What an egress policy drops on its way to a Service is recorded without a verdict, since no backend was chosen: it
    is told where the policies of now deny it to every backend.
    """
    if evidence.pod is None:
        return
    namespace, name = evidence.pod
    is_end = pl.any_horizontal(
        (pl.col(f"{side}_namespace") == namespace) & (pl.col(f"{side}_name") == name)
        for side in ("source", "destination")
    )
    is_lost = (pl.col("verdict") == "") & pl.col("via").is_in(VIRTUAL) & (pl.col("backend_ip") == pl.col("dst_ip"))
    rows = (
        evidence.flows.filter(pl.col("role") == "canonical", (pl.col("verdict") == "denied") | is_lost, is_end)
        .group_by("verdict", *_ENDS, "backend_port", "protocol")
        .agg(
            opened=pl.col("opened").cast(pl.Int64).sum(),
            last=pl.col("time").max(),
            src_ip=pl.col("src_ip").last(),
            backend_ip=pl.col("backend_ip").last(),
        )
        .sort("opened", *_ENDS, "backend_port", descending=[True, *[False] * 5])
        .collect()
    )
    for row in rows.head(_SHOWN).iter_rows(named=True):
        source, destination = (
            (row[f"{side}_namespace"], row[f"{side}_workload"]) for side in ("source", "destination")
        )
        dialled = Dialled(row["src_ip"], row["backend_ip"], row["backend_port"], row["protocol"], NOW)
        explained = explain(evidence.cluster.objects, evidence.cluster.snapshot, evidence.cluster.policies, dialled)
        if not row["verdict"] and explained.verdict != "denied":
            continue
        yield Finding(
            CHECK,
            "warning",
            f"{full(source)} to {full(destination)} port {row['backend_port']}",
            f"policies denied {counted(row['opened'], 'connection')}",
            (f"the last at {row['last']:%Y-%m-%d %H:%M:%S} UTC", *_reasons(explained)),
            f"flowatlas explain --state {evidence.state} --from {row['src_ip']} --to {row['backend_ip']} "
            f"--port {row['backend_port']} --protocol {row['protocol']}",
        )


def mismatched(evidence: Evidence) -> Iterator[Finding]:
    """Connections that went against the policies: an error where they were established although denied."""
    rows = (
        evidence.flows.filter(pl.col("role") == "canonical", pl.col("mismatch") != "")
        .group_by("mismatch", *_ENDS, "backend_port")
        .agg(
            count=pl.struct("node", "flow_id").n_unique(),
            last=pl.col("time").max(),
            policies=pl.concat_list("egress_policies", "ingress_policies").explode().drop_nulls().unique().sort(),
        )
        .sort("mismatch", *_ENDS, "backend_port")
        .collect()
    )
    for row in rows.iter_rows(named=True):
        source, destination = (
            (row[f"{side}_namespace"], row[f"{side}_workload"]) for side in ("source", "destination")
        )
        if not evidence.is_asked(source, destination):
            continue
        is_open = row["mismatch"] == "established_denied"
        yield Finding(
            CHECK,
            "error" if is_open else "warning",
            f"{full(source)} to {full(destination)} port {row['backend_port']}",
            "established although policies deny it: nobody enforces them there"
            if is_open
            else "never answered although policies allow it and the pod was there",
            (
                f"{counted(row['count'], 'connection')}, the last at {row['last']:%Y-%m-%d %H:%M:%S} UTC",
                *(text.removesuffix("/") for text in row["policies"][:_SHOWN]),
            ),
            f"flowatlas policy mismatches --state {evidence.state} --lake {evidence.lake}",
        )


def _explain(evidence: Evidence, direction: Direction) -> str:
    ends = {"egress": ("--from", "--to"), "ingress": ("--to", "--from")}[direction]
    pod = full(evidence.pod or ("", ""))
    return f"flowatlas explain --state {evidence.state} {ends[0]} {pod} {ends[1]} NS/NAME --port PORT"


def _reasons(explained: Explanation) -> list[str]:
    """Why the policies of now deny it, or that they do not."""
    sides = [side for judged in explained.backends for side in (judged.egress, judged.ingress)]
    told = [f"{side.direction}: {side.why}" for side in sides if side.verdict == "denied"]
    return list(dict.fromkeys(told)) or ["the policies of now allow it"]


def _party(evidence: Evidence) -> Party | None:
    """The pod that is asked about as policies see it; None where it has no address."""
    cluster = evidence.cluster
    for number, subject in enumerate(cluster.snapshot.subjects):
        if (
            isinstance(subject, Pod)
            and (subject.metadata.namespace or "default", subject.metadata.name) == evidence.pod
        ):
            address = subject.status.pod_ip.address if subject.status.pod_ip else parse("0.0.0.0")  # noqa: S104
            return party_of(cluster.snapshot, number, address, namespaces_of(cluster.objects))
    return None
