"""Where addresses beyond the cluster are, as MaxMind databases tell: their country and their network.

It reads files of the MaxMind DB format 2.0 (maxmind.github.io/MaxMind-DB) whole into memory, through the reader that
holds no C: neither a file that is replaced nor one that is broken can stop the process. Each distinct address is looked
up once while it is remembered. The invariant: what a database does not tell, or tells in another shape, is not known.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .attribution.keyindex import Column, GrowingIndex
from .errors import ConfigError
from .inventory.addresses import halves_of
from .inventory.snapshot import Snapshot
from .kept import Frames, fits, rows_of

log = logging.getLogger(__name__)

MAX_ADDRESSES: Final = 200_000
"""Addresses that are remembered, some 8 MB; once there are more, all are forgotten."""
MAX_ORGANISATION: Final = 80
"""Characters of an organisation's name that are kept."""

NETWORKS: Final = pl.Schema(
    {
        "country": pl.String(),  # ISO 3166-1 alpha-2, "" where not known
        "asn": pl.UInt32(),  # number of the autonomous system, 0 where not known
        "organisation": pl.String(),  # who runs it
    }
)
"""What is told of an address. Addresses of which the same is told are one network here."""

_COUNTRY: Final = re.compile(r"[A-Z]{2}\Z")
_SIDES: Final = (("source", "src", "src"), ("destination", "dst", "backend"))
_BROKEN: Final = (ValueError, LookupError, TypeError, ArithmeticError, RecursionError, MemoryError, struct.error)
"""What the reader raises on bytes that are no database, besides its own error, which is none of these."""

Network = tuple[str, int, str]


class Database(Protocol):
    """One open database."""

    def get(self, ip_address: IPv4Address | IPv6Address) -> Any:
        """The record of an address; None where there is none."""


