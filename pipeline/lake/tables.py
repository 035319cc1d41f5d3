"""The tables of the history, and how their rows are stored: as types that every engine of Delta tables reads.

Delta knows no unsigned integers and no nanoseconds, so numbers are stored in the next wider signed type (64 bits as
they are), times as microseconds, and the begin of a connection as milliseconds, which is most of what it would cost.
Where the source's address was not translated `nat_src_ip` is null, and where its port was not, `nat_src_port`. The
invariant: `told` gives back what `stored` was given, but for the digits of times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

import polars as pl

from ..outputs.history import HISTORY

FORMER: Final = "flows_former"
"""The folder to which Parquet of versions before Delta is moved; it is read along, and forgotten like flows."""

_TIME: Final = pl.Datetime("ns", "UTC")
_STORED_TIME: Final = pl.Datetime("us", "UTC")
_STORED: Final[Mapping[pl.DataType, pl.DataType]] = {
    pl.UInt8(): pl.Int16(),
    pl.UInt16(): pl.Int32(),
    pl.UInt32(): pl.Int64(),
    pl.UInt64(): pl.Int64(),
    _TIME: _STORED_TIME,
}
_ENDS: Final = ("source", "destination")


@dataclass(frozen=True)
class LakeTable:
    """One table."""

    name: str
    columns: pl.Schema
    """As the pipeline has them; the first is `time`."""
    keep_days: int
    """How long rows are kept, unless a setting says otherwise."""
    partitions: tuple[str, ...] = ("date", "hour")
    """Columns of `PARTITIONS` that make folders, by the time of the row in UTC."""
    sums: tuple[str, ...] = ()
    """Columns that are added up where all others are equal; none where rows are single events."""
    order: tuple[str, ...] = ("time",)
    """By what the rows of a merged file are sorted: what is alike together costs least, and time comes late."""

    @cached_property
    def stored(self) -> pl.Schema:
        """The columns as files have them, without those of the folders."""
        return pl.Schema({name: _STORED.get(dtype, dtype) for name, dtype in self.columns.items()})

    @cached_property
    def whole(self) -> pl.Schema:
        """The columns as the table's log has them."""
        return pl.Schema({**self.stored, **{name: PARTITIONS[name] for name in self.partitions}})


PARTITIONS: Final[Mapping[str, pl.DataType]] = {"date": pl.Date(), "hour": pl.Int32()}

_SIDES: Final = tuple(f"{side}_{field}" for side in _ENDS for field in ("kind", "namespace", "name"))
_WORKLOADS: Final = tuple(
    f"{side}_{field}" for side in _ENDS for field in ("kind", "namespace", "workload_kind", "workload", "zone")
)

_FLOW_ORDER: Final = (
    *("destination_namespace", "destination_workload", "service", "destination_name", "dst_ip", "backend_ip"),
    *("dst_port", "node", "source_name", "src_ip", "flow_id", "time"),
)
FLOWS: Final = LakeTable("flows", HISTORY, keep_days=14, order=_FLOW_ORDER)
"""Every attributed observation."""

COUNTERS: Final = LakeTable(
    "counters",
    pl.Schema(
        {
            "time": _TIME,
            "node": pl.String(),
            "scope": pl.String(),  # pod, node or overlay: whose interface it is
            "namespace": pl.String(),
            "pod": pl.String(),
            "interface": pl.String(),
            # cumulative since the interface appeared
            **{
                f"{way}_{what}": pl.UInt64()
                for way in ("receive", "transmit")
                for what in ("bytes", "packets", "errors", "packets_dropped")
            },
        }
    ),
    keep_days=14,
    order=("node", "scope", "namespace", "pod", "interface", "time"),
)
"""Interfaces' own counters, of pods that are known and of nodes."""

DNS: Final = LakeTable(
    "dns",
    pl.Schema(
        {
            "time": _TIME,  # when the answer passed, or was waited for no more
            "node": pl.String(),
            **{
                f"{side}_{field}": pl.String()
                for side in _ENDS
                for field in ("kind", "namespace", "name", "workload_kind", "workload")
            },
            "client_ip": pl.String(),
            "server_ip": pl.String(),
            "protocol": pl.UInt8(),
            "question": pl.String(),
            "type": pl.UInt16(),
            "rcode": pl.UInt8(),  # 255 where no answer came
            "latency_us": pl.UInt32(),
            "name_class": pl.String(),
            "is_bypass": pl.Boolean(),
        }
    ),
    keep_days=14,
    order=("source_namespace", "source_workload", "question", "type", "source_name", "time"),
)
"""Every DNS exchange once."""

