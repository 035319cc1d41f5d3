"""The row of the flow history: an attributed observation with text in place of ids, as files keep it.

Not every column of the wire is here, and no id of a snapshot is, since files outlive snapshots. The invariant: a reader
of any version sees the columns of `HISTORY`; columns may be added at its end and none may change its meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import polars as pl

from collector.schema import APP_PROTOCOLS, OUTCOMES

from ..attribution import with_labels
from ..attribution.policies.answers import AnswerBook
from ..attribution.zones import zones_of
from ..inventory.snapshot import Snapshot
from .coding import Codes, addresses_told, coded_schema, thinly_told, told_of, words_told
from .verdicts import VERDICTS, with_verdicts

_TIME: Final = pl.Datetime("ns", "UTC")
_ENDS: Final = ("source", "destination")
_GEO: Final = {"country": pl.String(), "asn": pl.UInt32()}
_SIDE: Final = ("kind", "namespace", "name", "workload_kind", "workload", "node", "zone")

HISTORY: Final = pl.Schema(
    {
        "time": _TIME,  # when the observation was made
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
        "dns_given": pl.String(),  # exact, inferred or sni, as `attribution.dnsnames.GIVEN` tells
        **{f"{side}_{field}": dtype for side in _ENDS for field, dtype in _GEO.items()},  # of ends beyond the cluster
        "connect_us": pl.UInt32(),  # from SYN to SYN-ACK at the opener's socket; on one row of a connection, else 0
        "srtt_us": pl.UInt32(),  # smoothed round-trip time then; 0 where no socket told
        "retransmits": pl.UInt32(),  # segments that ends on this node sent again since the previous observation
        "app_protocol": pl.String(),  # tls, http1, http2: on the first row after the head was seen, else ""
        "server_name": pl.String(),  # TLS server name or HTTP host: on the row of the head and all that follow it
        "method": pl.String(),
        "path": pl.String(),  # ends with `…` where it goes on; never a query
    }
)
"""Columns of the flow history. Where there is nothing to tell, text is "", a list empty and a number 0."""

LATER: Final = tuple(HISTORY)[tuple(HISTORY).index("reason") :]
"""Columns that files of the first version lack."""


def history_of(
    flows: pl.DataFrame,
    snapshot: Snapshot,
    answers: AnswerBook | None = None,
    codes: Codes | None = None,
) -> pl.DataFrame:
    """Flows attributed under `snapshot` as rows of HISTORY, in the same order.

    `answers` says what their policy answers mean; without it nothing was judged. What DNS and MaxMind databases said is
    there where the flows have the columns. With `codes` text is told as these.
    """
    own = codes or Codes()
    placed = flows.with_columns(**zones_of(snapshot).pairs(flows["src_id"].to_numpy(), flows["dst_id"].to_numpy()))
    parts = [
        pl.DataFrame([*_plain(placed, own), *_few_words(placed, own)]),
        addresses_told(placed, _ADDRESSES, own),
        *(told_of(placed, ids, partial(texts, snapshot), own) for ids, texts in _TEXTS.items()),
        *((told_of(placed, _JUDGED, partial(_verdicts, answers), own),) if answers is not None else ()),
    ]
    rows: pl.DataFrame = pl.concat(parts, how="horizontal")
    wanted = coded_schema(HISTORY, own)
    absent = [
        _blank(HISTORY[name]).cast(dtype).alias(name) for name, dtype in wanted.items() if name not in rows.columns
    ]
    coded = rows.with_columns(absent).select(HISTORY.names())
    return coded.cast(wanted if codes is not None else HISTORY)


def _plain(flows: pl.DataFrame, codes: Codes) -> Iterator[pl.Series]:
    """The columns that flows have as the history has them, or nearly so."""
    coded = {*_WORDS, *_JUDGED, *_NODE_AND_WAY}
    for column in flows:
        name = column.name
        if name not in HISTORY or name in coded or column.null_count() == len(column) > 0:
            continue
        if HISTORY[name] == _TIME:
            yield column.cast(_TIME)
        elif HISTORY[name] == pl.String:
            yield thinly_told(column.cast(pl.String), codes)
        else:
            yield column


def _verdicts(answers: AnswerBook, ids: pl.LazyFrame) -> pl.LazyFrame:
    return with_verdicts(ids, answers).select(VERDICTS.names())


def _labels(snapshot: Snapshot, ids: pl.LazyFrame) -> pl.LazyFrame:
    """Whatever of HISTORY the ids have the names of."""
    named = with_labels(ids, snapshot)
    return named.select(name for name in named.collect_schema().names() if name in HISTORY)


def _node_and_way(snapshot: Snapshot, ids: pl.LazyFrame) -> pl.LazyFrame:
    return ids.select(pl.col("node").cast(pl.String), zones_of(snapshot).locality().cast(pl.String))


def _few_words(flows: pl.DataFrame, codes: Codes) -> Iterator[pl.Series]:
    """Columns of few words, that flows have as numbers."""
    for name in _WORDS:
        column = flows.get_column(name, default=None)
        if column is None or column.null_count() == len(column) > 0:
            continue
        words = _NUMBERED.get(name)
        if words is None:
            assert isinstance(column.dtype, pl.Enum)  # noqa: S101 - as attribution makes them
            words = ["" if word == _NO_MESH else word for word in column.dtype.categories]
        yield words_told(column, words, codes)


_NO_MESH: Final = "none"
_NUMBERED: Final[Mapping[str, Sequence[str]]] = {"outcome": OUTCOMES, "app_protocol": APP_PROTOCOLS}
_WORDS: Final = ("role", "attribution", "reason", "mesh", "via", "dns_given", *_NUMBERED)
_NODE_AND_WAY: Final = ("node", "src_place", "dst_place", "is_same_node")
_ADDRESSES: Final = {"src": None, "dst": None, "backend": "dst", "nat_src": "src"}
_JUDGED: Final = ("verdict", "egress", "ingress_policy", "mismatch")
_TEXTS: Final[Mapping[tuple[str, ...], Callable[[Snapshot, pl.LazyFrame], pl.LazyFrame]]] = {
    ("src_id",): _labels,
    ("dst_id",): _labels,
    ("service_id",): _labels,
    ("route_id", "route_set"): _labels,
    ("subset_id",): _labels,
    _NODE_AND_WAY: _node_and_way,
}
"""What text depends on, and how it is made of that."""


def filled(flows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of files of any version, whose missing columns are null, with what HISTORY promises in their place."""
    return flows.with_columns(pl.col(name).fill_null(_blank(HISTORY[name])) for name in LATER)


def _blank(dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.lit([], dtype=dtype)
    return pl.lit("" if dtype == pl.String else 0, dtype=dtype)
