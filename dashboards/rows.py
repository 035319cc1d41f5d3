"""Panels, and rows of them, that several dashboards show alike, of the objects that each has chosen."""

from __future__ import annotations

from grafanalib.core import Panel

from .layout import Section, line, section
from .panels import Query, timeseries
from .queries import Filter, rate, top, zero_while


def failures(title: str, description: str, where: tuple[Filter, ...]) -> Panel:
    """Failed connections a second by reason, stacked; 0 where there are connections and none failed."""
    by_reason = rate("flowatlas_connection_failures_total", by=("reason",), where=where)
    query = Query(zero_while("flowatlas_connections_total", by_reason, "reason"), "{{reason}}")
    return timeseries(title, description, "cps", query, stacked=True)


def pod_interfaces(title: str, where: tuple[Filter, ...]) -> Section:
    """What the interfaces of pods receive, transmit, drop and fail on; the filters are on `namespace` and `pod`."""

    def by_pod(direction: str, what: str) -> str:
        return rate(f"container_network_{direction}_{what}_total", by=("namespace", "pod"), where=where)

    trouble = " + ".join(
        by_pod(direction, what) for direction in ("receive", "transmit") for what in ("errors", "packets_dropped")
    )
    return section(
        title,
        line(
            8,
            timeseries(
                "Received by pod",
                "The ten pods whose interfaces receive most at each instant, as the pods see it.",
                "Bps",
                Query(top(10, by_pod("receive", "bytes")), "{{namespace}}/{{pod}}"),
            ),
            timeseries(
                "Transmitted by pod",
                "The ten pods whose interfaces transmit most at each instant, as the pods see it.",
                "Bps",
                Query(top(10, by_pod("transmit", "bytes")), "{{namespace}}/{{pod}}"),
            ),
            timeseries(
                "Errors and drops by pod",
                "Packets a second that a pod's interface dropped or failed on, both directions together; the worst "
                "ten.",
                "pps",
                Query(top(10, trouble), "{{namespace}}/{{pod}}"),
            ),
        ),
    )
