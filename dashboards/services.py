"""Services: for each Service, how much it is dialled, what fails, which pods it is sent to and who calls."""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard

from . import links
from .advice import to_do
from .frame import frame
from .layout import Section, line, section
from .panels import COUNT, RED, Query, Value, stat, table, timeseries
from .queries import distinct, extreme, increase, named, or_zero, rate, share, top, zero_while
from .rows import failed_part
from .variables import datasource, label

_BYTES: Final = "flowatlas_service_bytes_total"
_CONNECTIONS: Final = "flowatlas_service_connections_total"
_FAILURES: Final = "flowatlas_service_connection_failures_total"
_ENDPOINTS: Final = "flowatlas_service_endpoint_connections_total"
_FLOW_BYTES: Final = "flowatlas_flow_bytes_total"
_FLOW_CONNECTIONS: Final = "flowatlas_connections_total"
_FLOW_FAILURES: Final = "flowatlas_connection_failures_total"
_NO_ENDPOINT: Final = "flowatlas_service_no_endpoint_connections_total"
_AFFINITY: Final = "flowatlas_service_affinity_connections_total"
_BYPASS: Final = "flowatlas_service_bypass_connections_total"
_SKEW: Final = "flowatlas_service_endpoint_skew_ratio"
_GINI: Final = "flowatlas_service_endpoint_gini_ratio"
_LAST: Final = "flowatlas_service_last_connection_timestamp_seconds"
_CHOSEN: Final = ({"service_namespace": "$namespace", "service": "$service"},)
_DIALLED: Final = ({"service_namespace": "$namespace", "service": "$service", "service_port": ".+"},)
"""As _CHOSEN, without the connections that dialled no Service at all, which All would let through."""
_SENT_TO_PODS: Final = ({**_CHOSEN[0], "endpoint": ".+"},)
_SERVICE: Final = ("service_namespace", "service")
_PORT: Final = (*_SERVICE, "service_port")
_CALLER: Final = ("source_namespace", "source_workload")
_NEVER_S: Final = 1e9
"""A Service port that nobody dialled has 0 for its last connection, which was longer ago than this."""
_NAME: Final = "{{service_namespace}} {{service}}"


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-services",
        title="Flowatlas / Services",
        description="What each Service receives, what of it fails, which pods it is sent to and who calls it.",
        variables=[
            datasource(),
            label("namespace", "Namespace", _CONNECTIONS, "service_namespace"),
            label("service", "Service", _CONNECTIONS, "service", {"service_namespace": "$namespace"}),
        ],
        sections=[_key_figures(), _services(), _traffic(), _endpoints(), _conduct(), _callers()],
    )


def _key_figures() -> Section:
    return section(
        "",
        line(
            4,
            stat(
                "Throughput",
                "Bytes a second of connections that dialled the chosen Services, both directions.",
                "Bps",
                rate(_BYTES, where=_CHOSEN),
            ),
            stat(
                "New connections",
                "Connections a second that dialled the chosen Services, failed ones among them.",
                "cps",
                rate(_CONNECTIONS, where=_CHOSEN),
            ),
            failed_part(
                "Failed connections",
                "The part of the connections that were refused, reset or never answered.",
                _FAILURES,
                _CONNECTIONS,
                _CHOSEN,
            ),
            stat(
                "Callers",
                "How many workloads have dialled the chosen Services over the time shown.",
                "short",
                distinct(increase(_FLOW_CONNECTIONS, by=_CALLER, where=_DIALLED)),
            ),
            stat(
                "Endpoints in use",
                "How many pods connections to the chosen Services were sent to over the time shown.",
                "short",
                distinct(increase(_ENDPOINTS, by=("service_namespace", "endpoint"), where=_SENT_TO_PODS)),
            ),
            stat(
                "Bytes a connection",
                "Bytes in both directions over the time shown, for each connection opened in it.",
                "bytes",
                zero_while(_CONNECTIONS, share(increase(_BYTES, where=_CHOSEN), increase(_CONNECTIONS, where=_CHOSEN))),
            ),
        ),
    )