class Geo:
    """Numbers for what is known of addresses: rows of `networks`, which only grow; row 0 is that nothing is known.

    Of several `databases` the first that knows the country tells it, and so with the autonomous system.
    """

    def __init__(self, databases: Sequence[Database], max_addresses: int = MAX_ADDRESSES) -> None:
        self.failures = 0
        """Look-ups that a database's bytes did not allow."""
        self._databases = tuple(databases)
        self._max_addresses = max_addresses
        self._addresses = GrowingIndex()
        self._known = np.zeros(0, np.uint32)
        """By number of the address: its network."""
        self._numbers: dict[Network, int] = {("", 0, ""): 0}
        self._networks = pl.DataFrame(schema=NETWORKS)

    @property
    def networks(self) -> pl.DataFrame:
        """NETWORKS by number; the same object until there are more."""
        if self._networks.height < len(self._numbers):
            self._networks = pl.DataFrame(list(self._numbers), schema=NETWORKS, orient="row")
        return self._networks

    def state(self) -> Frames:
        """The networks by number."""
        return {"networks": self.networks}

    def restore(self, frames: Frames) -> int:
        """Take up the numbers of networks, and forget all others: who goes on from a snapshot in the same process has
        given some to networks that it knows nothing of."""
        if not fits(frames, networks=NETWORKS):
            return rows_of(frames)
        self._networks = frames["networks"]
        self._numbers = {network: number for number, network in enumerate(self._networks.iter_rows())}
        self._addresses, self._known = GrowingIndex(), np.zeros(0, np.uint32)
        return 0

    def join(self, flows: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
        """Flows attributed under `snapshot` with `src_network` and `dst_network` (UInt32), null for ends that are not
        beyond the cluster; the order of rows is kept."""
        is_beyond = pl.lit(snapshot.endpoints["kind"].cast(pl.String) == "External")
        ends = {
            f"{end}_network": self.numbers(
                flows[f"{address}_hi"],
                flows[f"{address}_lo"],
                flows.select(is_beyond.gather(pl.col(f"{end}_id"))).to_series(),
            )
            for _, end, address in _SIDES
        }
        return flows.with_columns(**ends)

    def with_names(self, flows: pl.DataFrame) -> pl.DataFrame:
        """Flows that `join` gave, with `source_country`, `source_asn` and the same of the destination, as the history
        has them."""
        return flows.with_columns(
            pl.lit(self.networks[field]).gather(pl.col(f"{end}_network")).fill_null(blank).alias(f"{side}_{field}")
            for side, end, _ in _SIDES
            for field, blank in (("country", ""), ("asn", 0))
        )

    def in_structs(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of `attribution.offline.attribute_rows`, whose `source` and `destination` get the fields of NETWORKS,
        null where nothing is known."""
        for side, ip in (("source", "src_ip"), ("destination", "dst_ip")):
            halves = halves_of(rows[ip])
            is_beyond = (rows[side].struct.field("kind") == "External").fill_null(value=False)
            number = self.numbers(halves["hi"], halves["lo"], is_beyond)
            told = self.networks.select(
                pl.when(pl.col(field) != blank).then(field).gather(number).alias(field)
                for field, blank in (("country", ""), ("asn", 0), ("organisation", ""))
            )
            rows = rows.with_columns(pl.col(side).struct.with_fields(*told))
        return rows

    def numbers(self, hi: pl.Series, lo: pl.Series, is_asked: pl.Series) -> pl.Series:
        """The number of what is known of each address that is asked for; null for the others."""
        is_asked = is_asked & hi.is_not_null()
        asked = is_asked.to_numpy()
        numbers = np.zeros(len(asked), np.uint32)
        numbers[asked] = self._of_addresses(hi.filter(is_asked).to_numpy(), lo.filter(is_asked).to_numpy())
        return pl.select(pl.when(is_asked).then(pl.Series(numbers))).to_series()

    def _of_addresses(self, hi: Column, lo: Column) -> NDArray[np.uint32]:
        if len(self._addresses) > self._max_addresses:
            self._addresses, self._known = GrowingIndex(), np.zeros(0, np.uint32)
        places = self._addresses.numbers([hi, lo])
        new = np.flatnonzero(places >= len(self._known))
        if new.size:
            _, first = np.unique(places[new], return_index=True)
            asked = zip(hi[new[first]].tolist(), lo[new[first]].tolist(), strict=True)
            found = [self._number(*self._network(*halves)) for halves in asked]
            self._known = np.concatenate([self._known, np.array(found, np.uint32)])
        return self._known[places]

    def _number(self, *network: Any) -> int:
        return self._numbers.setdefault(network, len(self._numbers))

    def _network(self, hi: int, lo: int) -> Network:
        country, asn, organisation = "", 0, ""
        for database in self._databases:
            record = self._record(database, hi, lo)
            country = country or _country(record)
            if not asn:
                asn, organisation = _system(record)
        return country, asn, organisation

    def _record(self, database: Database, hi: int, lo: int) -> dict[str, Any]:
        number = hi << 64 | lo
        is_v4 = number >> 32 == 0xFFFF
        try:
            record = database.get(IPv4Address(number & 0xFFFFFFFF) if is_v4 else IPv6Address(number))
        except _errors() as error:
            self.failures += 1
            if self.failures == 1:
                log.warning("geo: a database has a broken record, and may have more: %s", error)
            return {}
        return record if isinstance(record, dict) else {}


class _Whole:
    """A database, of which IPv4-only ones know no IPv6 address."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._is_v4_only = reader.metadata().ip_version == 4

    def get(self, ip_address: IPv4Address | IPv6Address) -> Any:
        """The record of an address; None where there is none."""
        return None if self._is_v4_only and ip_address.version == 6 else self._reader.get(ip_address)


def load_geo(paths: Sequence[Path]) -> Geo:
    """The databases in these files. Raises ConfigError that names `pipeline.geo`, and the file that cannot be read."""
    try:
        import maxminddb
    except ImportError:
        raise ConfigError("pipeline.geo: the extra `geo` is not installed: pip install 'flowatlas[geo]'") from None
    databases = []
    for path in paths:
        try:
            databases.append(_Whole(maxminddb.open_database(path, maxminddb.MODE_MEMORY)))
        except OSError as error:
            raise ConfigError(f"pipeline.geo: {path}: {error.strerror}") from None
        except _errors() as error:
            raise ConfigError(f"pipeline.geo: {path} is no MaxMind database, or a broken one: {error}") from None
    return Geo(databases)


def _errors() -> tuple[type[Exception], ...]:
    """Everything that broken bytes make the reader raise."""
    try:
        from maxminddb import InvalidDatabaseError
    except ImportError:
        return _BROKEN
    return (*_BROKEN, InvalidDatabaseError)


def _country(record: dict[str, Any]) -> str:
    country = record.get("country")
    code = country.get("iso_code") if isinstance(country, dict) else None
    return code if isinstance(code, str) and _COUNTRY.match(code) else ""


def _system(record: dict[str, Any]) -> tuple[int, str]:
    """Number and organisation of the autonomous system."""
    number, name = record.get("autonomous_system_number"), record.get("autonomous_system_organization")
    if type(number) is not int or not 0 < number < 1 << 32:
        return 0, ""
    return number, name[:MAX_ORGANISATION] if isinstance(name, str) else ""
