"""What Flowatlas says of each misdeed: the alert that fires, the panel that shows it, what `flowatlas` finds.

Data alone; `trouble` looks for it in a run, and the page `docs/how-to/scenarios.md` has it as a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from dashboards.alerts import ALERTS
from deploy.lab.misdeeds import MISDEEDS as OF_THE_LAB

from .aside import BEHIND, CRAMPED, FORGETFUL, OVERFULL
from .places import NEW

SILENT_COLLECTOR: Final = "silent-collector"
PIPELINE_DOWN: Final = "pipeline-down"
OF_FLOWATLAS: Final[Mapping[str, str]] = {
    SILENT_COLLECTOR: "a collector ends, and nobody says that its node is gone",
    "bad-batch": "garbage lies on a pipeline's bus",
    "lost-batch": "of a node's batches one never reaches a pipeline's bus",
    "stale-state": "the watcher that tells a pipeline of the cluster is gone",
    "late-state": "flows come to a pipeline that is not told the cluster's state of their time",
    "refused-object": "the cluster has a Service that is not written as Services are",
    "many-series": "a pipeline's limit of series is ten a family",
    "bus-lag": "a pipeline finds thousands of batches on its bus",
    "full-disk": "the disk of a collector's spool is full",
    "lost-rows": "a collector's disk is full and its broker away",
    PIPELINE_DOWN: "the pipeline stands still",
}
"""Misdeeds that are done to Flowatlas, not to the lab: all but the first and the last to processes `aside`. Of
`full-table` the traffic is the lab's."""
SPARE: Final = "spare"
"""The node that the collector which falls silent says it is of; the lab's own nodes are told of all the time."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel that has a series with these labels above 0. `dashboard` is a file of dashboards/generated."""

    dashboard: str
    title: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A finding of `flowatlas doctor` or `status`: its check, how its subject begins, and what it says among others."""

    command: Literal["doctor", "status"]
    check: str
    subject: str
    says: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A misdeed, and what is said of it; `labels` are some of the alert's. None: there is no panel, or no check."""

    misdeed: str
    alert: str
    labels: Mapping[str, str]
    panel: Panel | None
    finding: Found | None = None


_WEB: Final = {"source_workload": "netshoot", "destination_workload": "frontend"}
_API: Final = {"source_workload": "netshoot", "destination_workload": "api"}
_OVERLAY: Final = {"node": "node1", "interface": "flannel.1"}
_POSTGRES: Final = {"source_namespace": "shop", "source_workload": "postgres"}

