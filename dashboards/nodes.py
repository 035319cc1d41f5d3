"""Nodes: what uplinks, tunnels and pods' interfaces carry and lose, and how much of it is in flows."""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard, Panel

from . import links
from .advice import to_do
from .frame import frame
from .layout import Section, line, section
from .panels import AMBER, RED, Query, Value, stat, table, timeseries
from .queries import Filter, extreme, increase, rate, share, top, total, zero_while
from .rows import pod_interfaces
from .variables import datasource, label

_RECEIVED: Final = "flowatlas_node_network_receive_bytes_total"
_TRANSMITTED: Final = "flowatlas_node_network_transmit_bytes_total"
_OVERLAY: Final = "flowatlas_overlay_bytes_total"
_OBSERVED: Final = "flowatlas_observer_bytes_total"
_POD_COVERAGE: Final = "flowatlas_capture_coverage_ratio"
_NODE_COVERAGE: Final = "flowatlas_node_capture_coverage_ratio"
_SOCKETS: Final = ("container_network_tcp_usage_total", "container_network_tcp6_usage_total")
_CHOSEN: Final = ({"node": "$node"},)
_UPLINK: Final = ({"node": "$node", "scope": "node"},)
_TUNNEL: Final = ({"node": "$node", "scope": "overlay"},)
_INTERFACE: Final = ("node", "interface", "scope")
_NAME: Final = "{{node}} {{interface}}"
_DIRECTIONS: Final = ("receive", "transmit")


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-nodes",
        title="Flowatlas / Nodes, interfaces and overlay",
        description="What uplinks, tunnels and pods' interfaces carry and lose, and how much of it is in flows.",
        variables=[datasource(), label("node", "Node", _RECEIVED, "node")],
        sections=[
            _key_figures(),
            _uplinks(),
            _overlay(),
            pod_interfaces("Pods", _CHOSEN),
            _pods(),
            _coverage(),
        ],
    )


def _both(what: str, by: tuple[str, ...] = (), where: tuple[Filter, ...] = _CHOSEN) -> str:
    """What nodes' interfaces count of `what` a second, both directions together."""
    return " + ".join(rate(f"flowatlas_node_network_{way}_{what}_total", by=by, where=where) for way in _DIRECTIONS)


def _key_figures() -> Section:
    return section(
        "",
        line(
            4,
            stat(
                "Received by uplinks",
                "Bytes a second that the uplinks of the chosen nodes receive.",
                "Bps",
                zero_while(_RECEIVED, rate(_RECEIVED, where=_UPLINK)),
            ),
            stat(
                "Transmitted by uplinks",
                "Bytes a second that they transmit.",
                "Bps",
                zero_while(_RECEIVED, rate(_TRANSMITTED, where=_UPLINK)),
            ),
            stat(
                "Through the overlay",
                "The part of what uplinks transmit that is packets in tunnels between nodes.",
                "percentunit",
                zero_while(_RECEIVED, share(rate(_TRANSMITTED, where=_TUNNEL), rate(_TRANSMITTED, where=_UPLINK))),
            ),
            stat(
                "Errors",
                f"Errors a second at nodes' interfaces, both directions. {to_do('FlowatlasNodeInterfaceErrors')}",
                "pps",
                _both("errors"),
                {0.1: AMBER, 1: RED},
            ),
            stat(
                "Packets dropped",
                "Packets a second that nodes' interfaces dropped, both directions."
                f" {to_do('FlowatlasNodeInterfaceDrops')}",
                "pps",
                _both("packets_dropped"),
                {1: AMBER, 10: RED},
            ),
            stat(
                "Least captured node",
                "The smallest share of a node's pods' bytes that is in flows, over the last 10 minutes.",
                "percentunit",
                extreme("min", _NODE_COVERAGE, where=_CHOSEN),
            ),
        ),
    )


