"""The flow history as Parquet: DIR/flows/date=YYYY-MM-DD/hour=HH/part-*.parquet, by the hour (UTC) of the observation.

Rows are held until a flush. The invariant: a file appears whole or not at all, and what `flush` has returned from is on
disk, so that the bus's position may move on.
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import polars as pl

from ..errors import ConfigError, TransientError
from .coding import coded_schema
from .history import HISTORY

FOLDER: Final = "flows"
MAX_FILE_ROWS: Final = 1_000_000
_ROW_GROUP: Final = 131_072
_ZSTD_LEVEL: Final = 1
_SCHEMA_KEY: Final = "ARROW:schema"
"""Where a Parquet file has the types that its writer meant."""


class Lake:
    """A writer of the history below `root`. Several may write to one folder: their file names differ."""

    def __init__(self, root: Path, *, max_file_rows: int = MAX_FILE_ROWS) -> None:
        self._folder = root / FOLDER
        self._max_file_rows = max_file_rows
        self._held: list[pl.DataFrame] = []
        self._renew()

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
        """Hold rows of HISTORY until the next flush; best with text as codes of `categories`."""
        if rows.schema not in (HISTORY, self._schema):
            raise ValueError(f"the history has other columns: {rows.schema}")
        if rows.height:
            self._held.append(rows.cast(self._schema))

    def flush(self) -> None:
        """Write what is held. Raises TransientError where the disk refuses; what is not written stays held."""
        if not self._held:
            return
        rows = pl.concat(self._held)
        if not rows["time"].is_sorted():
            rows = rows.sort("time", maintain_order=True)
        parts = [
            rows.slice(first + at, min(self._max_file_rows, count - at))
            for first, count in _hours(rows["time"])
            for at in range(0, count, self._max_file_rows)
        ]
        while parts:
            try:
                self._write(parts[0])
            except (OSError, pl.exceptions.PolarsError) as error:
                self._held = parts
                raise TransientError(f"lake: {error}") from error
            del parts[0]
        self._held = []
        self._renew()

    def _renew(self) -> None:
        """Begin with no text: addresses and names of the outside are ever new ones."""
        self.categories = pl.Categories.random()
        """What `add` best takes text as codes of; other ones after each flush."""
        self._schema = coded_schema(HISTORY, self.categories)

    def _write(self, part: pl.DataFrame) -> None:
        hour = part["time"][0]
        folder = self._folder / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"part-{part['time'].to_physical()[0]:020d}-{uuid.uuid4().hex[:12]}.parquet"
        unfinished = folder / f".{name}.tmp"
        try:
            with unfinished.open("wb") as file:
                part.write_parquet(
                    file,
                    compression="zstd",
                    compression_level=_ZSTD_LEVEL,
                    row_group_size=_ROW_GROUP,
                    metadata={_SCHEMA_KEY: _schema_text()},
                )
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(folder / name)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync(folder)


def _hours(times: pl.Series) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each hour in ascending times."""
    hours = times.dt.truncate("1h").rle()
    first = 0
    for count in hours.struct.field("len"):
        yield first, count
        first += count


@cache
def _schema_text() -> str:
    """What a file says of its columns' types: text is text, though its pages hold codes."""
    file = io.BytesIO()
    HISTORY.to_frame().write_parquet(file)
    file.seek(0)
    return pl.read_parquet_metadata(file)[_SCHEMA_KEY]


def _sync(folder: Path) -> None:
    """Make a rename in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
