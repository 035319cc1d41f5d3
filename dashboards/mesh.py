"""Mesh: whether traffic is shared out as the mesh is told to, how near its limits are, and who talks past it."""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard

from pipeline.catalog import SUBSET

from . import links
from .frame import frame
from .layout import Section, line, section
from .panels import AMBER, COUNT, RED, Query, Value, stat, table, timeseries
from .queries import distinct, extreme, increase, mean, rate, share, top, total, zero_while
from .variables import datasource, label

_BYTES: Final = "flowatlas_mesh_subset_bytes_total"
_CONNECTIONS: Final = "flowatlas_mesh_subset_connections_total"
_CONFIGURED: Final = "flowatlas_mesh_subset_configured_ratio"
_OBSERVED: Final = "flowatlas_mesh_subset_observed_ratio"
_LIMIT: Final = "flowatlas_mesh_max_connections"
_OPEN: Final = "flowatlas_mesh_concurrent_connections"
_PLAINTEXT: Final = "flowatlas_mesh_plaintext_connections_total"
_CHOSEN: Final = ({"service_namespace": "$namespace", "service": "$service"},)
_NAME: Final = "{{service_namespace}} {{service}} {{subset}}"
_PAIR: Final = ("source_namespace", "source_workload", "destination_workload")


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-mesh",
        title="Flowatlas / Mesh",
        description="Whether the mesh shares traffic out as it is told to, how near limits are, and who talks past it.",
        variables=[
            datasource(),
            label("namespace", "Namespace", _LIMIT, "service_namespace"),
            label("service", "Service", _LIMIT, "service", {"service_namespace": "$namespace"}),
        ],
        sections=[_key_figures(), _weights(), _traffic(), _limits(), _plaintext()],
    )


def _key_figures() -> Section:
    deviation = (
        f"({total(_CONFIGURED, by=SUBSET, where=_CHOSEN)} > {extreme('max', _OBSERVED, by=SUBSET, where=_CHOSEN)}) or "
        f"({total(_CONFIGURED, by=SUBSET, where=_CHOSEN)} < {extreme('min', _OBSERVED, by=SUBSET, where=_CHOSEN)})"
    )
    fullest = share(extreme("max", _OPEN, by=SUBSET, where=_CHOSEN), total(_LIMIT, by=SUBSET, where=_CHOSEN), of=SUBSET)
    return section(
        "",
        line(
            4,
            stat(
                "Throughput",
                "Bytes a second between clients of the mesh and the subsets of the chosen Services.",
                "Bps",
                zero_while(_CONNECTIONS, rate(_BYTES, where=_CHOSEN)),
            ),
            stat(
                "Connections",
                "Connections a second that clients of the mesh opened to these subsets.",
                "cps",
                zero_while(_CONNECTIONS, rate(_CONNECTIONS, where=_CHOSEN)),
            ),
            stat(
                "Subsets in use",
                "Subsets that got a connection over the time shown.",
                "short",
                zero_while(_CONNECTIONS, distinct(increase(_CONNECTIONS, by=SUBSET, where=_CHOSEN))),
            ),
            stat(
                "Weights not kept",
                "Subsets whose configured share lies outside the 95 % confidence interval of what they got."
                " What to do: see which subset below; its pods may not be ready, or clients dial past the mesh.",
                "short",
                zero_while(_OBSERVED, f"count({deviation})"),
                {1: AMBER},
            ),
            stat(
                "Nearest to its limit",
                "The largest part of maxConnections that one client holds open to a Service or subset."
                " What to do: see whose below; raise maxConnections, or find why connections stay open.",
                "percentunit",
                f"max({fullest})",
                {0.8: AMBER, 1: RED},
            ),
            stat(
                "Plaintext",
                "Connections a second from pods outside the mesh to ports that are STRICT."
                " What to do: see who below; give the client a sidecar, or make the port PERMISSIVE until it has one.",
                "cps",
                zero_while(_CONNECTIONS, rate(_PLAINTEXT, where=_CHOSEN)),
                {0.001: AMBER},
            ),
        ),
    )


def _weights() -> Section:
    observed = [
        Value(heading, "percentunit", extreme(which, _OBSERVED, by=SUBSET, where=_CHOSEN))
        for heading, which in (("At least", "min"), ("At most", "max"))
    ]
    return section(
        "Weights",
        line(
            9,
            table(
                "Configured and observed shares",
                "What a VirtualService gives each subset, and between which bounds the share lies that it got since "
                "the weights were last changed (95 % confidence): a weight outside them is not kept.",
                {"service_namespace": "Namespace", "service": "Service", "subset": "Subset"},
                [Value("Configured", "percentunit", total(_CONFIGURED, by=SUBSET, where=_CHOSEN)), *observed],
                rows=50,
                links={"Namespace": links.namespace(), "Service": links.service("Namespace")},
            ),
            timeseries(
                "Shares observed",
                "Estimate and bounds of each subset's share of connections; the bounds close in with each connection.",
                "percentunit",
                Query(mean(_OBSERVED, by=(*SUBSET, "bound"), where=_CHOSEN), f"{_NAME} {{{{bound}}}}"),
                Query(total(_CONFIGURED, by=SUBSET, where=_CHOSEN), f"{_NAME} configured"),
            ),
        ),
    )


def _traffic() -> Section:
    return section(
        "Traffic by subset",
        line(
            8,
            timeseries(
                "Throughput by subset",
                "Bytes a second, both directions; the areas add up.",
                "Bps",
                Query(rate(_BYTES, by=SUBSET, where=_CHOSEN), _NAME),
                stacked=True,
            ),
            timeseries(
                "Connections by subset",
                "Connections opened a second; the areas add up.",
                "cps",
                Query(rate(_CONNECTIONS, by=SUBSET, where=_CHOSEN), _NAME),
                stacked=True,
            ),
        ),
    )


def _limits() -> Section:
    return section(
        "Limits",
        line(
            8,
            table(
                "Open connections and limits",
                "The most connections that one client holds open now, and how many its DestinationRule lets it; no "
                "subset: the rule of the whole Service.",
                {"service_namespace": "Namespace", "service": "Service", "subset": "Subset"},
                [
                    Value("Open", COUNT, extreme("max", _OPEN, by=SUBSET, where=_CHOSEN)),
                    Value("Limit", COUNT, total(_LIMIT, by=SUBSET, where=_CHOSEN)),
                ],
                rows=50,
                links={"Namespace": links.namespace(), "Service": links.service("Namespace")},
            ),
            timeseries(
                "Part of the limit in use",
                "The most connections that one client holds open, as a part of maxConnections; at 100 % clients wait "
                "or fail."
                " What to do: raise maxConnections, or find why connections stay open.",
                "percentunit",
                Query(
                    share(
                        extreme("max", _OPEN, by=SUBSET, where=_CHOSEN),
                        total(_LIMIT, by=SUBSET, where=_CHOSEN),
                        of=SUBSET,
                    ),
                    _NAME,
                ),
                thresholds={1: RED},
            ),
        ),
    )


def _plaintext() -> Section:
    return section(
        "Past the mesh",
        line(
            8,
            timeseries(
                "Plaintext connections",
                "Connections a second from pods outside the mesh to pods whose PeerAuthentication is STRICT; the ten "
                "pairs with most.",
                "cps",
                Query(
                    zero_while(
                        _CONNECTIONS,
                        top(10, rate(_PLAINTEXT, by=_PAIR, where=_CHOSEN)),
                        "source_workload",
                        "destination_workload",
                    ),
                    "{{source_namespace}} {{source_workload}} > {{destination_workload}}",
                ),
            ),
        ),
    )