def _uplinks() -> Section:
    return section(
        "Uplinks and tunnel devices",
        line(
            8,
            _by_interface("Received by interface", "Bytes a second received, the ten busiest.", "Bps", _RECEIVED),
            _by_interface(
                "Transmitted by interface", "Bytes a second transmitted, the ten busiest.", "Bps", _TRANSMITTED
            ),
            timeseries(
                "Errors and drops by interface",
                "Packets a second that an interface dropped or failed on, both directions; the worst ten.",
                "pps",
                Query(
                    top(10, f"{_both('errors', _INTERFACE)} + {_both('packets_dropped', _INTERFACE)}"),
                    _NAME,
                ),
            ),
        ),
        line(
            9,
            table(
                "Interfaces",
                "The 50 interfaces that received most over the time shown. Scope overlay: a tunnel device, whose "
                "packets pass an uplink too.",
                {"node": "Node", "interface": "Interface", "scope": "Scope"},
                [
                    Value("Received", "bytes", increase(_RECEIVED, by=_INTERFACE, where=_CHOSEN)),
                    Value("Transmitted", "bytes", increase(_TRANSMITTED, by=_INTERFACE, where=_CHOSEN)),
                    *(
                        Value(
                            f"{heading} {done}",
                            "short",
                            increase(f"flowatlas_node_network_{way}_{what}_total", by=_INTERFACE, where=_CHOSEN),
                        )
                        for heading, what in (
                            ("Packets", "packets"),
                            ("Errors", "errors"),
                            ("Drops", "packets_dropped"),
                        )
                        for way, done in zip(_DIRECTIONS, ("in", "out"), strict=True)
                    ),
                ],
                rows=50,
                links={"Node": links.node()},
            ),
        ),
    )


def _by_interface(title: str, description: str, unit: str, metric: str) -> Panel:
    return timeseries(
        title, description, unit, Query(top(10, rate(metric, by=_INTERFACE, where=_CHOSEN)), f"{_NAME} ({{{{scope}}}})")
    )


def _overlay() -> Section:
    return section(
        "Overlay",
        line(
            8,
            timeseries(
                "Tunnel packets by node",
                "Bytes a second of tunnel packets between nodes, as flows tell; the connections inside are counted by "
                "themselves. 0 where pods' packets travel bare.",
                "Bps",
                Query(
                    zero_while("flowatlas_build_info", rate(_OVERLAY, by=("node", "protocol"), where=_CHOSEN), "node"),
                    "{{node}} {{protocol}}",
                ),
                stacked=True,
            ),
            timeseries(
                "Seen twice, counted once",
                "Bytes a second of connections that a node saw too while another node's record is the one that counts.",
                "Bps",
                Query(
                    zero_while("flowatlas_build_info", rate(_OBSERVED, by=("node",), where=_CHOSEN), "node"), "{{node}}"
                ),
                stacked=True,
            ),
        ),
    )


def _pods() -> Section:
    def packets(direction: str) -> str:
        return rate(f"container_network_{direction}_packets_total", by=("node",), where=_CHOSEN)

    return section(
        "Pods by node",
        line(
            8,
            timeseries(
                "Packets of pods' interfaces",
                "Packets a second that the interfaces of each node's pods receive and transmit.",
                "pps",
                Query(packets("receive"), "{{node}} received"),
                Query(packets("transmit"), "{{node}} transmitted"),
            ),
            timeseries(
                "TCP sockets of pods, by state",
                "Sockets that the chosen nodes' pods have, of IPv4 and IPv6. No data where collectors do not count "
                "them.",
                "short",
                *(
                    Query(total(metric, by=("tcp_state",), where=_CHOSEN), f"{{{{tcp_state}}}} {family}")
                    for metric, family in zip(_SOCKETS, ("IPv4", "IPv6"), strict=True)
                ),
                stacked=True,
            ),
        ),
    )


def _coverage() -> Section:
    by_pod = ("node", "namespace", "pod")
    return section(
        "How much is in flows",
        line(
            8,
            timeseries(
                "Captured by node",
                "Bytes of flows at the node's pods, with link headers, over what their interfaces counted in 10 "
                "minutes. 100 % is all.",
                "percentunit",
                Query(extreme("min", _NODE_COVERAGE, by=("node",), where=_CHOSEN), "{{node}}"),
            ),
            timeseries(
                "Least captured pods",
                "The same of the ten pods of which least is in flows.",
                "percentunit",
                Query(
                    f"bottomk(10, {extreme('min', _POD_COVERAGE, by=by_pod, where=_CHOSEN)})",
                    "{{namespace}}/{{pod}}",
                ),
            ),
        ),
    )
