"""Compare what Flowatlas counted with what the lab's programs say that they did, connection by connection.

Not a statistic: every connection of the truth must be one connection of the history, with the same client, Service,
backend and outcome, and with the bytes that its payload and headers make. Pure: frames in, a report out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import polars as pl

from deploy.lab.objects import PROTOCOLS, Cluster, Route

TCP: Final = 6
UDP: Final = 17
TCP_HEADER_BYTES: Final = (40, 80)
"""Least and most bytes of IPv4 and TCP headers in a packet: without options, and with all that fit."""
UDP_HEADER_BYTES: Final = 28
IPV6_MORE_BYTES: Final = 20
"""By so much is an IPv6 header longer than one of IPv4 without options."""
MATCH_TOLERANCE_NS: Final = 2_000_000_000
"""A connection's start by the kernel and by its program may differ by this much; source ports are not reused faster."""

KEY: Final = ["src_ip", "src_port", "dst_ip", "dst_port", "protocol"]

TRUTH_SCHEMA: Final = pl.Schema(
    {
        "id": pl.String,
        "scenario": pl.String,
        "client": pl.String,
        "src_ip": pl.String,
        "src_port": pl.UInt16,
        "dst_ip": pl.String,
        "dst_port": pl.UInt16,
        "protocol": pl.UInt8,
        "service": pl.String,
        "backend": pl.String,
        "sent_bytes": pl.UInt64,
        "received_bytes": pl.UInt64,
        "sent_again_bytes": pl.Int64,
        "received_again_bytes": pl.Int64,
        "outcome": pl.String,
        "opened_ns": pl.Int64,
        "denied_by": pl.String,
        "tracked": pl.Boolean,
        "route": pl.String,
        "mesh": pl.String,
        "connected_us": pl.Int64,
    }
)
SEVERAL: Final = "several"
"""What a label says where the routes that lead to a Service differ."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one comparison. Each list names connections, one a line, as a person reads them."""

    generated: int
    """Connections that the truth holds and the kernel tracked, DNS look-ups among them."""
    counted: int
    """Of these, connections that the history holds exactly once with every fact right."""
    untracked: int
    """Attempts that the kernel dropped before its connection tracking confirmed them."""
    missing: list[str] = field(default_factory=list)
    counted_twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    never_generated: list[str] = field(default_factory=list)
    header_bytes_per_packet: float = 0.0
    """Mean over the TCP connections that match and know what was sent again: bytes less payload, per packet."""

    @property
    def ok(self) -> bool:
        """Whether every connection is there once, with every fact right, and no other."""
        return not (self.missing or self.counted_twice or self.wrong or self.never_generated)


def truth_frame(
    rows: Sequence[Mapping[str, Any]],
    host_pods: Mapping[str, str],
    routes: Sequence[Route] = (),
    *,
    has_heads: bool = False,
    headless: Mapping[tuple[str, int, int], str] = MappingProxyType({}),
) -> pl.DataFrame:
    """The truth's JSON rows as columns: client, Service and backend as `namespace/name`, empty where there is none.

    `route` is what a flow can show of the rule that a request matched: all of it where the flows have heads
    (`has_heads`), else of several `routes` to the Service what they agree on.
    `mesh` is the mode and the subset, null where the truth does not speak of them.

    Who meant no Service's address and dialled an endpoint of a headless one is its client: `headless` has these, by
    address, port and protocol. What is outside the cluster is `outside`. `host_pods` maps the hostNetwork pods
    (`namespace/name`) to their nodes, since an address cannot tell such a client from its node; the port where it
    answers does.
    """

    def named(value: Mapping[str, Any] | None, name: str) -> str:
        if not value:
            return ""
        if "namespace" not in value:
            return "outside"
        return f"{value['namespace']}/{value[name]}"

    flat = [
        {
            **{key: row.get(key) for key in TRUTH_SCHEMA},
            "id": str(row["id"]),
            "client": host_pods.get(client := named(row["client"], "pod"), client),
            "service": named(row.get("service"), "name")
            or headless.get((row["dst_ip"], row["dst_port"], row["protocol"]), ""),
            "backend": named(row.get("backend"), "pod"),
            "route": _route(row, routes, has_heads),
            "mesh": f"{mesh['mode']} {mesh['subset']}" if (mesh := row.get("mesh")) and "mode" in mesh else None,
        }
        for row in rows
    ]
    return pl.DataFrame(flat, schema=TRUTH_SCHEMA)


