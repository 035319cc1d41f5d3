"""What the signals of Services must come to, as sums over the history; the lab's manifests say who had endpoints.

Written from the definitions alone, in addresses and ports: it shares no look-up with what it checks.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from deploy.lab.objects import Cluster

PROTOCOLS = {"TCP": 6, "UDP": 17}


def signal_sums(cluster: Cluster) -> Mapping[str, pl.Expr]:
    """By metric: the sum over the canonical rows of the history that it must have."""
    opened = pl.col("opened").cast(pl.Int64)
    is_straight = pl.col("dst_ip") == pl.col("backend_ip")
    barren = [
        f"{service.namespace}/{service.name}/{port.name or port.port}"
        for service in cluster.services.values()
        for port in service.ports
        if not port.endpoints and service.external_name is None
    ]
    port = pl.concat_str("service_namespace", "service", "service_port", separator="/")
    own, by_name = _endpoints(cluster, has_address=True), _endpoints(cluster, has_address=False)
    answered = pl.format("{} {} {}", "backend_ip", "backend_port", "protocol")
    is_between_pods = (pl.col("source_kind") == "Pod") & (pl.col("destination_kind") == "Pod")
    is_proxied = (pl.col("route") != "") | (pl.col("mesh") != "")
    is_bypass = (pl.col("service") == "") & is_straight & is_between_pods & ~is_proxied
    return {
        "flowatlas_service_no_endpoint_connections_total": opened.filter(port.is_in(barren) & is_straight).sum(),
        "flowatlas_service_bypass_connections_total": opened.filter(
            is_bypass & answered.is_in(sorted(own - by_name))
        ).sum(),
        "flowatlas_zone_bytes_total": (pl.col("bytes") + pl.col("reply_bytes")).sum(),
    }


def _endpoints(cluster: Cluster, *, has_address: bool) -> set[str]:
    """Address, port and protocol of the endpoints of Services with an address of their own, or of headless ones."""
    return {
        f"{ip} {number} {PROTOCOLS[port.protocol]}"
        for service in cluster.services.values()
        if service.external_name is None and (service.cluster_ip is not None) == has_address
        for port in service.ports
        for ip, number in (*port.endpoints, *port.endpoints_v6)
    }
