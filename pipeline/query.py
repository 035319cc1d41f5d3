"""The read API of notebooks and the command line: the tables of the history as LazyFrames.

It reads what `pipeline.outputs.lake` writes and never writes. The invariant: the columns are those of
`pipeline.lake.tables`, whether or not there is a row yet; a table is read as one commit left it, so that what is
written, compacted or deleted meanwhile is in nobody's way. Parquet of versions before Delta is read along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from .errors import ConfigError
from .lake.tables import COUNTERS, DNS, FLOWS, FLOWS_1H, FLOWS_1M, FORMER, POLICY_EVENTS, LakeTable, told
from .outputs.history import HISTORY, filled

if TYPE_CHECKING:
    from .lake.known import Files
    from .lake.store import Store

FORMER_FOLDERS: Final = (FORMER, FLOWS.name)
"""Where versions before Delta have left their Parquet: moved aside by a writer of this version, or not yet."""
_HOUR: Final = timedelta(hours=1)
_INSTANT: Final = timedelta(microseconds=1)
_SIDES: Final = ("source", "destination", "service")
_ENDS: Final = ("source", "destination")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def scan_flows(
    lake: Path | str,
    since: datetime | None = None,
    until: datetime | None = None,
    namespace: str | None = None,
    pod: str | None = None,
    options: Mapping[str, str] | None = None,
) -> pl.LazyFrame:
    """Observations of the history with `since <= time < until`; a time without a zone is UTC.

    `namespace` keeps rows where the source, the destination or the Service is in it, `pod` those where it is an end
    (with `namespace`, a pod of that namespace). Files of other times are not opened. To count connections sum `opened`
    over rows whose `role` is `canonical`. `options` are those of an object store. Raises ConfigError where `lake` is no
    folder, or none of a history.
    """
    since, until = _aware(since), _aware(until)
    store = _store(lake, options)
    wanted = _wanted(namespace, pod)
    flows = _scan(store, FLOWS, since, until, wanted, pod)
    former = _former(store, since, until, wanted, pod)
    return flows if former is None else pl.concat([former, flows])


def scan_rollup(
    lake: Path | str,
    every: str = "1m",
    since: datetime | None = None,
    until: datetime | None = None,
    namespace: str | None = None,
    options: Mapping[str, str] | None = None,
) -> pl.LazyFrame:
    """Canonical flows added up by minute (`1m`) or hour (`1h`), without pods, ports and addresses; `time` is the begin.

    Rows of one key may be several: add them up. What was written since the last
    `flowatlas lake maintain` is not in it yet.
    """
    table = {"1m": FLOWS_1M, "1h": FLOWS_1H}.get(every)
    if table is None:
        raise ConfigError(f"roll-up: {every!r} is neither 1m nor 1h")
    return _scan(_store(lake, options), table, _aware(since), _aware(until), _wanted(namespace, None))


def scan_counters(
    lake: Path | str,
    since: datetime | None = None,
    until: datetime | None = None,
    namespace: str | None = None,
    options: Mapping[str, str] | None = None,
) -> pl.LazyFrame:
    """Counters of interfaces, cumulative, as they were read."""
    wanted = pl.col("namespace") == namespace if namespace is not None else None
    return _scan(_store(lake, options), COUNTERS, _aware(since), _aware(until), wanted)


def scan_dns(
    lake: Path | str,
    since: datetime | None = None,
    until: datetime | None = None,
    namespace: str | None = None,
    options: Mapping[str, str] | None = None,
) -> pl.LazyFrame:
    """DNS exchanges, one row each; `namespace` is that of who asked."""
    wanted = pl.col("source_namespace") == namespace if namespace is not None else None
    return _scan(_store(lake, options), DNS, _aware(since), _aware(until), wanted)


def scan_policy_events(
    lake: Path | str,
    since: datetime | None = None,
    until: datetime | None = None,
    namespace: str | None = None,
    options: Mapping[str, str] | None = None,
) -> pl.LazyFrame:
    """Flows that policies deny or that went against them, as the last `flowatlas lake maintain` found them."""
    return _scan(_store(lake, options), POLICY_EVENTS, _aware(since), _aware(until), _wanted(namespace, None))


def last_flows(
    lake: Path | str,
    rows: int,
    matching: pl.Expr | bool = True,
    since: datetime | None = None,
    until: datetime | None = None,
    options: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """The newest observations that match, at most `rows`, oldest first.

    Hours are read from the newest back until there are enough, and of an hour the times first: all rows of a busy one
    do not fit into memory. Raises ConfigError as `scan_flows` does.
    """
    found = pl.DataFrame(schema=HISTORY)
    for begin, end in reversed(_hours_of(_store(lake, options), since, until)):
        lacking = rows - found.height
        times = scan_flows(lake, begin, end, options=options).filter(matching).select(pl.col("time").top_k(lacking))
        if (first := times.min().collect().item()) is not None:
            part = scan_flows(lake, first, end, options=options).filter(matching)
            found = pl.concat([part.sort("time", maintain_order=True).tail(lacking).collect(), found])
        if found.height >= rows:
            break
    return found


def newest_time(
    lake: Path | str,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    options: Mapping[str, str] | None = None,
) -> datetime | None:
    """When the newest observation was made; None where there is none. What is said to be of later than `now`, as by a
    node whose clock is ahead, is meant only where nothing else is there."""
    for end in (min(now, _aware(until) or now), until):
        newest = last_flows(lake, 1, since=since, until=end, options=options)
        if newest.height:
            time: datetime = newest["time"][0]
            return time
    return None


def first_flows(
    lake: Path | str,
    rows: int,
    matching: pl.Expr | bool = True,
    since: datetime | None = None,
    until: datetime | None = None,
    options: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """The oldest observations that match, as `last_flows` gives the newest."""
    found = pl.DataFrame(schema=HISTORY)
    for begin, end in _hours_of(_store(lake, options), since, until):
        lacking = rows - found.height
        times = scan_flows(lake, begin, end, options=options).filter(matching).select(pl.col("time").bottom_k(lacking))
        if (last := times.max().collect().item()) is not None:
            part = scan_flows(lake, begin, min(last + _INSTANT, end), options=options).filter(matching)
            found = pl.concat([found, part.sort("time", maintain_order=True).head(lacking).collect()])
        if found.height >= rows:
            break
    return found


def _store(lake: Path | str, options: Mapping[str, str] | None) -> Store:
    from .lake.store import Store, is_url

    if not is_url(str(lake)) and not Path(lake).is_dir():
        raise ConfigError(f"lake: {lake} is no folder")
    return Store(str(lake), options or {})


def _wanted(namespace: str | None, pod: str | None) -> pl.Expr | None:
    """The rows of a namespace, of a pod, or of a pod in a namespace."""
    if pod is None:
        columns = (f"{side}_namespace" for side in _SIDES)
        return pl.any_horizontal(pl.col(name) == namespace for name in columns) if namespace is not None else None
    ends = []
    for side in _ENDS:
        is_pod = (pl.col(f"{side}_name") == pod) & (pl.col(f"{side}_kind") == "Pod")
        ends.append(is_pod if namespace is None else is_pod & (pl.col(f"{side}_namespace") == namespace))
    return ends[0] | ends[1]


def _scan(
    store: Store,
    table: LakeTable,
    since: datetime | None,
    until: datetime | None,
    wanted: pl.Expr | None,
    pod: str | None = None,
) -> pl.LazyFrame:
    """Rows of a table as it is now; only files that may hold some are named, and rows that are not wanted pass by
    unread where a file's own statistics say so."""
    files = _files_now(store, table)
    if files is None or files.frame.is_empty():
        return pl.LazyFrame(schema=table.columns)
    paths, is_within = files.of(*(None if time is None else _microseconds(time) for time in (since, until)))
    if not paths:
        return pl.LazyFrame(schema=table.columns)
    if is_within:  # then nobody needs to read the times
        since = until = None
    return told(_between(store.scan(table, paths), since, until, wanted, pod), table)