def _services() -> Section:
    connections = increase(_CONNECTIONS, by=(*_PORT, "service_type"), where=_CHOSEN)
    return section(
        "Services",
        line(
            9,
            table(
                "Services by connections",
                "The 50 Service ports that were dialled most over the time shown.",
                {
                    "service_namespace": "Namespace",
                    "service": "Service",
                    "service_port": "Port",
                    "service_type": "Type",
                },
                [
                    Value("Connections", COUNT, connections),
                    Value("Bytes", "bytes", increase(_BYTES, by=(*_PORT, "service_type"), where=_CHOSEN)),
                    Value(
                        "Failed",
                        COUNT,
                        or_zero(increase(_FAILURES, by=(*_PORT, "service_type"), where=_CHOSEN), connections),
                    ),
                ],
                rows=50,
                links={"Namespace": links.namespace(), "Service": links.service("Namespace")},
            ),
        ),
    )


def _traffic() -> Section:
    return section(
        "Traffic",
        line(
            8,
            timeseries(
                "Throughput by Service",
                "Bytes a second, both directions; the areas add up.",
                "Bps",
                Query(rate(_BYTES, by=_SERVICE, where=_CHOSEN), _NAME),
                stacked=True,
            ),
            timeseries(
                "Connections by Service",
                "Connections opened a second; the areas add up.",
                "cps",
                Query(rate(_CONNECTIONS, by=_SERVICE, where=_CHOSEN), _NAME),
                stacked=True,
            ),
        ),
        line(
            8,
            timeseries(
                "Requests and replies",
                "Bytes a second to the Services (request) and back (reply).",
                "Bps",
                Query(rate(_BYTES, by=("flow_direction",), where=_CHOSEN), "{{flow_direction}}"),
            ),
            timeseries(
                "Connections by address dialled",
                "How the Services were reached: by cluster IP, node port, load balancer or external IP.",
                "cps",
                Query(rate(_CONNECTIONS, by=("via",), where=_CHOSEN), "{{via}}"),
                stacked=True,
            ),
            timeseries(
                "Failures by Service and reason",
                "Connections a second that were refused, reset or never answered.",
                "cps",
                Query(
                    zero_while(_CONNECTIONS, rate(_FAILURES, by=(*_SERVICE, "reason"), where=_CHOSEN), "reason"),
                    f"{_NAME} {{{{reason}}}}",
                ),
            ),
        ),
    )


def _endpoints() -> Section:
    by = (*_SERVICE, "endpoint", "node")
    sent = increase(_ENDPOINTS, by=by, where=_CHOSEN)
    return section(
        "Endpoints",
        line(
            9,
            table(
                "Endpoints by connections",
                "The 50 pods that were sent most of their Service's connections over the time shown, and which part of "
                "them. No endpoint: the connections were sent to no pod.",
                dict(zip(by, ("Namespace", "Service", "Endpoint", "Node"), strict=True)),
                [
                    Value("Connections", COUNT, sent),
                    Value(
                        "Part of the Service's",
                        "percentunit",
                        share(sent, increase(_ENDPOINTS, by=_SERVICE, where=_CHOSEN), of=_SERVICE),
                    ),
                ],
                rows=50,
                links={"Namespace": links.namespace(), "Service": links.service("Namespace")},
            ),
        ),
        line(
            8,
            timeseries(
                "Connections by endpoint",
                "Connections a second that each pod was sent; the ten with most. Choose one Service: even lines mean "
                "even load.",
                "cps",
                Query(
                    top(10, rate(_ENDPOINTS, by=(*_SERVICE, "endpoint"), where=_SENT_TO_PODS)),
                    f"{_NAME} {{{{endpoint}}}}",
                ),
            ),
            timeseries(
                "Connections by node of the endpoint",
                "Connections a second, by the node of the pod that they were sent to; the areas add up.",
                "cps",
                Query(named("node", rate(_ENDPOINTS, by=("node",), where=_CHOSEN), empty="no node"), "{{node}}"),
                stacked=True,
            ),
        ),
    )


