"""DNS exchanges with what they mean: who asked, what kind of name it asked for, whether it went past the cluster's DNS.

Pure, under one snapshot. The invariant: every exchange has exactly one class of name, whatever the name.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..inventory.addresses import NODE_LOCAL_DNS
from ..inventory.snapshot import Snapshot
from .clusternames import DOMAIN, headless, meanings
from .flows import attribute
from .lookups import ADDRESS

NAME_CLASSES: Final = ("service", "headless", "pod", "search", "cluster_unknown", "reverse", "single_label", "outside")
"""What a name means: a Service or a port of one; a Service without an address of its own; a pod, also behind such a
Service; a name that only a search list makes; another of the cluster's domain that means no object that is known; an
address looked up backwards; one word, which means nothing without a search list; anything else."""

PORT: Final = 53
MAX_LATENCY_NS: Final = 60 * 10**9
"""More than a collector waits for an answer: what says more is wrong."""


def asked_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The exchanges in rows of `collector.schema.DNS`, one row each and in order, with when it was asked: `start`."""
    latency = pl.col("latency_ns").clip(upper_bound=MAX_LATENCY_NS)
    return rows.filter(pl.col("exchanges") > 0).with_columns(
        latency_ns=latency, start=pl.col("time") - latency.cast(pl.Int64)
    )


def attribute_dns(asked: pl.DataFrame, snapshot: Snapshot, domain: str = DOMAIN) -> pl.DataFrame:
    """Rows of `asked_of`, all and in order, with added
    - `src_id`, `dst_id` (UInt32): the endpoints that asked and were asked, as of `start`;
    - `name_class` (String, one of NAME_CLASSES);
    - `is_bypass` (Boolean): a pod asked something else than the DNS of the cluster, whose own pods may.

    The cluster's DNS is whatever answers for a Service's port 53, and the address of NodeLocal DNSCache; where there is
    no such Service, nothing goes past it.
    """
    ends = {"src": "client", "nat_src": "client", "dst": "server", "backend": "server"}
    halves = [pl.col(f"{ours}_{half}").alias(f"{end}_{half}") for end, ours in ends.items() for half in ("hi", "lo")]
    ports = {f"{end}_port": 0 if ours == "client" else PORT for end, ours in ends.items()}
    as_flows = asked.with_columns(*halves, **{name: pl.lit(port, pl.UInt16) for name, port in ports.items()})
    names = asked["question"].unique(maintain_order=True)
    classes = names.to_frame("question").with_columns(name_class=name_classes(names, snapshot, domain))
    servers = _servers(snapshot)
    is_pod = pl.lit(snapshot.endpoints["kind"].cast(pl.String)).gather(pl.col("src_id")) == "Pod"
    return (
        attribute(as_flows, snapshot)
        .lazy()
        .select(*asked.columns, "src_id", "dst_id")
        .join(classes.lazy(), on="question", how="left", maintain_order="left")
        .with_columns(
            is_bypass=is_pod & ~_is_one_of("server", servers) & ~_is_one_of("client", servers)
            if servers.height > 1
            else pl.lit(value=False)
        )
        .collect()
    )


def name_classes(names: pl.Series, snapshot: Snapshot, domain: str = DOMAIN) -> pl.Series:
    """The class of each name, in order; names are as DNS answers have them, complete and in lower case."""
    endpoint = pl.col("endpoint_id")
    kind = pl.lit(snapshot.endpoints["kind"].cast(pl.String)).gather(endpoint)
    is_headless = endpoint.is_in(headless(snapshot).implode())
    name = pl.col("question")
    is_ours = name.str.ends_with(f".{domain}") | (name == domain)
    is_reverse = name.str.ends_with(".in-addr.arpa") | name.str.ends_with(".ip6.arpa")
    named = (
        pl.when(kind == "Pod")
        .then(pl.lit("pod"))
        .when(is_headless)
        .then(pl.lit("headless"))
        .when(endpoint.is_not_null())
        .then(pl.lit("service"))
        .when(is_ours & _is_searched(name.str.strip_suffix(domain).str.strip_suffix("."), snapshot))
        .then(pl.lit("search"))
        .when(is_ours)
        .then(pl.lit("cluster_unknown"))
        .when(is_reverse)
        .then(pl.lit("reverse"))
        .when(~name.str.contains(".", literal=True))
        .then(pl.lit("single_label"))
        .otherwise(pl.lit("outside"))
    )
    meant = meanings(names, snapshot, domain).with_columns(names.alias("question"))
    return meant.select(named.alias("name_class"))["name_class"]


def _is_searched(stem: pl.Expr, snapshot: Snapshot) -> pl.Expr:
    """Whether a name of the cluster's domain that means nothing is another name with that domain, or a part of it,
    after it. `stem` is what stands before the domain.

    What has the form of a Service in a namespace that is there, of a port or host of a Service that is, or of a pod's
    address may have been meant as it stands: those are not.
    """
    labels = stem.str.split(".")
    services = snapshot.endpoints.filter(pl.col("kind") == "Service").select(pl.format("{}.{}", "name", "namespace"))
    namespaces = snapshot.endpoints["namespace"].cast(pl.String).unique()
    owner = pl.concat_str(*(labels.list.get(place, null_on_oob=True) for place in (-3, -2)), separator=".")
    is_of_service = owner.is_in(services.to_series().unique().implode())
    is_in_namespace = labels.list.get(-2, null_on_oob=True).is_in(namespaces.implode())
    is_port = stem.str.contains(r"^_[^.]+\._[^.]+\.[^.]+\.[^.]+\.svc$")
    is_meant = (
        pl.when(labels.list.last() == "svc")
        .then(
            pl.when(labels.list.len() <= 3)
            .then(is_in_namespace.fill_null(value=False) | (labels.list.len() == 1))
            .otherwise(is_of_service.fill_null(value=False) | is_port)
        )
        .when(labels.list.last() == "pod")
        .then(labels.list.len() == 3)
        .otherwise(stem == "")
    )
    return ~is_meant


def _servers(snapshot: Snapshot) -> pl.DataFrame:
    """The addresses of whatever in the cluster answers for a Service's DNS port, and NODE_LOCAL_DNS."""
    ports = snapshot.services.filter(pl.col("port") == PORT).select("service_id")  # of pods it may be another
    known = [frame.join(ports, on="service_id").select(ADDRESS) for frame in (snapshot.dialled, snapshot.backends)]
    local = pl.DataFrame([NODE_LOCAL_DNS], schema=known[0].schema, orient="row")
    return pl.concat([*known, local]).unique()


def _is_one_of(end: str, addresses: pl.DataFrame) -> pl.Expr:
    wanted = addresses.select(pl.struct(hi="addr_hi", lo="addr_lo")).to_series()
    return pl.struct(hi=f"{end}_hi", lo=f"{end}_lo").is_in(wanted.implode())