def headless_endpoints(cluster: Cluster) -> dict[tuple[str, int, int], str]:
    """`namespace/name` of the headless Service that an address, port and protocol is an endpoint of."""
    return {
        (ip, number, PROTOCOLS[port.protocol]): f"{service.namespace}/{service.name}"
        for service in cluster.services.values()
        if service.external_name is None and service.cluster_ip is None
        for port in service.ports
        for ip, number in (*port.endpoints, *port.endpoints_v6)
    }


def _route(row: Mapping[str, Any], routes: Sequence[Route], has_heads: bool) -> str:
    """`namespace/name host path` of the rule that the request matched, with `several` for what flows cannot tell."""
    told = row.get("route")
    if not told:
        return ""
    service = row["service"]["namespace"], row["service"]["name"]
    candidates = [(*route.ingress, route.host, route.path) for route in routes if route.service == service]
    if tuple(told.values()) not in candidates:
        raise ValueError(f"{row['id']}: {told} is no route to {service}")
    seen = [tuple(told.values())] if has_heads else candidates
    namespace, name, host, path = (
        values[0] if len(set(values)) == 1 else SEVERAL for values in zip(*seen, strict=True)
    )
    return f"{namespace}/{name} {host} {path}"


def connections(flows: pl.LazyFrame) -> pl.DataFrame:
    """Observations of the history (`pipeline.query.scan_flows`) folded into connections; canonical TCP and UDP alone.

    One row a connection: KEY, start (ns), opened (how often it was counted), client, service, backend, route, mesh,
    outcome, packets, bytes, reply_packets, reply_bytes.
    """

    def named(namespace: str, name: str) -> pl.Expr:
        is_outside = pl.col(namespace) == ""
        return pl.when(is_outside).then(pl.col(name)).otherwise(pl.concat_str(namespace, name, separator="/"))

    is_final = pl.col("outcome") != "open"
    return (
        flows.filter(pl.col("role") == "canonical", pl.col("protocol").is_in([TCP, UDP]))
        .with_columns(
            pl.col("start").cast(pl.Int64),
            client=named("source_namespace", "source_name"),
            backend=named("destination_namespace", "destination_name"),
            service=named("service_namespace", "service"),
            route=pl.when(pl.col("route") != "")
            .then(pl.format("{}/{} {} {}", "route_namespace", "route", "route_host", "route_path"))
            .otherwise(pl.lit("")),
            mesh=pl.concat_str("mesh", "subset", separator=" "),
            outcome=pl.col("outcome").cast(pl.String),
        )
        .group_by(*KEY, "flow_id", "node")
        .agg(
            pl.col("start", "client", "service", "backend", "mesh").first(),
            pl.col("route").sort_by("time").last(),  # the first rows may have gone before the head was seen
            pl.col("opened", "packets", "bytes", "reply_packets", "reply_bytes").cast(pl.Int64).sum(),
            outcome=pl.col("outcome").filter(is_final).first().fill_null("open"),
        )
        .collect()
    )


