"""External traffic and cost: who talks beyond the cluster, who comes in, how far bytes go and what that costs."""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard

from . import links
from .advice import to_do
from .frame import frame
from .layout import Section, line, section
from .panels import COUNT, RED, Query, Value, stat, table, timeseries
from .queries import COUNTED, beyond, extreme, increase, named, or_zero, rate, top, zero_while
from .rows import failed_part, failures
from .variables import datasource, label

_BYTES: Final = "flowatlas_flow_bytes_total"
_CONNECTIONS: Final = "flowatlas_connections_total"
_FAILURES: Final = "flowatlas_connection_failures_total"
_ZONES: Final = "flowatlas_zone_bytes_total"
_COST: Final = "flowatlas_traffic_cost_total"
_NETWORKS: Final = "flowatlas_external_bytes_total"
_SCANNED: Final = "flowatlas_workload_failed_destinations"
_OUT: Final = ({"source_namespace": "$namespace", **beyond("destination")},)
_IN: Final = ({"destination_namespace": "$namespace", **beyond("source")},)
_SENT: Final = ({**_OUT[0], "flow_direction": "request"}, {**_IN[0], "flow_direction": "reply"})
_RECEIVED: Final = ({**_OUT[0], "flow_direction": "reply"}, {**_IN[0], "flow_direction": "request"})
_OWN: Final = ({"namespace": "$namespace"},)
_SENDING: Final = ({"namespace": "$namespace", "direction": "egress"},)
_FAR: Final = ({"locality": "cross_zone|cross_region"},)
_FROM: Final = ("source_namespace", "source_workload")
_TO: Final = ("destination_namespace", "destination_workload", "service")


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-external",
        title="Flowatlas / External traffic and cost",
        description="Who talks beyond the cluster, who comes in from there, how far bytes go and what they cost.",
        variables=[
            datasource(),
            label("namespace", "Namespace", "container_network_receive_bytes_total", "namespace"),
        ],
        sections=[_key_figures(), _trends(), _talkers(), _networks(), _zones(), _costs()],
    )


def _key_figures() -> Section:
    return section(
        "",
        line(
            4,
            stat(
                "Sent out",
                "Bytes a second that the chosen namespaces' workloads send to addresses beyond the cluster.",
                "Bps",
                zero_while(COUNTED, rate(_BYTES, where=_SENT)),
            ),
            stat(
                "Received from outside",
                "Bytes a second that they receive from there.",
                "Bps",
                zero_while(COUNTED, rate(_BYTES, where=_RECEIVED)),
            ),
            stat(
                "Connections out",
                "Connections a second that they open to addresses beyond the cluster.",
                "cps",
                zero_while(COUNTED, rate(_CONNECTIONS, where=_OUT)),
            ),
            failed_part(
                "Failed connections out",
                "The part of these that were refused, reset or never answered.",
                _FAILURES,
                _CONNECTIONS,
                _OUT,
                advice="see by which reason, and who dials out, below; flowatlas observe lists the connections.",
            ),
            stat(
                "Across zones",
                "Bytes a second between nodes of different zones, in the whole cluster.",
                "Bps",
                zero_while(COUNTED, rate(_ZONES, where=_FAR)),
            ),
            stat(
                "Cost an hour",
                "What the traffic of the namespaces costs at the present rate, in the price table's currency. No data "
                "where the pipeline has no price table.",
                "short",
                f"3600 * {rate(_COST, by=('currency',), where=_OWN)}",
                name="{{currency}}",
            ),
        ),
    )


def _trends() -> Section:
    return section(
        "Beyond the cluster",
        line(
            8,
            timeseries(
                "Throughput with the outside, by opening workload",
                "Bytes a second in both directions of connections out; the ten busiest at each instant.",
                "Bps",
                Query(
                    zero_while(COUNTED, top(10, rate(_BYTES, by=_FROM, where=_OUT)), "source_workload"),
                    "{{source_namespace}} {{source_workload}}",
                ),
            ),
            timeseries(
                "Throughput with the outside, by answering workload",
                "Bytes a second in both directions of connections in; the ten busiest at each instant.",
                "Bps",
                Query(
                    zero_while(COUNTED, top(10, rate(_BYTES, by=_TO[:2], where=_IN)), "destination_workload"),
                    "{{destination_namespace}} {{destination_workload}}",
                ),
            ),
        ),
        line(
            8,
            failures(
                "Failures of connections out, by reason",
                "refused: a reset answered the first packet. reset: it was established first. no_reply: nothing "
                "answered, as when a firewall drops it.",
                _OUT,
            ),
            failures("Failures of connections in, by reason", "As on the left, of connections from outside.", _IN),
            timeseries(
                "Destinations tried in vain",
                "Addresses and ports, inside or outside, that a workload dialled in the last 10 minutes without "
                "success, where there are 10 or more: a scan shows here."
                f" {to_do('FlowatlasPortScan')}",
                "short",
                Query(
                    zero_while(
                        COUNTED,
                        top(10, extreme("max", _SCANNED, by=_FROM, where=({"source_namespace": "$namespace"},))),
                        "source_workload",
                    ),
                    "{{source_namespace}} {{source_workload}}",
                ),
                thresholds={100: RED},
            ),
        ),
    )


