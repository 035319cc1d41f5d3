"""The read API of notebooks and the command line: the flow history as LazyFrames.

It reads what `pipeline.outputs.lake` writes and never writes. The invariant: the columns are those of
`pipeline.outputs.history.HISTORY`, whether or not there is a row yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from .errors import ConfigError
from .outputs.history import HISTORY, filled
from .outputs.lake import FOLDER

_HOUR: Final = timedelta(hours=1)


def scan_flows(
    lake: Path | str,
    since: datetime | None = None,
    until: datetime | None = None,
    namespace: str | None = None,
) -> pl.LazyFrame:
    """Observations of the history with `since <= time < until`; a time without a zone is UTC.

    `namespace` keeps rows where the source, the destination or the Service is in it. Folders of other hours are not
    opened. To count connections sum `opened` over rows whose `role` is `canonical`. Raises ConfigError where `lake` is
    no folder.
    """
    root = Path(lake)
    if not root.is_dir():
        raise ConfigError(f"lake: {root} is no folder")
    since, until = _aware(since), _aware(until)
    files = [file for folder in _hours(root / FOLDER, since, until) for file in sorted(folder.glob("part-*.parquet"))]
    if not files:
        return pl.LazyFrame(schema=HISTORY)
    flows = pl.scan_parquet(
        files, schema=HISTORY, missing_columns="insert", extra_columns="ignore", hive_partitioning=False
    )
    if since is not None:
        flows = flows.filter(pl.col("time") >= since)
    if until is not None:
        flows = flows.filter(pl.col("time") < until)
    if namespace is not None:
        names = ("source_namespace", "destination_namespace", "service_namespace")
        flows = flows.filter(pl.any_horizontal(pl.col(*names) == namespace))
    return filled(flows)


def last_flows(
    lake: Path | str,
    rows: int,
    matching: pl.Expr | bool = True,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pl.DataFrame:
    """The newest observations that match, at most `rows`, oldest first.

    Hours are read from the newest back until there are enough. Raises ConfigError as `scan_flows` does.
    """
    since, until = _aware(since), _aware(until)
    every = scan_flows(lake, since, until)
    found = every.clear().collect()
    for folder in reversed(list(_hours(Path(lake) / FOLDER, since, until))):
        hour = _hour_of(folder)
        part = scan_flows(lake, max(hour, since or hour), min(hour + _HOUR, until or hour + _HOUR))
        found = pl.concat([part.filter(matching).sort("time").tail(rows - found.height).collect(), found])
        if found.height >= rows:
            break
    return found


def _hours(folder: Path, since: datetime | None, until: datetime | None) -> Iterator[Path]:
    """The hour folders that may hold rows of the time asked for, oldest first."""
    for path in sorted(folder.glob("date=*/hour=*")):
        try:
            hour = _hour_of(path)
        except ValueError:
            continue
        if (since is None or hour + _HOUR > since) and (until is None or hour < until):
            yield path


def _hour_of(folder: Path) -> datetime:
    """The time at which a folder's hour begins. Raises ValueError where its name is none of ours."""
    return datetime.strptime(f"{folder.parent.name}/{folder.name}", "date=%Y-%m-%d/hour=%H").replace(tzinfo=UTC)


def _aware(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time