def compare(truth: pl.DataFrame, found: pl.DataFrame) -> Report:
    """Match every connection found to the truth's nearest one of the same key, then judge each."""
    tracked = truth.filter(pl.col("tracked"))
    matched = found.sort("start").join_asof(
        truth.select(*KEY, pl.col("opened_ns"), pl.col("id")).sort("opened_ns"),
        left_on="start",
        right_on="opened_ns",
        by=KEY,
        strategy="nearest",
        tolerance=MATCH_TOLERANCE_NS,
        check_sortedness=False,
    )
    never_generated = matched.filter(pl.col("id").is_null())
    folded = (
        matched.filter(pl.col("id").is_not_null())
        .group_by("id")
        .agg(
            pl.col("opened", "packets", "bytes", "reply_packets", "reply_bytes").sum(),
            pl.col("client", "service", "backend", "route", "mesh", "outcome").last().name.prefix("found_"),
            records=pl.len(),
        )
    )
    judged = tracked.join(folded, on="id", how="left").with_columns(_faults())
    is_missing = pl.col("records").is_null()
    is_twice = (pl.col("records") > 1) | (pl.col("opened") > 1)
    is_wrong = ~is_missing & ~is_twice & (pl.col("faults").list.len() > 0)
    right = judged.filter(~is_missing & ~is_twice & ~is_wrong)
    tcp = right.filter(
        pl.col("protocol") == TCP,
        pl.col("sent_again_bytes").is_not_null(),
        pl.col("received_again_bytes").is_not_null(),
    )
    payload = pl.sum_horizontal(
        pl.col("sent_bytes", "received_bytes", "sent_again_bytes", "received_again_bytes").cast(pl.Int64)
    )
    overhead = (pl.col("bytes") + pl.col("reply_bytes") - payload).sum() / (
        pl.col("packets") + pl.col("reply_packets")
    ).sum()
    return Report(
        generated=tracked.height,
        counted=right.height,
        untracked=truth.filter(~pl.col("tracked")).height,
        missing=_lines(judged.filter(is_missing)),
        counted_twice=_lines(judged.filter(is_twice)),
        wrong=_lines(judged.filter(is_wrong)),
        never_generated=_lines(never_generated.with_columns(faults=pl.lit(None, pl.List(pl.String)))),
        header_bytes_per_packet=float(tcp.select(overhead).item()) if tcp.height else 0.0,
    )


def _faults() -> pl.Expr:
    """What is wrong with a matched connection, as a list of sentences."""
    least, most = TCP_HEADER_BYTES
    is_tcp = pl.col("protocol") == TCP

    def differs(what: str) -> pl.Expr:
        found = pl.col(f"found_{what}")
        text = pl.format(f"{what} {{}}, not {{}}", found, pl.col(what))
        return pl.when(found != pl.col(what)).then(text)

    def bytes_differ(counted: str, packets: str, payload: str, again: str) -> pl.Expr:
        count = pl.col(packets)
        is_v6 = pl.col("src_ip").str.contains(":", literal=True)
        longer = pl.when(is_v6).then(count * IPV6_MORE_BYTES).otherwise(0)
        headers = pl.col(counted) - pl.col(payload).cast(pl.Int64) - longer
        sent_again = pl.coalesce(again, pl.col(payload).cast(pl.Int64))  # unknown: at most everything, once
        fits = (
            pl.when(is_tcp)
            .then(headers.is_between(count * least, count * most + sent_again))
            .otherwise(headers == count * UDP_HEADER_BYTES)
        )
        text = pl.format(f"{counted} {{}} in {{}} packets for a payload of {{}}", counted, packets, payload)
        return pl.when(~fits).then(text)

    is_unanswered = (pl.col("backend") == "") | pl.col("outcome").is_in(["refused", "no_reply"])
    return (
        pl.concat_list(
            differs("client"),
            differs("service"),
            differs("route"),
            differs("mesh"),
            pl.when(~is_unanswered).then(differs("backend")),
            pl.when(is_tcp).then(differs("outcome")),
            pl.when(pl.col("opened") != 1).then(pl.format("opened {} times", "opened")),
            bytes_differ("bytes", "packets", "sent_bytes", "sent_again_bytes"),
            bytes_differ("reply_bytes", "reply_packets", "received_bytes", "received_again_bytes"),
        )
        .list.drop_nulls()
        .alias("faults")
    )


def _lines(rows: pl.DataFrame) -> list[str]:
    return [
        f"{row['client']} {row['src_ip']}:{row['src_port']} -> {row['service'] or 'no Service'} "
        f"{row['dst_ip']}:{row['dst_port']}/{row['protocol']}"
        + (f" [{row['scenario']}]" if row.get("scenario") else "")
        + (f": {'; '.join(row['faults'])}" if row.get("faults") else "")
        for row in rows.sort(*KEY).iter_rows(named=True)
    ]
