"""Ingress and routes: what comes in through which host and path, what of it fails, and who comes in past the routes."""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard

from . import links
from .frame import frame
from .layout import Section, line, section
from .panels import AMBER, COUNT, Query, Value, stat, table, timeseries
from .queries import distinct, increase, named, or_zero, rate, top, zero_while
from .rows import failed_part
from .variables import datasource, label

_BYTES: Final = "flowatlas_ingress_bytes_total"
_CONNECTIONS: Final = "flowatlas_ingress_connections_total"
_FAILURES: Final = "flowatlas_ingress_connection_failures_total"
_BYPASSES: Final = "flowatlas_ingress_bypass_connections_total"
_CHOSEN: Final = ({"route_namespace": "$namespace", "route": "$route"},)
_PAST: Final = ({"service_namespace": "$namespace"},)
_ROUTE: Final = ("route_namespace", "route")
_RULE: Final = ("route_namespace", "route", "route_host", "route_path")
_SERVICE: Final = ("service_namespace", "service")


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-ingress",
        title="Flowatlas / Ingress and routes",
        description="What ingress proxies pass on by host and path, what of it fails, and who comes in past them.",
        variables=[
            datasource(),
            label("namespace", "Namespace", _CONNECTIONS, "route_namespace"),
            label("route", "Route", _CONNECTIONS, "route", {"route_namespace": "$namespace"}),
        ],
        sections=[_key_figures(), _traffic(), _routes(), _past()],
    )


def _key_figures() -> Section:
    return section(
        "",
        line(
            4,
            stat(
                "Throughput",
                "Bytes a second between ingress proxies and the Services behind the chosen routes, both directions.",
                "Bps",
                rate(_BYTES, where=_CHOSEN),
            ),
            stat(
                "Connections",
                "Connections a second that proxies opened to the Services behind the chosen routes.",
                "cps",
                rate(_CONNECTIONS, where=_CHOSEN),
            ),
            failed_part(
                "Failed connections",
                "The part of these that were refused, reset or never answered; clients get 502 or 504 unless the proxy "
                "tries again.",
                _FAILURES,
                _CONNECTIONS,
                _CHOSEN,
            ),
            stat(
                "Routes in use",
                "Ingresses and routes through which something came over the time shown.",
                "short",
                zero_while(_CONNECTIONS, distinct(increase(_CONNECTIONS, by=_ROUTE, where=_CHOSEN))),
            ),
            stat(
                "Hosts in use",
                "Hosts that these name and through which something came.",
                "short",
                zero_while(_CONNECTIONS, distinct(increase(_CONNECTIONS, by=("route_host",), where=_CHOSEN))),
            ),
            stat(
                "Past the routes",
                "Connections a second from beyond the cluster that dialled a Service's own address although a route "
                "leads to it."
                " What to do: see which Service below, and make it a ClusterIP if only the route is to lead to it.",
                "cps",
                zero_while(_CONNECTIONS, rate(_BYPASSES, where=_PAST)),
                {0.001: AMBER},
            ),
        ),
    )


def _traffic() -> Section:
    return section(
        "Traffic",
        line(
            8,
            timeseries(
                "Throughput by host",
                "Bytes a second, both directions, by the host of the rule; the areas add up. several: rules of several "
                "hosts lead to the same Service.",
                "Bps",
                Query(
                    named("route_host", rate(_BYTES, by=("route_host",), where=_CHOSEN), empty="any host"),
                    "{{route_host}}",
                ),
                stacked=True,
            ),
            timeseries(
                "Connections by host",
                "Connections a second that proxies opened, by the host of the rule; the areas add up.",
                "cps",
                Query(
                    named("route_host", rate(_CONNECTIONS, by=("route_host",), where=_CHOSEN), empty="any host"),
                    "{{route_host}}",
                ),
                stacked=True,
            ),
        ),
        line(
            8,
            timeseries(
                "Throughput by Service behind",
                "Bytes a second, both directions; the ten busiest Services behind the routes at each instant.",
                "Bps",
                Query(top(10, rate(_BYTES, by=_SERVICE, where=_CHOSEN)), "{{service_namespace}} {{service}}"),
            ),
            timeseries(
                "Failures by Service and reason",
                "refused: a reset answered the first packet. reset: it was established first. no_reply: nothing "
                "answered.",
                "cps",
                Query(
                    zero_while(_CONNECTIONS, rate(_FAILURES, by=(*_SERVICE, "reason"), where=_CHOSEN), "reason"),
                    "{{service_namespace}} {{service}} {{reason}}",
                ),
            ),
            timeseries(
                "With and without TLS",
                "Connections a second by whether the host is offered over TLS; from the proxy on they may be plain.",
                "cps",
                Query(rate(_CONNECTIONS, by=("tls",), where=_CHOSEN), "TLS {{tls}}"),
                stacked=True,
            ),
        ),
    )


def _routes() -> Section:
    keys = ("route_kind", *_RULE, "tls", *_SERVICE)
    connections = increase(_CONNECTIONS, by=keys, where=_CHOSEN)
    return section(
        "Routes",
        line(
            10,
            table(
                "Rules by connections",
                "The 100 rules through which most connections came over the time shown, and the Service behind.",
                {
                    "route_namespace": "Namespace",
                    "route_kind": "Kind",
                    "route": "Route",
                    "route_host": "Host",
                    "route_path": "Path",
                    "tls": "TLS",
                    "service_namespace": "Service namespace",
                    "service": "Service",
                },
                [
                    Value("Connections", COUNT, connections),
                    Value("Bytes", "bytes", increase(_BYTES, by=keys, where=_CHOSEN)),
                    Value("Failed", COUNT, or_zero(increase(_FAILURES, by=keys, where=_CHOSEN), connections)),
                ],
                rows=100,
                links={
                    "Namespace": links.namespace(),
                    "Service namespace": links.namespace(),
                    "Service": links.service("Service namespace"),
                },
            ),
        ),
    )


def _past() -> Section:
    return section(
        "Past the routes",
        line(
            8,
            timeseries(
                "Connections past the routes",
                "Connections a second from beyond the cluster to a Service's own address although an Ingress or "
                "Gateway leads to it: what the proxy checks and logs is passed by.",
                "cps",
                Query(
                    zero_while(_CONNECTIONS, rate(_BYPASSES, by=(*_SERVICE, "via"), where=_PAST), "via"),
                    "{{service_namespace}} {{service}} {{via}}",
                ),
            ),
        ),
    )
