"""Panels, and rows of them, that several dashboards show alike, of the objects that each has chosen."""

from __future__ import annotations

from typing import Final, Literal

from grafanalib.core import Panel

from .advice import SAID, to_do
from .layout import Section, line, section
from .panels import AMBER, RED, Query, stat, timeseries
from .queries import COUNTED, NOT, Filter, age, failed_share, increase, named, rate, top, total, zero_while

_PIPELINE: Final = "flowatlas_build_info"
NAMESPACE_BYTES: Final = "flowatlas_namespace_bytes_total"
NAMESPACE_CONNECTIONS: Final = "flowatlas_namespace_connections_total"
NAMESPACE_FAILURES: Final = "flowatlas_namespace_connection_failures_total"
"""What to sum where workloads do not matter: a hundredth of the series of the metrics by workload."""
TOUCHING: Final = (
    {"source_namespace": "$namespace"},
    {"source_namespace": f"{NOT}$namespace", "destination_namespace": "$namespace"},
)
"""Connections with either end in the chosen namespaces. The second filter leaves out what the first has, so that with
All chosen it has nothing and costs nothing."""
_FAILURES: Final = "flowatlas_connection_failures_total"
_SENT: Final = "flowatlas_collector_rows_total"


def failures(title: str, description: str, where: tuple[Filter, ...], metric: str = _FAILURES) -> Panel:
    """Failed connections a second by reason, stacked; 0 where there are connections and none failed."""
    query = Query(zero_while(COUNTED, rate(metric, by=("reason",), where=where), "reason"), "{{reason}}")
    return timeseries(title, description, "cps", query, stacked=True)


def failed_part(
    title: str, description: str, failures: str, connections: str, where: tuple[Filter, ...], advice: str = ""
) -> Panel:
    """Which part of the connections failed, of two metrics; `advice` is what to do, where it is not the runbook's."""
    what_to_do = f"{SAID}{advice}" if advice else to_do("FlowatlasServiceFailures")
    return stat(
        title,
        f"{description} {what_to_do}",
        "percentunit",
        failed_share(failures, connections, where),
        {0.01: AMBER, 0.05: RED},
    )


def by_namespace(
    title: str,
    description: str,
    unit: str,
    metric: str,
    end: Literal["source", "destination"],
    where: tuple[Filter, ...],
) -> Panel:
    """The metric a second by the namespace of one end, stacked."""
    namespace = f"{end}_namespace"
    query = named(namespace, rate(metric, by=(namespace,), where=where), empty="no namespace")
    return timeseries(title, description, unit, Query(query, f"{{{{{namespace}}}}}"), stacked=True)


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


def coverage(title: str, where: tuple[Filter, ...]) -> Section:
    """How policies cover pods, and what their traffic stands on; the filters are on `namespace`."""
    by = ("direction", "coverage")
    name = "{{direction}} {{coverage}}"
    return section(
        title,
        line(
            8,
            timeseries(
                "Pods by coverage",
                "isolated: a NetworkPolicy selects them. selected: only admin policies do. unprotected: none does. "
                "not_judged: a policy that is not understood, such as Cilium's or Calico's own, may.",
                "short",
                Query(total("flowatlas_policy_coverage_pods", by=by, where=where), name),
            ),
            timeseries(
                "Traffic by what it stands on",
                "Bytes a second of the namespaces' pods: allowed by a rule, by default, by no policy, or denied.",
                "Bps",
                Query(rate("flowatlas_policy_coverage_bytes_total", by=by, where=where), name),
            ),
        ),
    )


def pipeline(title: str) -> Section:
    """Whether observations come, how old they are, what their processing takes, and what of them is lost."""
    return section(
        title,
        line(
            7,
            timeseries(
                "Observations applied",
                "Rows a second that the pipeline has applied, by table.",
                "rowsps",
                Query(rate("flowatlas_pipeline_rows_total", by=("table",)), "{{table}}"),
            ),
            timeseries(
                "Age of the newest observation",
                "How long ago each node's newest observation was made. A node that grows old sends nothing any more."
                f" {to_do('FlowatlasCollectorSilent')}",
                "s",
                Query(age("flowatlas_pipeline_last_observation_timestamp_seconds", by=("node",)), "{{node}}"),
                thresholds={60: RED},
            ),
            timeseries(
                "Time spent by stage",
                "Processing time a second, by stage; 1 s is one core's whole time.",
                "s",
                Query(rate("flowatlas_pipeline_stage_seconds_total", by=("stage",)), "{{stage}}"),
                stacked=True,
            ),
        ),
        line(
            7,
            timeseries(
                "Batches lost, repeated or set aside",
                "Missing: numbered by the node but not arrived. Repeated: arrived again and not applied "
                "again. Set aside: could not be read, by reason.",
                "cps",
                Query(zero_while(_PIPELINE, rate("flowatlas_pipeline_missing_batches_total")), "missing"),
                Query(zero_while(_PIPELINE, rate("flowatlas_pipeline_duplicate_batches_total")), "repeated"),
                Query(
                    zero_while(
                        _PIPELINE, rate("flowatlas_pipeline_quarantined_batches_total", by=("reason",)), "reason"
                    ),
                    "set aside: {{reason}}",
                ),
            ),
            timeseries(
                "Rows lost at collectors",
                "Rows that did not reach the bus, by reason. Empty where Prometheus does not scrape the collectors.",
                "rowsps",
                Query(
                    zero_while(_SENT, rate("flowatlas_collector_lost_rows_total", by=("reason",)), "reason"),
                    "{{reason}}",
                ),
            ),
            timeseries(
                "Series exposed and folded",
                "Series of flow and counter metrics on the pipeline's /metrics; label sets that had no room of their "
                "own and are counted under `other`, by family and by namespace, and such as went for being idle.",
                "short",
                Query(total("flowatlas_pipeline_series"), "series"),
                Query(
                    zero_while(_PIPELINE, increase("flowatlas_series_folded_total", by=("family",)), "family"),
                    "folded, family: {{family}}",
                ),
                Query(
                    zero_while(
                        _PIPELINE,
                        increase("flowatlas_series_folded_by_namespace_total", by=("namespace",)),
                        "namespace",
                    ),
                    "folded, namespace: {{namespace}}",
                ),
                Query(increase("flowatlas_series_expired_total"), "gone idle"),
            ),
        ),
    )
