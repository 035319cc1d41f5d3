"""Services that are reached by a DNS name alone: those of type ExternalName, and load balancers with a host name.

Their traffic goes to addresses beyond the cluster that no object lists, so the name that the client was given tells the
Service. The invariant: a row gets a Service only where it had none and one alone fits, and is never more than inferred.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..inventory.services import VIAS
from ..inventory.snapshot import Snapshot
from .clusternames import DOMAIN
from .confidence import attribution, or_worse

LAG_NS: Final = 2 * 10**9
"""An answer is on the bus by then: collectors read DNS once a second, from a buffer of a quarter of that."""

_KEY: Final = ("name", "port", "protocol")
_PORT: Final = ("service_namespace", "service", "service_type", "service_port", "port", "protocol")


def has_aliases(snapshot: Snapshot) -> bool:
    """Whether any Service is reached by a DNS name alone."""
    return not snapshot.tracked["service_aliases"].is_empty()


def may_be_alias(flows: pl.DataFrame, snapshot: Snapshot) -> pl.Series:
    """By row of flows attributed under `snapshot`: whether a name may tell its Service that DNS has not told of yet,
    since the row was made so soon after its connection began."""
    declared = snapshot.tracked["service_aliases"].select(_numbered("port")).to_series()
    kinds = pl.lit(snapshot.endpoints["kind"].cast(pl.String))
    is_young = pl.col("time") - pl.col("start") < LAG_NS
    is_beyond = kinds.gather(pl.col("dst_id")) == "External"
    is_declared = _numbered("dst_port").is_in(declared.implode())
    return flows.select(_may=is_young & _is_open() & is_beyond & is_declared)["_may"]


def _numbered(port: str) -> pl.Expr:
    return pl.col(port).cast(pl.UInt32) * 256 + pl.col("protocol")


def _is_open() -> pl.Expr:
    return pl.col("service_id").is_null() & pl.col("service_set").is_null()


def join_aliases(flows: pl.LazyFrame, snapshot: Snapshot, domain: str = DOMAIN) -> pl.LazyFrame:
    """Flows attributed under `snapshot`, with the `dns_name` that `DnsNames.join` adds, where it tells the Service.

    There `service_id` is the Service port with that name, and the port and protocol dialled, when the connection began;
    `via` is `alias`, `reason` at least `dns_alias`, and `attribution` follows. The order of rows is kept.
    """
    numbered = flows.with_row_index("_row")
    told = (
        numbered.filter(_is_open() & pl.col("dns_name").is_not_null())
        .select("_row", "start", "protocol", name="dns_name", port="dst_port")
        .join(_named_ports(snapshot, domain).lazy(), on=_KEY)
        .filter(pl.col("since") <= pl.col("start"), pl.col("start") < pl.col("until"))
        .group_by("_row")
        .agg(pl.col("alias_id").first(), services=pl.col("alias_id").n_unique())
        .filter(pl.col("services") == 1)
        .select("_row", "alias_id")
    )
    is_told = pl.col("alias_id").is_not_null()
    return (
        numbered.join(told, on="_row", how="left", maintain_order="left")
        .with_columns(
            service_id=pl.coalesce("service_id", "alias_id"),
            via=pl.when(is_told).then(pl.lit("alias", dtype=VIAS)).otherwise("via"),
            reason=pl.when(is_told).then(or_worse("reason", "dns_alias")).otherwise("reason"),
        )
        .with_columns(attribution=attribution("reason"))
        .drop("_row", "alias_id")
    )


def _named_ports(snapshot: Snapshot, domain: str) -> pl.DataFrame:
    """_KEY, `alias_id` (the Service port), `since` and `until`. A client of an ExternalName Service asks for the
    Service's own name, and DNS leads it on to the other."""
    aliases = snapshot.tracked["service_aliases"]
    own = aliases.filter(pl.col("service_type") == "ExternalName").with_columns(
        name=pl.format("{}.{}.svc.{}", "service", "service_namespace", pl.lit(domain))
    )
    newest = snapshot.services.group_by(_PORT).agg(alias_id=pl.col("service_id").max())
    return pl.concat([aliases, own]).join(newest, on=_PORT).select(*_KEY, "alias_id", "since", "until")
