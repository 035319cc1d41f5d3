"""One connection explained: every look-up with the objects that answered it, then the policies of each backend.

A Service that was dialled may be answered by any of its backends, so each is explained; none is taken for the others.
The invariant: ids come from `attribution.attribute` and verdicts agree with `Policies.judge`, as for any flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..attribution.policies import Policies
from ..inventory.models import Resource
from ..inventory.policy_history import PolicyEpoch
from ..inventory.snapshot import Snapshot
from .evidence import Evidence
from .look_ups import BY_BACKEND, Dialled, LookUp, LookUps, address_of
from .parties import Party, namespaces_of, party_of
from .walk import PolicyStep, Question, SideWalk, asked_for, walk

__all__ = ["Dialled", "Explanation", "Judged", "LookUp", "explain"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the policies say of one backend."""

    connection: str
    verdict: str
    egress: SideWalk
    ingress: SideWalk
    alike: Sequence[str] = ()
    """Other backends of which the same holds, word for word."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole of it."""

    look_ups: Sequence[LookUp]
    backends: Sequence[Judged]
    verdict: str
    """`allowed` or `denied` where all backends agree, `depends on the backend` where not, `no verdict` without one."""


def explain(
    objects: Sequence[Resource],
    snapshot: Snapshot,
    policies: Policies,
    dialled: Dialled,
    epochs: Sequence[PolicyEpoch] = (),
) -> Explanation:
    """Explain a connection under the policies compiled for the snapshot; `epochs` tell since when each is as it is."""
    evidence = Evidence(objects, epochs)
    asking = LookUps(snapshot, evidence, dialled)
    (row,) = asking.attributed([(dialled.dst_ip, dialled.port)])
    look_ups = [asking.end("source", dialled.src_ip, row["src_id"]), *asking.services(row)]
    services = asking.service_ids(row)
    redirects = services if row["via"] not in BY_BACKEND else []
    if redirects:
        answering = asking.backends(redirects)
    elif row["destination"]["kind"] == "Service":
        answering = []  # the Service's address, at a port that it has not
    else:
        answering = [(dialled.dst_ip, dialled.port)]
    if not answering:
        look_ups.append(LookUp("backend", "nobody answers there, so no policy has anything to say"))
        return Explanation(look_ups, (), "no verdict")
    found = asking.attributed(answering)
    look_ups += [
        asking.end("backend" if redirects else "destination", ip, backend["dst_id"])
        for (ip, _), backend in zip(answering, found, strict=True)
    ]
    look_ups += asking.layers(row)
    look_ups.append(LookUp("certainty", ", ".join(str(row[key]) for key in ("attribution", "reason") if row[key])))
    namespaces = namespaces_of(objects)
    questions = [
        Question(
            party_of(snapshot, backend["src_id"], address_of(dialled.src_ip), namespaces),
            party_of(snapshot, backend["dst_id"], address_of(ip), namespaces),
            dialled.protocol,
            port,
        )
        for (ip, port), backend in zip(answering, found, strict=True)
    ]
    look_ups += _namespaces(evidence, [end for asked in questions for end in (asked.source, asked.destination)])
    judged: list[Judged] = []
    for question in questions:
        egress = _traced(walk(policies, "egress", question), evidence)
        ingress = _traced(walk(policies, "ingress", question), evidence)
        verdict = "denied" if "denied" in {egress.verdict, ingress.verdict} else "allowed"
        _add(judged, Judged(asked_for(question), verdict, egress, ingress))
    verdicts = {item.verdict for item in judged}
    return Explanation(look_ups, judged, verdicts.pop() if len(verdicts) == 1 else "depends on the backend")


def _namespaces(evidence: Evidence, ends: Iterable[Party]) -> list[LookUp]:
    """What policies see of the ends' namespaces."""
    found = []
    for name in dict.fromkeys(end.namespace for end in ends if end.namespace):
        labels = evidence.namespace_labels(name)
        if labels is not None:
            written = ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "none"
            found.append(LookUp(f"labels of namespace {name}", written, evidence.find("Namespace", "", name)))
    return found


def _traced(side: SideWalk, evidence: Evidence) -> SideWalk:
    """The same with the objects of its policies."""

    def traced(step: PolicyStep) -> PolicyStep:
        who = step.kind, step.namespace, step.name
        return replace(step, objects=evidence.find(*who), since=evidence.in_force_since(*who))

    return replace(side, steps=[traced(step) for step in side.steps])


def _add(judged: list[Judged], new: Judged) -> None:
    """Add an answer, or only the name of its connection to one that says the same."""
    for place, known in enumerate(judged):
        if _said(known) == _said(new):
            judged[place] = Judged(
                known.connection, known.verdict, known.egress, known.ingress, (*known.alike, new.connection)
            )
            return
    judged.append(new)


def _said(judged: Judged) -> tuple[object, ...]:
    """What is said but for the names of the ends."""
    return tuple(
        (side.verdict, side.why, [(s.kind, s.namespace, s.name, s.effect, s.rule, _marks(s.rules)) for s in side.steps])
        for side in (judged.egress, judged.ingress)
    )


def _marks(rules: Iterable[Any]) -> list[tuple[bool, bool]]:
    return [(rule.peer.met, rule.port.met) for rule in rules]