TROUBLES: Final = {
    trouble.misdeed: trouble
    for trouble in (
        Trouble(
            "no-endpoints",
            "FlowatlasServiceWithoutEndpoints",
            {"service": "legacy-service"},
            Panel("services", "Dialled without endpoints", {"service": "legacy-service"}),
            Found("doctor", "endpoints", "Service app-namespace/legacy-service"),
        ),
        Trouble(
            "policy-off",
            "FlowatlasPolicyNotEnforced",
            _WEB,
            Panel("policies", "Established although denied", _WEB),
            Found("doctor", "policies", "default/netshoot to shop/frontend"),
        ),
        Trouble(
            "open-namespace",
            "FlowatlasNamespaceUnprotected",
            {"namespace": "app-namespace"},
            Panel("policies", "Namespaces by unprotected pods", {"namespace": "app-namespace"}),
        ),
        Trouble(
            "denied-surge",
            "FlowatlasPolicyDenialsSurge",
            {"policy": "web-netpol", "direction": "ingress"},
            Panel("policies", "Denied, by policy and rule", {"policy": "web-netpol", "direction": "ingress"}),
            Found("doctor", "denials", "NetworkPolicy shop/web-netpol (ingress)"),
        ),
        Trouble(
            "allowed-dropped",
            "FlowatlasPolicyDropsAllowed",
            _API,
            Panel("policies", "Not answered although allowed", _API),
            Found("doctor", "policies", "default/netshoot to shop/api port 8081"),
        ),
        Trouble(
            "dns-broken",
            "FlowatlasDnsErrors",
            _POSTGRES,
            Panel("dns", "Questions by answer", {"rcode": "no_answer"}),
            Found("doctor", "dns", "workload shop/postgres"),
        ),
        Trouble(
            "dns-bypass",
            "FlowatlasDnsBypass",
            {"source_workload": "netshoot"},
            Panel("dns", "Past the cluster's DNS"),
            Found("doctor", "dns-bypass", "workload default/netshoot"),
        ),
        Trouble(
            "search-list",
            "FlowatlasDnsSearchWaste",
            {"source_namespace": "monitoring"},
            Panel("dns", "Questions by class of name", {"name_class": "search"}),
            Found("doctor", "dns-searches", "workload monitoring/prometheus"),
        ),
        Trouble(
            "port-scan",
            "FlowatlasPortScan",
            {"source_workload": "netshoot"},
            Panel("external", "Destinations tried in vain", {"source_workload": "netshoot"}),
            Found("doctor", "probing", "workload default/netshoot"),
        ),
        Trouble(
            "skew",
            "FlowatlasServiceSkew",
            {"service": "api-service"},
            Panel("services", "Least even load", {"service": "api-service"}),
            Found("doctor", "spreading", "Service shop/api-service port"),
        ),
        Trouble(
            "affinity-broken",
            "FlowatlasServiceAffinityBroken",
            {"service": "sticky-service"},
            Panel("services", "Session affinity", {"affinity": "broken"}),
            Found("doctor", "affinity", "Service app-namespace/sticky-service port"),
        ),
        Trouble(
            "refused",
            "FlowatlasServiceFailures",
            {"service": "postgres", "reason": "refused"},
            Panel("services", "Failures by Service and reason", {"service": "postgres"}),
            Found("doctor", "answers", "Service shop/postgres port postgresql, endpoint shop/postgres-0"),
        ),
        Trouble(
            "retransmits",
            "FlowatlasRetransmitsUp",
            {"destination_workload": "backend"},
            Panel("tcp", "Segments sent again, by pair", {"destination_workload": "backend"}),
            Found("doctor", "overlay", "node node1 to node node2"),
        ),
        Trouble(
            "cross-zone",
            "FlowatlasCrossZoneCost",
            {"namespace": "default"},
            Panel("external", "Cost an hour by namespace", {"namespace": "default"}),
        ),
        Trouble(
            "new-external",
            "FlowatlasNewExternalTraffic",
            _POSTGRES,
            Panel("external", "Throughput with the outside, by opening workload", _POSTGRES),
        ),
        Trouble(
            "pod-drops",
            "FlowatlasPodInterfaceDrops",
            {"namespace": "default", "pod": "netshoot"},
            Panel("nodes", "Errors and drops by pod", {"namespace": "default", "pod": "netshoot"}),
            Found("doctor", "interface-drops", "pod default/netshoot interface eth0"),
        ),
        Trouble(
            "node-drops",
            "FlowatlasNodeInterfaceDrops",
            _OVERLAY,
            Panel("nodes", "Errors and drops by interface", _OVERLAY),
            Found("doctor", "interface-drops", "node node1 interface flannel.1"),
        ),
        Trouble(
            "interface-errors",
            "FlowatlasNodeInterfaceErrors",
            _OVERLAY,
            Panel("nodes", "Errors and drops by interface", _OVERLAY),
            Found("doctor", "interface-errors", "node node1 interface flannel.1"),
        ),
        Trouble(
            "pod-errors",
            "FlowatlasPodInterfaceErrors",
            {"pod": "netshoot", "interface": "tunnel0"},
            Panel("nodes", "Errors and drops by pod", {"namespace": "default", "pod": "netshoot"}),
            Found("doctor", "interface-errors", "pod default/netshoot interface tunnel0"),
        ),
        Trouble(
            "new-country",
            "FlowatlasNewExternalCountry",
            {"workload": "netshoot", "country": NEW},
            Panel("external", "Sent by country", {"country": NEW}),
        ),
        Trouble(
            "dns-slow",
            "FlowatlasDnsSlow",
            {"source_namespace": "app-namespace"},
            Panel("dns", "Time to answer"),
        ),
        Trouble(
            "connect-slow",
            "FlowatlasConnectSlower",
            {"service": "backend-service"},
            Panel("tcp", "Connect, 99 %"),
        ),
        Trouble(
            "round-trip-slow",
            "FlowatlasRoundTripSlower",
            {"service": "database-service"},
            Panel("tcp", "Round trip, 99 %"),
        ),
        Trouble(
            "unseen",
            "FlowatlasCaptureIncomplete",
            {"namespace": "production", "pod": "reports-6c9f8d7b54-r5g2x"},
            Panel("nodes", "Least captured pods", {"pod": "reports-6c9f8d7b54-r5g2x"}),
            Found("doctor", "capture", "node node2"),
        ),
        Trouble(
            SILENT_COLLECTOR,
            "FlowatlasCollectorSilent",
            {"node": SPARE},
            Panel("pipeline-health", "Age of the newest observation", {"node": SPARE}),
            Found("status", "node", f"node {SPARE}"),
        ),
        Trouble(
            "bad-batch",
            "FlowatlasBatchesQuarantined",
            {"reason": "segment"},
            Panel("pipeline-health", "Batches lost, repeated or set aside", {"reason": "segment"}),
            Found("status", "losses", "pipeline", "batches were set aside unread"),
        ),
        Trouble(
            "lost-batch",
            "FlowatlasBatchesMissing",
            {"node": "node1"},
            Panel("pipeline-health", "Batches missing"),
            Found("status", "losses", "pipeline", "batches are missing between those that came"),
        ),
        Trouble(
            "stale-state",
            "FlowatlasStateStale",
            {"job": FORGETFUL},
            Panel("pipeline-health", "Age of the cluster's state"),
            Found("status", "state", "pipeline", "the cluster's state is"),
        ),
        Trouble(
            "late-state",
            "FlowatlasLateRows",
            {"job": FORGETFUL},
            Panel("pipeline-health", "Rows that wait for state"),
            Found("status", "losses", "pipeline", "rows were judged before the cluster's state was known"),
        ),
        Trouble(
            "refused-object",
            "FlowatlasObjectsRefused",
            {"kind": "Service"},
            Panel("pipeline-health", "Objects and look-ups refused", {"kind": "Service"}),
            Found("status", "state", "pipeline", "objects of kind Service are not understood"),
        ),
        Trouble(
            "many-series",
            "FlowatlasSeriesFolded",
            {"family": "flows/conversations"},
            None,
        ),
        Trouble(
            "bus-lag",
            "FlowatlasBusLag",
            {"job": BEHIND},
            Panel("pipeline-health", "Messages waiting, by topic"),
        ),
        Trouble(
            "full-disk",
            "FlowatlasSpoolDegraded",
            {"job": CRAMPED},
            Panel("pipeline-health", "Spools that the disk refuses"),
            Found("status", "collector", "collector", "the disk refuses its spool"),
        ),
        Trouble(
            "lost-rows",
            "FlowatlasLosses",
            {"job": CRAMPED, "reason": "spool_error"},
            Panel("pipeline-health", "Rows lost at collectors", {"reason": "spool_error"}),
            Found("status", "losses", "collector", "rows did not reach the bus"),
        ),
        Trouble(
            "full-table",
            "FlowatlasPacketsMissed",
            {"job": OVERFULL, "reason": "table_full"},
            Panel("pipeline-health", "Packets in no flow", {"reason": "table_full"}),
            Found("status", "losses", "collector", "packets are in no flow"),
        ),
        Trouble(PIPELINE_DOWN, "FlowatlasPipelineDown", {}, None),
    )
}
"""By the misdeed's name."""


