"""The row of the flow history: an attributed observation with text in place of ids, as files keep it.

Not every column of the wire is here, and no id of a snapshot is, since files outlive snapshots. The invariant: a reader
of any version sees the columns of `HISTORY`; columns may be added at its end and none may change its meaning.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from collector.schema import OUTCOMES

from ..attribution import with_labels
from ..attribution.policies.answers import AnswerBook
from ..attribution.zones import with_locality
from ..inventory import addresses
from ..inventory.snapshot import Snapshot
from .verdicts import VERDICTS, with_verdicts

_TIME: Final = pl.Datetime("ns", "UTC")
_ENDS: Final = ("source", "destination")
_GEO: Final = {"country": pl.String(), "asn": pl.UInt32()}
_SIDE: Final = ("kind", "namespace", "name", "workload_kind", "workload", "node", "zone")

HISTORY: Final = pl.Schema(
    {
        "time": _TIME,  # when the observation was made; the rows of a file are in this order
        "start": _TIME,  # when the connection began
        "node": pl.String(),  # who saw it
        "flow_id": pl.UInt64(),  # with `node`, names the connection
        **{f"source_{field}": pl.String() for field in _SIDE},
        **{f"destination_{field}": pl.String() for field in _SIDE},
        "service_namespace": pl.String(),
        "service": pl.String(),
        "service_port": pl.String(),
        "service_type": pl.String(),
        "via": pl.String(),
        "src_ip": pl.String(),
        "src_port": pl.UInt16(),
        "dst_ip": pl.String(),
        "dst_port": pl.UInt16(),
        "backend_ip": pl.String(),
        "backend_port": pl.UInt16(),
        "nat_src_ip": pl.String(),
        "nat_src_port": pl.UInt16(),
        "protocol": pl.UInt8(),  # IANA number
        "role": pl.String(),  # canonical rows count; observer and overlay rows are other views of what is counted
        "attribution": pl.String(),
        "outcome": pl.String(),
        "opened": pl.UInt8(),  # sums to the number of connections
        "closed": pl.UInt8(),
        "packets": pl.UInt64(),  # since the previous observation, from src to backend
        "bytes": pl.UInt64(),
        "reply_packets": pl.UInt64(),
        "reply_bytes": pl.UInt64(),
        "reason": pl.String(),  # why `attribution` is not simply exact, as `attribution.confidence` lists
        "route_kind": pl.String(),  # the Ingress or Gateway route of which the row is the backend leg
        "route_namespace": pl.String(),
        "route": pl.String(),
        "route_host": pl.String(),  # `several` where the candidates differ
        "route_path": pl.String(),
        "mesh": pl.String(),  # sidecar or ambient: how the two pods are connected
        "subset": pl.String(),  # of the Service, by the pod that answered
        **VERDICTS,
        "locality": pl.String(),  # how far apart the ends are: `attribution.zones.LOCALITIES`
        "dns_name": pl.String(),  # what DNS had given the client for the destination's address beyond the cluster
        "dns_given": pl.String(),  # exact or inferred, as `attribution.dnsnames.GIVEN` tells
        **{f"{side}_{field}": dtype for side in _ENDS for field, dtype in _GEO.items()},  # of ends beyond the cluster
        "connect_us": pl.UInt32(),  # from SYN to SYN-ACK at the opener's socket; on one row of a connection, else 0
        "srtt_us": pl.UInt32(),  # smoothed round-trip time then; 0 where no socket told
        "retransmits": pl.UInt32(),  # segments that ends on this node sent again since the previous observation
    }
)
"""Columns of the flow history. Where there is nothing to tell, text is "", a list empty and a number 0."""

LATER: Final = tuple(HISTORY)[tuple(HISTORY).index("reason") :]
"""Columns that files of the first version lack."""

_TCP_HEALTH: Final = ("connect_us", "srtt_us", "retransmits")
_OUTCOME_TEXT: Final = pl.Series(OUTCOMES, dtype=pl.String)


def history_of(flows: pl.DataFrame, snapshot: Snapshot, answers: AnswerBook | None = None) -> pl.DataFrame:
    """Flows attributed under `snapshot` as rows of HISTORY, in the same order.

    `answers` says what their policy answers mean; without it nothing was judged. What DNS and MaxMind databases said is
    there where the flows have the columns.
    """
    told = ("dns_name", "dns_given", *(f"{side}_{field}" for side in _ENDS for field in _GEO), *_TCP_HEALTH)
    absent = {name: HISTORY[name] for name in told if name not in flows.columns}
    ips = [addresses.text(f"{end}_hi", f"{end}_lo").alias(f"{end}_ip") for end in ("src", "dst", "backend", "nat_src")]
    return (
        with_verdicts(with_labels(with_locality(flows.lazy(), snapshot), snapshot), answers)
        .with_columns(_blank(dtype).alias(name) for name, dtype in absent.items())
        .with_columns(
            *ips,
            pl.from_epoch("time", time_unit="ns").dt.replace_time_zone("UTC"),
            pl.from_epoch("start", time_unit="ns").dt.replace_time_zone("UTC"),
            pl.col("node", "role", "attribution", "reason", "locality").cast(pl.String),
            pl.col("via", "dns_name", "dns_given").cast(pl.String).fill_null(""),
            pl.col("mesh").cast(pl.String).replace("none", ""),
            outcome=pl.lit(_OUTCOME_TEXT).gather(pl.col("outcome")),
        )
        .select(HISTORY.names())
        .match_to_schema(HISTORY)
        .collect()
    )


def filled(flows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of files of any version, whose missing columns are null, with what HISTORY promises in their place."""
    return flows.with_columns(pl.col(name).fill_null(_blank(HISTORY[name])) for name in LATER)


def _blank(dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.lit([], dtype=dtype)
    return pl.lit("" if dtype == pl.String else 0, dtype=dtype)