POLICY_EVENTS: Final = LakeTable(
    "policy_events",
    pl.Schema(
        {
            name: HISTORY[name]
            for name in (
                *("time", "start", "node", "flow_id", *_SIDES),
                *("source_workload_kind", "source_workload", "destination_workload_kind", "destination_workload"),
                *("service_namespace", "service", "service_port", "src_ip", "dst_ip", "dst_port"),
                *("backend_ip", "backend_port", "protocol", "role", "outcome", "opened", "packets", "bytes"),
                *("verdict", "egress_verdict", "ingress_verdict", "egress_policies", "ingress_policies", "mismatch"),
            )
        }
    ),
    keep_days=90,
    partitions=("date",),
    order=_FLOW_ORDER,
)
"""The flows that policies deny, or that went against them."""

SUMS: Final = (
    *("observations", "connections", "refused", "reset", "no_reply"),
    *("packets", "bytes", "reply_packets", "reply_bytes", "retransmits"),
)
_ROLLUP: Final = pl.Schema(
    {
        "time": _TIME,  # the begin of the minute or hour
        **{name: pl.String() for name in _WORKLOADS},
        **{name: pl.String() for name in ("service_namespace", "service", "verdict", "locality")},
        "protocol": pl.UInt8(),
        **{name: pl.UInt64() for name in SUMS},
    }
)
_PAIR: Final = tuple(f"{side}_{field}" for side in reversed(_ENDS) for field in ("namespace", "workload"))
FLOWS_1M: Final = LakeTable(
    "flows_1m", _ROLLUP, keep_days=90, partitions=("date",), sums=SUMS, order=(*_PAIR, "service", "time")
)
"""Canonical flows by minute, without ports, pods and addresses."""
FLOWS_1H: Final = LakeTable(
    "flows_1h", _ROLLUP, keep_days=730, partitions=("date",), sums=SUMS, order=(*_PAIR, "service", "time")
)
"""The same by hour."""

SETTLED: Final = (COUNTERS, DNS, FLOWS)
"""Tables that the pipeline writes, in the order of their commits: what the last one has is what counts as written."""
DERIVED: Final = (POLICY_EVENTS, FLOWS_1M, FLOWS_1H)
"""Tables that are made of commits to FLOWS."""
TABLES: Final[Mapping[str, LakeTable]] = {table.name: table for table in (*SETTLED, *DERIVED)}


def stored(rows: pl.DataFrame, table: LakeTable) -> pl.DataFrame:
    """Rows of `table.columns`, whose text may be codes, as files have them."""
    return rows.select(_to_store(name, dtype, table) for name, dtype in table.columns.items())


def told(rows: pl.LazyFrame, table: LakeTable) -> pl.LazyFrame:
    """Rows as files have them, as `table.columns`. Text and lists are passed on as they are."""
    return rows.select(table.columns.names()).with_columns(_changed(table.name))


@cache
def _changed(name: str) -> list[pl.Expr]:
    """What of a table is stored otherwise than it is told, as it is told."""
    columns = TABLES[name].columns
    changed = {name: _to_tell(name, dtype) for name, dtype in columns.items() if dtype in _STORED}
    for part in ("ip", "port"):
        if (name := f"nat_src_{part}") in columns:
            as_before = pl.col(name).fill_null(pl.col(f"src_{part}"))
            changed[name] = as_before.cast(columns[name])
    return list(changed.values())


def _to_store(name: str, dtype: pl.DataType, table: LakeTable) -> pl.Expr:
    column = pl.col(name)
    if name == "start":
        return column.dt.cast_time_unit("ms").dt.cast_time_unit("us")
    if dtype == _TIME:
        return column.dt.cast_time_unit("us")
    if dtype == pl.UInt64:
        return column.reinterpret(signed=True)
    if name in ("nat_src_ip", "nat_src_port"):
        column = pl.when(column != pl.col(name.removeprefix("nat_"))).then(column)
    return column.cast(_STORED[dtype]) if dtype in _STORED else column


def _to_tell(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == _TIME:
        return column.dt.cast_time_unit("ns")
    if dtype == pl.UInt64:
        return column.reinterpret(signed=False)
    return column.cast(dtype)
