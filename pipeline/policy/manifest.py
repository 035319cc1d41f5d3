"""Suggested policies as YAML: what people review, with the evidence of each rule as a comment above it.

The invariant: the text is a function of the policies and the remarks alone, and the YAML in it is what was judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import yaml

from .suggestion import Evidence, SuggestedPolicy, SuggestedRule

_MOST_CALLERS: Final = 4
_DIRECTIONS: Final = (("ingress", "from"), ("egress", "to"))


def rendered(
    policies: Sequence[SuggestedPolicy], remarks: Sequence[str], more: Sequence[Mapping[str, Any]] = ()
) -> str:
    """One YAML stream; `remarks` are comments at its head, `more` further objects without evidence."""
    head = "".join(f"# {line}\n" for line in remarks)
    return head + "".join("---\n" + "".join(part) for part in [*map(_policy, policies), *map(_plain, more)])


def deny_all(namespace: str) -> dict[str, Any]:
    """The policy that isolates every pod of a namespace."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny-all", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }


def _policy(policy: SuggestedPolicy) -> Iterable[str]:
    manifest = policy.manifest
    yield f"# {', '.join(policy.workloads)}\n"
    if not policy.labels:
        yield "# the pods of this workload share no lasting label, so this selects every pod of the namespace\n"
    spec = {key: value for key, value in manifest["spec"].items() if key not in {"ingress", "egress"}}
    yield _dumped({**manifest, "spec": spec})
    for direction, _ in _DIRECTIONS:
        rules: Sequence[SuggestedRule] = getattr(policy, direction)
        yield f"  {direction}:" + ("\n" if rules else " []\n")
        for rule in rules:
            yield f"  # {_evidence(rule.evidence)}\n"
            yield "".join(f"  {line}\n" for line in _dumped([dict(rule.body)]).splitlines())


def _plain(manifest: Mapping[str, Any]) -> Iterable[str]:
    yield _dumped(dict(manifest))


def _evidence(evidence: Evidence) -> str:
    if not evidence.connections and not evidence.callers:
        return "name resolution; none was recorded"
    seen = f", last seen {evidence.last_seen:%Y-%m-%dT%H:%M:%SZ}" if evidence.last_seen else ""
    several = "s" if evidence.connections > 1 else ""
    some = evidence.callers[:_MOST_CALLERS]
    more = f" and {len(evidence.callers) - len(some)} more" if len(evidence.callers) > len(some) else ""
    if not evidence.connections:
        return f"none recorded, but behind a Service that was dialled: {', '.join(some)}{more}"
    return f"{evidence.connections} connection{several}{seen}: {', '.join(some)}{more}"


def _dumped(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=False)
