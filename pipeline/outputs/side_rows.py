"""Rows of the history beside flows: counters of interfaces and DNS exchanges, with names in place of ids.

The invariant: what `attribution` said is told, and nothing is judged anew. Counters come as they were read, cumulative.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import polars as pl

from collector.schema import SCOPES

from ..attribution import with_labels
from ..inventory.addresses import text_of
from ..inventory.snapshot import Snapshot
from ..lake.tables import COUNTERS, DNS
from .coding import Codes, told_of

_TIME: Final = pl.from_epoch("time", time_unit="ns").dt.replace_time_zone("UTC")
_SCOPES: Final = pl.Series(SCOPES, dtype=pl.String)


def counter_rows(counters: pl.DataFrame) -> pl.DataFrame:
    """Rows of COUNTERS from `attribution.attribute_counters`'; a node's own interfaces have no namespace and no pod."""
    return counters.select(
        _TIME,
        pl.col("node").cast(pl.String),
        pl.lit(_SCOPES).gather(pl.col("scope")).alias("scope"),
        *(pl.col(name).cast(COUNTERS.columns[name]) for name in COUNTERS.columns.names()[3:]),
    )


def dns_rows(exchanges: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """Rows of DNS from those of `attribution.dnsqueries.attribute_dns`."""
    codes = Codes()
    names = [told_of(exchanges, (end,), partial(_names, snapshot), codes) for end in ("src_id", "dst_id")]
    addresses = [text_of(exchanges[f"{end}_hi"], exchanges[f"{end}_lo"]).alias(f"{end}_ip") for end in _ENDS]
    plain = exchanges.select(
        _TIME,
        pl.col("node", "question", "name_class").cast(pl.String),
        pl.col("protocol", "type", "rcode", "is_bypass"),
        (pl.col("latency_ns") // 1_000).cast(pl.UInt32).alias("latency_us"),
    )
    return (
        pl.concat([plain, *names], how="horizontal")
        .with_columns(addresses)
        .select(DNS.columns.names())
        .cast(DNS.columns)
    )


_ENDS: Final = ("client", "server")


def _names(snapshot: Snapshot, ids: pl.LazyFrame) -> pl.LazyFrame:
    named = with_labels(ids, snapshot)
    return named.select(name for name in named.collect_schema().names() if name in DNS.columns)