NOT_IN_THE_LAB: Final[Mapping[str, str]] = {
    "FlowatlasConntrackOverruns": "the lab's connections fit the buffers between kernel and collector",
    "FlowatlasMessagesLost": "the lab's bus is a folder, of which collectors count what they delete (FlowatlasLosses)",
    "FlowatlasNothingArrives": "the lab's bus is a folder, which is always there",
    "FlowatlasShareUnread": "shares are of Kafka's partitions, and the lab's bus is a folder",
    "FlowatlasSnapshotFailing": "the lab's pipeline lives for minutes and keeps no snapshots",
    "FlowatlasWorkerReplaced": "workers share the partitions of Kafka, and the lab's bus is a folder",
}
"""Alerts that no misdeed sets off, and why; that they fire is proven on made-up series, as of all others too."""


def told(name: str) -> str:
    """What a misdeed is, as a person reads it."""
    return OF_FLOWATLAS.get(name) or OF_THE_LAB[name].told


def page_rows() -> list[str]:
    """The rows of the table in docs/how-to/scenarios.md."""
    return [
        f"| `{trouble.misdeed}` | {told(trouble.misdeed)} | [{trouble.alert}]({_runbook(trouble.alert)}) "
        f"| {_panel_words(trouble.panel)} | {_finding_words(trouble.finding)} |"
        for trouble in TROUBLES.values()
    ]


def page_reasons() -> list[str]:
    """The rows of the table of alerts that the lab does not show."""
    return [f"| [{alert}]({_runbook(alert)}) | {reason} |" for alert, reason in NOT_IN_THE_LAB.items()]


def _runbook(alert: str) -> str:
    (found,) = (each for each in ALERTS if each.name == alert)
    return found.runbook.replace("docs/", "../")


def _panel_words(panel: Panel | None) -> str:
    return f"{panel.dashboard}: {panel.title}" if panel else "none"


def _finding_words(found: Found | None) -> str:
    return f"`flowatlas {found.command}`: {found.subject}{found.says and f', {found.says}'}" if found else "none"