def _talkers() -> Section:
    out, into = increase(_CONNECTIONS, by=_FROM, where=_OUT), increase(_CONNECTIONS, by=_TO, where=_IN)
    return section(
        "Who talks beyond the cluster",
        line(
            8,
            table(
                "Workloads that dial out",
                "The 50 workloads that opened most connections beyond the cluster over the time shown.",
                dict(zip(_FROM, ("Namespace", "Workload"), strict=True)),
                [
                    Value("Connections", COUNT, out),
                    Value("Sent", "bytes", or_zero(increase(_BYTES, by=_FROM, where=_SENT[:1]), out)),
                    Value("Received", "bytes", or_zero(increase(_BYTES, by=_FROM, where=_RECEIVED[:1]), out)),
                    Value("Failed", COUNT, or_zero(increase(_FAILURES, by=_FROM, where=_OUT), out)),
                ],
                rows=50,
                links={"Namespace": links.namespace(), "Workload": links.workload("Namespace")},
            ),
        ),
        line(
            8,
            table(
                "Workloads dialled from outside",
                "The 50 workloads and Services with most connections from beyond the cluster over the time shown.",
                dict(zip(_TO, ("Namespace", "Workload", "Service"), strict=True)),
                [
                    Value("Connections", COUNT, into),
                    Value("Sent", "bytes", or_zero(increase(_BYTES, by=_TO, where=_SENT[1:]), into)),
                    Value("Received", "bytes", or_zero(increase(_BYTES, by=_TO, where=_RECEIVED[1:]), into)),
                    Value("Failed", COUNT, or_zero(increase(_FAILURES, by=_TO, where=_IN), into)),
                ],
                rows=50,
                links={"Namespace": links.namespace(), "Workload": links.workload("Namespace")},
            ),
        ),
    )


def _networks() -> Section:
    network, sender = ("country", "asn", "organisation"), ("namespace", "workload", "country")
    everything = increase(_NETWORKS, by=network, where=_OWN)
    everyone = increase(_NETWORKS, by=sender, where=_OWN)
    return section(
        "Networks (with a geo database)",
        line(
            9,
            timeseries(
                "Sent by country",
                "Bytes a second sent to the ten countries that receive most. No data where the pipeline has no geo "
                "database.",
                "Bps",
                Query(
                    top(10, named("country", rate(_NETWORKS, by=("country",), where=_SENDING), empty="unknown")),
                    "{{country}}",
                ),
            ),
            table(
                "Networks",
                "The 50 networks that exchanged most over the time shown.",
                {"country": "Country", "asn": "AS", "organisation": "Organisation"},
                [
                    Value("Bytes", "bytes", everything),
                    Value("Sent", "bytes", or_zero(increase(_NETWORKS, by=network, where=_SENDING), everything)),
                ],
                rows=50,
            ),
        ),
        line(
            9,
            table(
                "Workloads and countries",
                "The 50 workloads and countries that exchanged most over the time shown.",
                {"namespace": "Namespace", "workload": "Workload", "country": "Country"},
                [
                    Value("Bytes", "bytes", everyone),
                    Value("Sent", "bytes", or_zero(increase(_NETWORKS, by=sender, where=_SENDING), everyone)),
                ],
                rows=50,
                links={"Namespace": links.namespace(), "Workload": links.workload("Namespace")},
            ),
        ),
    )


def _zones() -> Section:
    by = ("source_zone", "destination_zone", "locality")
    everything = increase(_ZONES, by=by)
    requests = increase(_ZONES, by=by, where=({"flow_direction": "request"},))
    return section(
        "How far bytes go",
        line(
            8,
            timeseries(
                "Throughput by distance",
                "Bytes a second of the whole cluster, by whether they stayed on a node, in a zone, in a region, or "
                "left the cluster; the areas add up.",
                "Bps",
                Query(rate(_ZONES, by=("locality",)), "{{locality}}"),
                stacked=True,
            ),
            table(
                "Pairs of zones",
                "The 50 pairs that exchanged most over the time shown, by the end that opened the connections.",
                {"source_zone": "From zone", "destination_zone": "To zone", "locality": "Distance"},
                [
                    Value("Bytes", "bytes", everything),
                    Value("Of them requests", "bytes", or_zero(requests, everything)),
                ],
                rows=50,
            ),
        ),
    )


def _costs() -> Section:
    by = ("namespace", "service", "locality", "currency")
    everything = increase(_COST, by=by, where=_OWN)
    return section(
        "Cost (with a price table)",
        line(
            9,
            timeseries(
                "Cost an hour by namespace",
                "What each namespace's traffic costs at that time's rate; the ten dearest. No namespace: nodes. No "
                "data where the pipeline has no price table.",
                "short",
                Query(
                    top(10, f"3600 * {rate(_COST, by=('namespace', 'currency'), where=_OWN)}"),
                    "{{namespace}} ({{currency}})",
                ),
            ),
            timeseries(
                "Cost an hour by distance",
                "What it costs by how far bytes went; the areas add up.",
                "short",
                Query(f"3600 * {rate(_COST, by=('locality', 'currency'), where=_OWN)}", "{{locality}} ({{currency}})"),
                stacked=True,
            ),
        ),
        line(
            9,
            table(
                "What costs most",
                "The 50 dearest Services and distances over the time shown. No Service: none was dialled.",
                dict(zip(by, ("Namespace", "Service", "Distance", "Currency"), strict=True)),
                [
                    Value("Cost", "short", everything),
                    Value("Of it sent", "short", or_zero(increase(_COST, by=by, where=_SENDING), everything)),
                ],
                rows=50,
                links={"Namespace": links.namespace()},
            ),
        ),
    )