def _files_now(store: Store, table: LakeTable) -> Files | None:
    """The files of a table; None where it is not there, but others are."""
    from .lake.known import files_now

    files = files_now(store, table)
    if files is None and not _former_roots(store):
        store.refuse_if_none()
    return files


def _between(
    rows: pl.LazyFrame, since: datetime | None, until: datetime | None, wanted: pl.Expr | None, pod: str | None = None
) -> pl.LazyFrame:
    """Rows of a time that are `wanted`; of a `pod` alone these are looked for first by its name, which files have in a
    dictionary, so that of all else only what is by then left is read."""
    conditions = [] if wanted is None else [wanted]
    if since is not None:
        conditions.append(pl.col("time") >= _instant(since))
    if until is not None:
        conditions.append(pl.col("time") < _instant(until))
    if pod is None:
        return rows.filter(conditions) if conditions else rows
    is_named = pl.any_horizontal(pl.col(f"{side}_name") == pod for side in _ENDS)
    is_so = pl.all_horizontal(conditions).alias("is_so")  # a column, else the optimizer makes one filter of both
    return rows.filter(is_named).with_columns(is_so).filter("is_so").drop("is_so")


def _instant(time: datetime) -> pl.Expr:
    """A time as a literal; of a `datetime` with a zone Polars makes one by way of three queries."""
    return pl.lit(_microseconds(time)).cast(pl.Datetime("us", "UTC"))


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _former(
    store: Store, since: datetime | None, until: datetime | None, wanted: pl.Expr | None, pod: str | None
) -> pl.LazyFrame | None:
    """Rows of the Parquet folders of versions before Delta; None where none has any of that time."""
    folders = (folder for root in _former_roots(store) for _, folder in _hours(root, since, until))
    files = [file for folder in folders for file in sorted(folder.glob("part-*.parquet"))]
    if not files:
        return None
    rows = pl.scan_parquet(
        files, schema=HISTORY, missing_columns="insert", extra_columns="ignore", hive_partitioning=False
    )
    return filled(_between(rows, since, until, wanted, pod))


