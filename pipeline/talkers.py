"""Who moves the most: rows of the history summed by what a person wants to compare.

Pure. The invariant: only canonical rows count, so that sums are of connections counted once, and rows of no Service (or
route, or name) are left out where that is the key, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from .aggregate.rollups import FAILURES


def _end(side: str, address: str) -> pl.Expr:
    """The workload of an end; what has none by its name, and the nameless by its address."""
    workload, name, namespace = (pl.col(f"{side}_{field}") for field in ("workload", "name", "namespace"))
    own = pl.when(workload != "").then(workload).when(name != "").then(name).otherwise(pl.col(address))
    return pl.when(namespace != "").then(namespace + "/" + own).otherwise(own)


def _pod(side: str, address: str) -> pl.Expr:
    namespace, name = pl.col(f"{side}_namespace"), pl.col(f"{side}_name")
    return (
        pl.when(namespace != "")
        .then(namespace + "/" + name)
        .when((name != "") & (pl.col(f"{side}_kind") == "Node"))
        .then("node " + name)
        .otherwise(pl.col(address))
    )


def _object(namespace: str, name: str) -> pl.Expr:
    return pl.when(pl.col(name) != "").then(pl.col(namespace) + "/" + pl.col(name))


_FROM, _TO = _end("source", "src_ip"), _end("destination", "backend_ip")
_ARROW: Final = " \N{RIGHTWARDS ARROW} "
KEYS: Final[Mapping[str, pl.Expr]] = {
    "pair": _FROM + _ARROW + _TO,
    "from": _FROM,
    "to": _TO,
    "service": _object("service_namespace", "service"),
    "route": _object("route_namespace", "route"),
    "pods": _pod("source", "src_ip") + _ARROW + _pod("destination", "backend_ip"),
    "namespaces": pl.concat_str(
        pl.col("source_namespace").replace("", "outside"),
        pl.lit(_ARROW),
        pl.col("destination_namespace").replace("", "outside"),
    ),
    "name": pl.when(pl.col("dns_name") != "").then(pl.col("dns_name")),
    "node": pl.col("node"),
    "port": pl.col("backend_port").cast(pl.String),
}
"""What rows are summed by; null leaves a row out. Names as `talker_keys.KEYS` lists them."""


def talkers(rows: pl.LazyFrame, by: str, sort: str = "bytes") -> pl.DataFrame:
    """`key`, `bytes` (both ways), `sent`, `received`, `packets`, `connections` (opened), `failed`; most `sort` first.

    `rows` are of `outputs.history.HISTORY`; `by` is one of KEYS, `sort` one of the columns. Ties are in order of key.
    """
    return (
        rows.filter(role="canonical")
        .with_columns(KEYS[by].alias("key"))
        .filter(pl.col("key").is_not_null())
        .group_by("key")
        .agg(
            bytes=pl.col("bytes").sum() + pl.col("reply_bytes").sum(),
            sent=pl.col("bytes").sum(),
            received=pl.col("reply_bytes").sum(),
            packets=pl.col("packets").sum() + pl.col("reply_packets").sum(),
            connections=pl.col("opened").sum().cast(pl.UInt64),
            failed=pl.col("outcome").is_in(FAILURES).sum().cast(pl.UInt64),
        )
        .sort(sort, "key", descending=[True, False])
        .collect()
    )
