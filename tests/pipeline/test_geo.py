"""What MaxMind databases tell of addresses: who is asked, what is believed, and what broken bytes do: nothing."""

from __future__ import annotations

import ipaddress
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo import mmdb
from pipeline.attribution import attribute
from pipeline.errors import ConfigError
from pipeline.geo import NETWORKS, Geo, load_geo
from pipeline.inventory.addresses import parse
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.frames import frame_of
from tests.pipeline.small_cluster import small_cluster

SITE, FRONT = "203.0.113.7", "10.0.1.5"


class Counting:
    """A database that says of every address the same, and remembers who asked."""

    def __init__(self, record: Any) -> None:
        self.asked: Counter[str] = Counter()
        self._record = record

    def get(self, ip_address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Any:
        self.asked[str(ip_address)] += 1
        if isinstance(self._record, Exception):
            raise self._record
        return self._record


def told(geo: Geo, *addresses: str) -> list[tuple[Any, ...]]:
    """country, asn and organisation of each address."""
    halves = [parse(address) for address in addresses]
    hi, lo = (pl.Series([half[place] for half in halves], dtype=pl.UInt64) for place in (0, 1))
    numbers = geo.numbers(hi, lo, pl.repeat(value=True, n=len(halves), eager=True))
    return [geo.networks.row(number) for number in numbers]


class Numbered:
    """A database in which every address is in a network of its own."""

    def get(self, ip_address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Any:
        return mmdb.system(int(ip_address) % 251 + 1, str(ip_address))


def test_who_goes_on_from_a_snapshot_names_no_network_as_one_of_after_it() -> None:
    """As a member of a group does that was given up, in the same process."""
    geo = Geo((Numbered(),))
    told(geo, "192.0.2.1")
    snapshot = geo.state()
    told(geo, "192.0.2.2", "192.0.2.3")
    assert geo.restore(snapshot) == 0
    for address in ("192.0.2.3", "192.0.2.4", "192.0.2.1", "192.0.2.2"):
        assert told(geo, address)[0][2] == address
    assert geo.networks.height == 5


def test_country_and_system_come_from_several_files(tmp_path: Path) -> None:
    countries = {
        "203.0.113.0/24": mmdb.country("DE"),
        "203.0.113.128/25": mmdb.country("FR"),
        "2001:db8::/32": mmdb.country("JP"),
    }
    systems = {"203.0.113.0/24": mmdb.system(64500, "Example Net"), "198.51.100.0/24": mmdb.system(4_200_000_000, "")}
    geo = load_geo(
        [mmdb.write(tmp_path / "country.mmdb", countries), mmdb.write(tmp_path / "asn.mmdb", systems, ip_version=4)]
    )
    assert told(geo, SITE, "203.0.113.200", "2001:db8::1", "198.51.100.9", "192.0.2.1", SITE) == [
        ("DE", 64500, "Example Net"),
        ("FR", 64500, "Example Net"),
        ("JP", 0, ""),
        ("", 4_200_000_000, ""),
        ("", 0, ""),
        ("DE", 64500, "Example Net"),
    ]
    assert geo.networks.schema == NETWORKS
    assert geo.failures == 0


def test_of_two_files_that_know_the_first_tells() -> None:
    first, second = Counting(mmdb.system(1, "one")), Counting({**mmdb.country("DE"), **mmdb.system(2, "two")})
    assert told(Geo([first, second]), SITE) == [("DE", 1, "one")]


def test_an_address_is_asked_for_once_while_it_is_remembered() -> None:
    database = Counting(mmdb.country("DE"))
    geo = Geo([database], max_addresses=3)
    told(geo, SITE, SITE, "192.0.2.1")
    told(geo, "192.0.2.1", SITE, "192.0.2.2")
    assert database.asked == {SITE: 1, "192.0.2.1": 1, "192.0.2.2": 1}
    told(geo, "192.0.2.3")
    assert database.asked[SITE] == 1
    told(geo, "192.0.2.3", SITE)
    assert (database.asked[SITE], database.asked["192.0.2.3"], database.asked["192.0.2.1"]) == (2, 2, 1)


def test_only_ends_beyond_the_cluster_are_asked_for() -> None:
    database, snapshot = Counting({**mmdb.country("DE"), **mmdb.system(64500, "x")}), small_cluster()
    geo = Geo([database])
    rows = [
        Flow("node-a", FRONT, SITE, SITE, FRONT, 443, 6, 443, 1),
        Flow("node-a", SITE, FRONT, FRONT, SITE, 80, 6, 80, 1),
        Flow("node-a", FRONT, "10.0.2.5", "10.0.2.5", FRONT, 80, 6, 80, 1),
    ]
    flows = attribute(frame_of(rows), snapshot)
    joined = geo.join(flows, snapshot)
    assert joined.drop("src_network", "dst_network").equals(flows)
    assert joined.select(pl.col("src_network", "dst_network").is_not_null()).rows() == [
        (False, True),
        (True, False),
        (False, False),
    ]
    assert set(database.asked) == {SITE}
    named = geo.with_names(joined)
    names = ("source_country", "source_asn", "destination_country", "destination_asn")
    assert named.select(names).rows() == [("", 0, "DE", 64500), ("DE", 64500, "", 0), ("", 0, "", 0)]


def test_structs_of_ends_beyond_the_cluster_say_where_they_are() -> None:
    ends = {"src_ip": [FRONT, SITE, FRONT], "dst_ip": [SITE, FRONT, "no address"]}
    inside, beyond = {"kind": "Pod", "name": "front"}, {"kind": "External", "name": "outside"}
    rows = pl.DataFrame({**ends, "source": [inside, beyond, inside], "destination": [beyond, inside, beyond]})
    told = Geo([Counting(mmdb.system(64500, "Example Net"))]).in_structs(rows)
    where, nowhere = (
        {"country": None, "asn": asn, "organisation": name} for asn, name in ((64500, "Example Net"), (None, None))
    )
    assert told["source"].to_list() == [inside | nowhere, beyond | where, inside | nowhere]
    assert told["destination"].to_list() == [beyond | where, inside | nowhere, beyond | nowhere]
    assert told.columns == rows.columns


@pytest.mark.parametrize(
    "record",
    [
        None,
        "text",
        {"country": "DE"},
        {"country": {"iso_code": "Germany"}},
        {"country": {"iso_code": 49}},
        {"autonomous_system_number": "64500", "autonomous_system_organization": "x"},
        {"autonomous_system_number": True},
        {"autonomous_system_number": 1 << 32},
        ValueError("broken"),
        RecursionError(),
    ],
)
def test_what_has_another_shape_is_not_known(record: Any) -> None:
    geo = Geo([Counting(record)])
    assert told(geo, SITE) == [("", 0, "")]
    assert geo.failures == isinstance(record, Exception)


def test_names_are_cut() -> None:
    ((_, _, name),) = told(Geo([Counting(mmdb.system(1, "x" * 1000))]), SITE)
    assert len(name) == 80


def test_a_file_that_is_not_there_or_no_database_is_named(tmp_path: Path) -> None:
    text = tmp_path / "text.mmdb"
    text.write_text("no database")
    cut = tmp_path / "cut.mmdb"
    cut.write_bytes(mmdb.database({"203.0.113.0/24": mmdb.country("DE")})[:-20])
    for path in (tmp_path / "none.mmdb", tmp_path, text, cut):
        with pytest.raises(ConfigError, match=rf"pipeline\.geo: {path}"):
            load_geo([path])


def test_without_the_extra_the_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(ConfigError, match=r"pipeline\.geo.*flowatlas\[geo\]"):
        load_geo([tmp_path / "any.mmdb"])


WHOLE = mmdb.database(
    {"203.0.113.0/24": {**mmdb.country("DE"), **mmdb.system(64500, "Example Net")}, "::/1": mmdb.country("JP")}
)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8), st.data())
def test_broken_bytes_are_refused_at_the_start_or_tell_nothing(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Whatever the bytes are, nothing is raised but ConfigError."""
    broken = bytearray(WHOLE)
    for place, byte in changes:
        broken[place] = byte
    path = tmp_path_factory.mktemp("geo") / "broken.mmdb"
    path.write_bytes(broken[: data.draw(st.integers(0, len(broken)))] if data.draw(st.booleans()) else broken)
    try:
        geo = load_geo([path])
    except ConfigError:
        return
    for country, asn, organisation in told(geo, SITE, "2001:db8::1", "198.51.100.1"):
        assert len(country) in (0, 2)
        assert 0 <= asn < 1 << 32
        assert len(organisation) <= 80