def _former_roots(store: Store) -> list[Path]:
    root = store.folder(FLOWS)
    if root is None:
        return []
    folders = (root.parent / name for name in FORMER_FOLDERS)
    return [folder for folder in folders if folder.is_dir() and not (folder / "_delta_log").is_dir()]


def _hours_of(store: Store, since: datetime | None, until: datetime | None) -> list[tuple[datetime, datetime]]:
    """Begin and end of the hours that may hold flows of the time asked for, within that time, oldest first."""
    since, until = _aware(since), _aware(until)
    hours = {hour for root in _former_roots(store) for hour, _ in _hours(root, since, until)}
    files = _files_now(store, FLOWS)
    if files is not None:
        for day, number in files.frame.select("partition.date", "partition.hour").unique().iter_rows():
            hour = _begin(day, number)
            if (since is None or hour + _HOUR > since) and (until is None or hour < until):
                hours.add(hour)
    return [(max(hour, since or hour), min(hour + _HOUR, until or hour + _HOUR)) for hour in sorted(hours)]


def _begin(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def _hours(folder: Path, since: datetime | None, until: datetime | None) -> Iterator[tuple[datetime, Path]]:
    """The hour folders that may hold rows of the time asked for, oldest first."""
    for path in sorted(folder.glob("date=*/hour=*")):
        try:
            name = f"{path.parent.name}/{path.name}"
            hour = datetime.strptime(name, "date=%Y-%m-%d/hour=%H").replace(tzinfo=UTC)
        except ValueError:
            continue
        if (since is None or hour + _HOUR > since) and (until is None or hour < until):
            yield hour, path


def _aware(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time
