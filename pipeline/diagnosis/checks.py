"""All checks, what each reads, and running them.

The invariant: a check runs only where everything that it reads is known; which did not, and for want of what, is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from . import (
    answers,
    capture,
    denials,
    dialling,
    dns,
    endpoints,
    entrances,
    interfaces,
    overlay,
    plaintext,
    policies,
    ports,
    probing,
    spreading,
)
from .evidence import Evidence, Source
from .finding import Finding, in_order


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what it looks for, and what must be known. It may use more where there is more."""

    looks_for: str
    needs: frozenset[Source]
    run: Callable[[Evidence], Iterator[Finding]]


def _check(looks_for: str, run: Callable[[Evidence], Iterator[Finding]], *needs: Source) -> Check:
    return Check(looks_for, frozenset(needs), run)


CHECKS: Final[tuple[Check, ...]] = (
    _check("Services without ready endpoints", endpoints.without_endpoints, "state"),
    _check("target ports that pods do not have", ports.undeclared_ports, "state"),
    _check("load balancers without an address", entrances.pending_load_balancers, "state"),
    _check("routes to Services that are not there", entrances.broken_routes, "state"),
    _check("Service addresses that a node does not translate", dialling.untranslated, "state", "history"),
    _check("endpoints that are ready and do not answer", answers.unanswering, "state", "history"),
    _check("Services that are uneven over their endpoints", spreading.uneven, "metrics"),
    _check("session affinity that is not kept", spreading.broken_affinity, "metrics"),
    _check("DNS that fails", dns.failing_dns, "metrics"),
    _check("DNS past the cluster's", dns.past_cluster_dns, "metrics"),
    _check("DNS questions that a search list wastes", dns.wasted_searches, "metrics"),
    _check("workloads that try many ports in vain", probing.probing, "metrics"),
    _check("policies that select the pod", policies.policies_of_pod, "state"),
    _check("connections of the pod that policies denied", policies.denied, "state", "history"),
    _check("policies that deny much", denials.denying_policies, "history"),
    _check("connections that went against policies", policies.mismatched, "history"),
    _check("packets too large for their way", overlay.too_large_packets, "metrics"),
    _check("segments sent again between nodes", overlay.retransmits_between_nodes, "history"),
    _check("pods' interfaces that drop packets or count errors", interfaces.pod_interfaces, "metrics"),
    _check("nodes' interfaces that drop packets or count errors", interfaces.node_interfaces, "metrics"),
    _check("plaintext to a mesh", plaintext.plaintext, "metrics"),
    _check("nodes that nobody tells of", capture.unseen_nodes, "state", "metrics"),
    _check("traffic that is in no flow", capture.uncovered_nodes, "metrics"),
)

_READING: Final = (capture, dns, endpoints, interfaces, overlay, plaintext, probing, spreading)
NAMES: Final = frozenset(name for module in _READING for name in module.NAMES)
"""The metrics that the checks read."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, the worst first; what was looked for; and what could not be, with what it lacks."""

    findings: Sequence[Finding]
    looked_for: Sequence[str]
    not_looked_for: Sequence[tuple[str, tuple[Source, ...]]]


def diagnose(evidence: Evidence) -> Diagnosis:
    """Run every check that the evidence allows."""
    able = [check for check in CHECKS if check.needs <= evidence.known]
    lacking = [(check.looks_for, tuple(sorted(check.needs - evidence.known))) for check in CHECKS if check not in able]
    found = [finding for check in able for finding in check.run(evidence)]
    return Diagnosis(in_order(found), [check.looks_for for check in able], lacking)
