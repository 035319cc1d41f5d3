"""Policies: how far they cover the cluster, what they let through and deny, and where traffic goes against them."""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard, Panel

from . import links
from .advice import to_do
from .frame import frame
from .layout import Section, line, section
from .panels import AMBER, COUNT, RED, Query, Value, stat, table, timeseries
from .queries import COUNTED, Filter, increase, or_zero, rate, share, top, total, zero_while
from .rows import coverage
from .variables import datasource, label

_CONNECTIONS: Final = "flowatlas_policy_connections_total"
_BYTES: Final = "flowatlas_policy_bytes_total"
_MISMATCHES: Final = "flowatlas_policy_mismatch_connections_total"
_PODS: Final = "flowatlas_policy_coverage_pods"
_COVERED: Final = "flowatlas_policy_coverage_bytes_total"
_DEFAULT_DENY: Final = "flowatlas_policy_default_deny"
_NOT_JUDGED: Final = "flowatlas_policy_not_judged_objects"
_OBJECTS: Final = "flowatlas_state_objects"
"""Always there where a pipeline counts, so that what has no series yet reads 0."""
_OF_A_POLICY: Final = ({"kind": ".*Policy"},)
_OWN: Final = ({"namespace": "$namespace"},)
_UNPROTECTED: Final = ({"namespace": "$namespace", "coverage": "unprotected"},)
_INGRESS: Final = ({"namespace": "$namespace", "direction": "ingress"},)
_POLICIES: Final = ({"policy_namespace": "$namespace", "policy": "$policy"},)
_DENYING: Final = ({"policy_namespace": "$namespace", "policy": "$policy", "verdict": "denied"},)
_INTO: Final = ({"destination_namespace": "$namespace"},)
_RULE: Final = ("policy_namespace", "policy", "policy_kind", "rule", "direction")
_PAIR: Final = ("source_namespace", "source_workload", "destination_namespace", "destination_workload")
_NAME: Final = "{{policy_namespace}} {{policy}} {{rule}} {{direction}}"


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-policies",
        title="Flowatlas / Policies and zero trust",
        description="How far policies cover the cluster, what they let through and deny, and what goes against them.",
        variables=[
            datasource(),
            label("namespace", "Namespace", _PODS, "namespace"),
            label("policy", "Policy", _CONNECTIONS, "policy", {"policy_namespace": "$namespace"}),
        ],
        sections=[_key_figures(), coverage("Coverage", _OWN), _verdicts(), _gaps(), _against()],
    )


def _key_figures() -> Section:
    open_bytes = zero_while(COUNTED, rate(_COVERED, where=_UNPROTECTED))
    return section(
        "",
        line(
            4,
            stat(
                "Unprotected pods",
                "The part of the chosen namespaces' pods that no policy selects for what they receive."
                f" {to_do('FlowatlasNamespaceUnprotected')}",
                "percentunit",
                zero_while(
                    _PODS,
                    share(
                        zero_while(_PODS, total(_PODS, where=({**_UNPROTECTED[0], "direction": "ingress"},))),
                        total(_PODS, where=_INGRESS),
                    ),
                ),
                {0.01: AMBER, 0.5: RED},
            ),
            stat(
                "Traffic under no policy",
                "The part of the bytes of the namespaces' pods that no policy says anything about, either direction."
                f" {to_do('FlowatlasNamespaceUnprotected')}",
                "percentunit",
                zero_while(COUNTED, share(open_bytes, rate(_COVERED, where=_OWN))),
                {0.01: AMBER, 0.5: RED},
            ),
            stat(
                "Deny by default",
                "Namespaces with a NetworkPolicy that selects every pod and allows nothing in.",
                "short",
                zero_while(_PODS, f"sum({total(_DEFAULT_DENY, by=('namespace',), where=_INGRESS)} > bool 0)"),
            ),
            stat(
                "Denied connections",
                "Connections over the time shown that a policy denies, an attempt once for each responsible policy.",
                "short",
                zero_while(COUNTED, increase(_CONNECTIONS, where=_DENYING)),
            ),
            stat(
                "Against the policies",
                "Connections over the time shown that were established although denied, or not answered although "
                "allowed."
                f" {to_do('FlowatlasPolicyNotEnforced')}",
                "short",
                zero_while(COUNTED, increase(_MISMATCHES, where=_INTO)),
                {1: RED},
            ),
            stat(
                "Policies not judged",
                "Policies of kinds that Flowatlas does not understand; what they may apply to is not judged."
                " What to do: see of which kind below; do not rely on verdicts of pods that they may select.",
                "short",
                zero_while(COUNTED, total(_NOT_JUDGED)),
                {1: AMBER},
            ),
        ),
    )