def _conduct() -> Section:
    """Whether Services do what they promise, and whether anybody needs them."""
    last = extreme("max", _LAST, by=_PORT, where=_CHOSEN)
    port = {"service_namespace": "Namespace", "service": "Service", "service_port": "Port"}
    to_services = {"Namespace": links.namespace(), "Service": links.service("Namespace")}
    return section(
        "Conduct",
        line(
            8,
            timeseries(
                "Dialled without endpoints",
                "Connections a second to Services that had no ready endpoint then."
                f" {to_do('FlowatlasServiceWithoutEndpoints')}",
                "cps",
                Query(zero_while(_CONNECTIONS, rate(_NO_ENDPOINT, by=_SERVICE, where=_CHOSEN), "service"), _NAME),
                thresholds={0.001: RED},
            ),
            timeseries(
                "Session affinity",
                "Connections a second of clients that came again, to Services that promise them the same endpoint. "
                "broken: another although the first was ready. moved: it was not.",
                "cps",
                Query(
                    zero_while(_CONNECTIONS, rate(_AFFINITY, by=("affinity",), where=_CHOSEN), "affinity"),
                    "{{affinity}}",
                ),
                stacked=True,
            ),
            timeseries(
                "Past the Service",
                "Connections a second straight to endpoints of Services that have an address; the ten callers with "
                "most. several: the endpoint is more than one Service's.",
                "cps",
                Query(
                    zero_while(
                        _CONNECTIONS,
                        top(
                            10,
                            named("service", rate(_BYPASS, by=(*_CALLER, *_SERVICE), where=_CHOSEN), empty="several"),
                        ),
                        "source_workload",
                        "service",
                    ),
                    f"{{{{source_namespace}}}} {{{{source_workload}}}} > {_NAME}",
                ),
            ),
        ),
        line(
            8,
            table(
                "Least even load",
                "Connections of the busiest endpoint over the mean of all (1 is even), and the Gini coefficient (0 is "
                "even), of the last 5 minutes, where there were 10 connections to 2 endpoints or more.",
                port,
                [
                    Value("Busiest over mean", "short", extreme("max", _SKEW, by=_PORT, where=_CHOSEN)),
                    Value("Gini", "short", extreme("max", _GINI, by=_PORT, where=_CHOSEN)),
                ],
                rows=25,
                links=to_services,
            ),
            table(
                "Longest not dialled",
                "Time since the last connection to each Service port, the 25 longest. never: nobody dialled it since "
                "the pipeline started. What nobody needs can go.",
                port,
                [
                    Value("Idle", "s", f"time() - {last}", never_from=_NEVER_S),
                    Value("Last dialled", "dateTimeAsIso", f"1000 * ({last} > 0)"),
                ],
                rows=25,
                links=to_services,
            ),
        ),
    )


def _callers() -> Section:
    keys = (*_CALLER, *_SERVICE)
    connections = increase(_FLOW_CONNECTIONS, by=keys, where=_DIALLED)
    return section(
        "Who calls",
        line(
            9,
            table(
                "Callers",
                "The 50 workloads and Services with the most connections between them over the time shown.",
                {
                    "source_namespace": "From namespace",
                    "source_workload": "From",
                    "service_namespace": "Service namespace",
                    "service": "Service",
                },
                [
                    Value("Connections", COUNT, connections),
                    Value("Bytes", "bytes", increase(_FLOW_BYTES, by=keys, where=_DIALLED)),
                    Value("Failed", COUNT, or_zero(increase(_FLOW_FAILURES, by=keys, where=_DIALLED), connections)),
                ],
                rows=50,
                links={
                    "From namespace": links.namespace(),
                    "From": links.workload("From namespace"),
                    "Service namespace": links.namespace(),
                    "Service": links.service("Service namespace"),
                },
            ),
        ),
        line(
            8,
            timeseries(
                "Throughput by caller",
                "The ten workloads that exchange most bytes with the chosen Services at each instant.",
                "Bps",
                Query(
                    top(10, rate(_FLOW_BYTES, by=_CALLER, where=_DIALLED)), "{{source_namespace}} {{source_workload}}"
                ),
            ),
        ),
    )
