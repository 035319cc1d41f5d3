"""DNS by client: questions by class of name, type and response code; latency; what goes past the cluster's DNS.

Names themselves are in no label, for clients choose them. The invariant: every exchange is counted once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from collector.schema import NO_ANSWER

from ..attribution import with_labels
from ..catalog import PAIR
from ..catalog.dns import CLIENT
from ..inventory.snapshot import Snapshot
from ..kept import Kept
from .histogram import Histogram
from .rollups import workload_ids
from .samples import Samples
from .totals import Totals
from .views import Plain

RCODES: Final = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
TYPES: Final = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV"} | {
    64: "SVCB",
    65: "HTTPS",
    255: "ANY",
}
"""IANA's names of response codes and of types; types beyond these are `other`."""

_RCODE_TEXT: Final = pl.Series(
    [RCODES.get(code, "no_answer" if code == NO_ANSWER else str(code)) for code in range(256)], dtype=pl.String
)
_ASKED: Final = ("src_id", "name_class", "type", "rcode")
_QUERIES: Final = "queries"
_COUNT: Final = pl.len().cast(pl.UInt64).alias(_QUERIES)


class DnsMetrics:
    """The DNS metrics of the catalogue."""

    def __init__(self) -> None:
        self._queries = Totals(_ASKED, (*CLIENT, *_ASKED[1:]), (_QUERIES,))
        self._latency = Histogram("flowatlas_dns_latency_seconds", _ASKED[:2], "latency_ns", 10**9)
        self._bypasses = Totals(("src_id", "dst_id"), PAIR, (_QUERIES,))
        self._views = (
            Plain("flowatlas_dns_queries_total", self._queries, _QUERIES),
            self._latency,
            Plain("flowatlas_dns_bypass_queries_total", self._bypasses, _QUERIES),
        )
        self._snapshot: Snapshot | None = None

    def add(self, asked: pl.DataFrame, snapshot: Snapshot) -> None:
        """Add exchanges attributed under `snapshot`, as `attribution.dnsqueries` leaves them."""
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            for totals in (self._queries, self._latency, self._bypasses):
                totals.forget_ids()
        self._snapshot = snapshot
        workloads = pl.lit(workload_ids(snapshot))
        named = asked.with_columns(
            *(workloads.gather(pl.col(end)).alias(end) for end in ("src_id", "dst_id")),
            pl.col("type").replace_strict(TYPES, default="other", return_dtype=pl.String),
            pl.lit(_RCODE_TEXT).gather(pl.col("rcode")).alias("rcode"),
            (pl.col("rcode") != NO_ANSWER).alias("is_answered"),
        )

        def name(ids: pl.DataFrame) -> pl.DataFrame:
            return with_labels(ids.lazy(), snapshot).collect()

        timed = named.filter("is_answered", pl.col("latency_ns") > 0)
        self._queries.add(named.group_by(_ASKED).agg(_COUNT), name)
        self._latency.add(timed, name)
        self._bypasses.add(named.filter("is_bypass").group_by("src_id", "dst_id").agg(_COUNT), name)

    def kept(self) -> Mapping[str, Kept]:
        """The totals and the histogram."""
        return {"queries": self._queries, "latency": self._latency, "bypasses": self._bypasses}

    def samples(self) -> list[Samples]:
        """The three metrics as they are now."""
        return [view.samples() for view in self._views]