def _verdicts() -> Section:
    connections = increase(_CONNECTIONS, by=_RULE, where=_POLICIES)
    return section(
        "What policies decide",
        line(
            8,
            timeseries(
                "Connections by verdict",
                "Connections a second for which a policy is responsible; one for which several are counts once each.",
                "cps",
                Query(
                    zero_while(COUNTED, rate(_CONNECTIONS, by=("verdict",), where=_POLICIES), "verdict"), "{{verdict}}"
                ),
                stacked=True,
            ),
            timeseries(
                "Denied, by policy and rule",
                "Connections a second that each denies, the ten with most. No rule: nothing allowed the connection.",
                "cps",
                Query(zero_while(COUNTED, top(10, rate(_CONNECTIONS, by=_RULE, where=_DENYING)), "policy"), _NAME),
            ),
            timeseries(
                "Policies in the cluster",
                "Policies known, by kind, and those of them that are not understood.",
                "short",
                Query(zero_while(COUNTED, total(_OBJECTS, by=("kind",), where=_OF_A_POLICY), "kind"), "{{kind}}"),
                Query(
                    zero_while(COUNTED, total(_NOT_JUDGED, by=("kind",)), "kind"),
                    "not judged: {{kind}}",
                ),
            ),
        ),
        line(
            9,
            table(
                "Rules by connections",
                "The 50 rules that decided most connections over the time shown. A rule that is never used is missing: "
                "`flowatlas policy` names it.",
                dict(zip(_RULE, ("Namespace", "Policy", "Kind", "Rule", "Direction"), strict=True)),
                [
                    Value("Connections", COUNT, connections),
                    Value("Denied", COUNT, or_zero(increase(_CONNECTIONS, by=_RULE, where=_DENYING), connections)),
                    Value("Bytes", "bytes", increase(_BYTES, by=_RULE, where=_POLICIES)),
                ],
                rows=50,
                links={"Namespace": links.namespace()},
            ),
        ),
    )


def _gaps() -> Section:
    by = ("namespace", "direction")
    pods = total(_PODS, by=by, where=_OWN)
    return section(
        "Where zero trust ends",
        line(
            9,
            table(
                "Namespaces by unprotected pods",
                "Pods that no policy selects, and whether a policy denies by default (1) or none does (0).",
                {"namespace": "Namespace", "direction": "Direction"},
                [
                    Value("Unprotected", COUNT, or_zero(total(_PODS, by=by, where=_UNPROTECTED), pods)),
                    Value("Pods", COUNT, pods),
                    Value("Denies by default", COUNT, or_zero(total(_DEFAULT_DENY, by=by, where=_OWN), pods)),
                ],
                rows=50,
                links={"Namespace": links.namespace()},
            ),
            table(
                "Workloads by traffic under no policy",
                "The 50 workloads with most bytes over the time shown that no policy says anything about.",
                {"namespace": "Namespace", "workload": "Workload", "direction": "Direction"},
                _open_traffic(),
                rows=50,
                links={"Namespace": links.namespace(), "Workload": links.workload("Namespace")},
            ),
        ),
    )


def _open_traffic() -> list[Value]:
    by = ("namespace", "workload", "direction")
    return [
        Value("Under no policy", "bytes", increase(_COVERED, by=by, where=_UNPROTECTED)),
        Value("All", "bytes", increase(_COVERED, by=by, where=_OWN)),
    ]


def _against() -> Section:
    return section(
        "Against the policies",
        line(
            8,
            _mismatched("Established although denied", "What enforces policies does not enforce these.", "established"),
            _mismatched("Not answered although allowed", "Something beside the policies stops these.", "dropped"),
        ),
    )


def _mismatched(title: str, what: str, kind: str) -> Panel:
    where: tuple[Filter, ...] = ({**_INTO[0], "mismatch": f"{kind}_.*"},)
    pairs = top(10, rate(_MISMATCHES, by=_PAIR, where=where))
    return timeseries(
        title,
        f"{what} Connections a second by the workloads at both ends, the ten with most.",
        "cps",
        Query(
            zero_while(COUNTED, pairs, "source_workload", "destination_workload"),
            "{{source_namespace}} {{source_workload}} > {{destination_namespace}} {{destination_workload}}",
        ),
    )
