"""The flow history as Parquet: DIR/flows/date=YYYY-MM-DD/hour=HH/part-*.parquet, by the hour (UTC) of the observation.

Rows are held until a flush. The invariant: a file appears whole or not at all, and what `flush` has returned from is on
disk, so that the bus's position may move on.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Final

import polars as pl

from ..errors import ConfigError, TransientError
from .history import HISTORY

FOLDER: Final = "flows"
MAX_FILE_ROWS: Final = 1_000_000
_ROW_GROUP: Final = 131_072
_ZSTD_LEVEL: Final = 3


class Lake:
    """A writer of the history below `root`. Several may write to one folder: their file names differ."""

    def __init__(self, root: Path, *, max_file_rows: int = MAX_FILE_ROWS) -> None:
        self._folder = root / FOLDER
        self._max_file_rows = max_file_rows
        self._held: list[pl.DataFrame] = []

    @property
    def held_rows(self) -> int:
        """Rows that are not on disk yet."""
        return sum(frame.height for frame in self._held)

    def start(self) -> None:
        """Make the folder. Raises ConfigError where it cannot be written to."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"pipeline.lake: {self._folder}: {error.strerror}") from None
        if not os.access(self._folder, os.W_OK):
            raise ConfigError(f"pipeline.lake: {self._folder}: not writable")

    def add(self, rows: pl.DataFrame) -> None:
        """Hold rows of HISTORY until the next flush."""
        if rows.schema != HISTORY:
            raise ValueError(f"the history has other columns: {rows.schema}")
        if rows.height:
            self._held.append(rows)

    def flush(self) -> None:
        """Write what is held. Raises TransientError where the disk refuses; what is not written stays held."""
        if not self._held:
            return
        rows = pl.concat(self._held).sort("time", maintain_order=True)
        hours = rows.with_columns(hour=pl.col("time").dt.truncate("1h")).partition_by("hour", maintain_order=True)
        parts = [
            hour.slice(at, self._max_file_rows) for hour in hours for at in range(0, hour.height, self._max_file_rows)
        ]
        while parts:
            try:
                self._write(parts[0])
            except (OSError, pl.exceptions.PolarsError) as error:
                self._held = [part.drop("hour") for part in parts]
                raise TransientError(f"lake: {error}") from error
            del parts[0]
        self._held = []

    def _write(self, part: pl.DataFrame) -> None:
        hour = part["hour"][0]
        folder = self._folder / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"part-{part['time'].to_physical()[0]:020d}-{uuid.uuid4().hex[:12]}.parquet"
        unfinished = folder / f".{name}.tmp"
        try:
            with unfinished.open("wb") as file:
                part.drop("hour").write_parquet(
                    file, compression="zstd", compression_level=_ZSTD_LEVEL, row_group_size=_ROW_GROUP
                )
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(folder / name)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync(folder)


def _sync(folder: Path) -> None:
    """Make a rename in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
