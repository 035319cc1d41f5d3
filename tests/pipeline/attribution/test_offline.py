"""Flows from files: what is read, what is refused, and what is said of the rest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.attribution import flowfile, offline
from pipeline.errors import ConfigError
from pipeline.inventory.snapshot import build
from pipeline.inventory.spans import END
from tests.pipeline.attribution.cluster import APod, Cluster, Era
from tests.pipeline.attribution.eras import snapshot_over
from tests.pipeline.inventory.objects import node, pod, service

SNAPSHOT = build(
    [
        node("n1", "192.0.2.1"),
        pod("a", "10.0.0.1", on="n1"),
        pod("b", "10.0.0.2", on="n1"),
        service("web", "10.96.0.1", kind="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}]),
    ]
)
FLOW = {"src_ip": "10.0.0.1", "dst_ip": "10.0.0.2", "dst_port": 80, "protocol": "TCP"}


def lines(folder: Path, *flows: dict[str, Any] | str) -> Path:
    file = folder / "flows.jsonl"
    file.write_text("".join(f"{flow if isinstance(flow, str) else json.dumps(flow)}\n" for flow in flows))
    return file


def test_flows_keep_their_order_and_their_keys(tmp_path: Path) -> None:
    first = {**FLOW, "src_port": 40000, "time": 1.5, "bytes": 10, "packets": 2}
    read = flowfile.read(lines(tmp_path, first, "", {**FLOW, "unheard": "of"}))
    assert read.problems == ()
    absent = dict.fromkeys(("src_port", "time", "bytes", "packets"))
    assert read.rows.to_dicts() == [first, {**FLOW, **absent}]


def test_a_byte_order_mark_is_no_part_of_the_first_flow(tmp_path: Path) -> None:
    read = flowfile.read(lines(tmp_path, "\ufeff" + json.dumps(FLOW), "\ufeff" + json.dumps(FLOW)))
    assert read.rows.to_dicts() == [FLOW]
    assert [problem.partition(": ")[2] for problem in read.problems] == [
        "line 2: JSON is malformed: invalid character (byte 0)"
    ]


def test_keys_that_no_line_has_are_no_columns(tmp_path: Path) -> None:
    assert flowfile.read(lines(tmp_path, FLOW)).rows.columns == list(FLOW)


@pytest.mark.parametrize(
    ("written", "number"),
    [("TCP", 6), ("udp", 17), ("SCTP", 132), ("ICMPv6", 58), (6, 6), ("47", 47), (255, 255)],
)
def test_a_protocol_is_a_name_or_a_number(tmp_path: Path, written: str | int, number: int) -> None:
    read = flowfile.read(lines(tmp_path, {**FLOW, "protocol": written}, FLOW))
    assert read.problems == ()
    assert flowfile.protocol_numbers(read.rows["protocol"]).to_list() == [number, 6]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("src_ip", "10.0.0"),
        ("dst_ip", 5),
        ("dst_port", 65536),
        ("dst_port", "80"),
        ("src_port", -1),
        ("protocol", "TPC"),
        ("protocol", 256),
        ("time", "yesterday"),
        ("bytes", -1),
        ("packets", 1.5),
    ],
)
def test_a_line_that_is_no_flow_is_refused_by_file_line_and_key(tmp_path: Path, key: str, value: object) -> None:
    file = lines(tmp_path, FLOW, {**FLOW, key: value}, FLOW)
    read = flowfile.read(file)
    assert read.rows.height == 2
    (problem,) = read.problems
    assert problem.startswith(f"{file}: line 2: {key}: ")


@pytest.mark.parametrize("key", list(FLOW))
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    read = flowfile.read(lines(tmp_path, {name: value for name, value in FLOW.items() if name != key}))
    (problem,) = read.problems
    assert f"line 1: Object missing required field `{key}`" in problem


@pytest.mark.parametrize("line", ["{", "[1]", "\x00", '"text"', "5"])
def test_a_line_that_is_no_object_is_refused(tmp_path: Path, line: str) -> None:
    read = flowfile.read(lines(tmp_path, line, FLOW))
    assert (read.rows.height, len(read.problems)) == (1, 1)


def test_parquet_is_read_and_refused_alike(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "src_ip": ["10.0.0.1", "10.0.0.x", "10.0.0.1"],
            "dst_ip": ["10.0.0.2"] * 3,
            "dst_port": [80, 80, None],
            "protocol": [6, 6, 6],
        }
    )
    frame.write_parquet(tmp_path / "flows.parquet")
    read = flowfile.read(tmp_path / "flows.parquet")
    assert read.rows.equals(frame.head(1))
    assert ["line 2: src_ip" in read.problems[0], "line 3: dst_port" in read.problems[1]] == [True, True]


def test_parquet_without_a_needed_column_is_wrong_input(tmp_path: Path) -> None:
    pl.DataFrame({"src_ip": ["10.0.0.1"]}).write_parquet(tmp_path / "flows.parquet")
    with pytest.raises(ConfigError, match="dst_ip, dst_port, protocol"):
        flowfile.read(tmp_path / "flows.parquet")


@pytest.mark.parametrize("name", ["absent.jsonl", "absent.parquet", "broken.parquet"])
def test_a_file_that_cannot_be_read_is_wrong_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(ConfigError, match=name):
        flowfile.read(tmp_path / name)


def test_each_flow_has_its_ends_and_the_service_dialled(tmp_path: Path) -> None:
    listed = [
        FLOW,
        {**FLOW, "dst_ip": "10.96.0.1"},
        {**FLOW, "src_ip": "198.51.100.1", "dst_ip": "192.0.2.1", "dst_port": 30080},
    ]
    rows = offline.attribute_rows(flowfile.read(lines(tmp_path, *listed)).rows, SNAPSHOT).to_dicts()
    assert [(row["source"]["kind"], row["destination"]["kind"]) for row in rows] == [
        ("Pod", "Pod"),
        ("Pod", "Service"),
        ("External", "Node"),
    ]
    vias = [row["service"] and (row["service"]["name"], row["service"]["via"]) for row in rows]
    assert vias == [None, ("web", "cluster_ip"), ("web", "node_port")]
    assert "role" not in rows[0]


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-03-01T12:00:00Z", 1_772_366_400_000_000_000),
        ("2026-03-01T13:00:00.5+01:00", 1_772_366_400_500_000_000),
        ("2026-03-01 12:00:00", 1_772_366_400_000_000_000),
        ("1772366400", 1_772_366_400_000_000_000),
        (1_772_366_400, 1_772_366_400_000_000_000),
        (1_772_366_400.25, 1_772_366_400_250_000_000),
        (1_772_366_400_123, 1_772_366_400_123_000_000),
        (1_772_366_400_123_456, 1_772_366_400_123_456_000),
        (1_772_366_400_123_456_789, 1_772_366_400_123_456_789),
        (None, None),
        ("nan", None),
    ],
)
def test_a_time_is_text_or_a_number_since_the_epoch_in_any_usual_unit(
    written: str | float | None, instant: int | None
) -> None:
    assert flowfile.instants(pl.Series([written], strict=False)).to_list() == [instant]


def test_a_time_in_parquet_may_be_a_date_and_time() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for precise in (pl.Datetime("ms", "UTC"), pl.Datetime("us"), pl.Datetime("ns", "Europe/Berlin")):
        written = pl.Series([moment]).cast(pl.Datetime("us", "UTC")).dt.replace_time_zone(None)
        written = written.dt.replace_time_zone("UTC").cast(precise) if precise.time_zone else written.cast(precise)
        assert flowfile.instants(written).to_list() == [1_772_366_400_000_000_000]


def test_a_flow_is_judged_as_of_its_time_and_as_of_now_where_it_has_none(tmp_path: Path) -> None:
    def only(name: str) -> Cluster:
        return Cluster((), [APod(name, ["10.0.0.1"], "n1", False, "", "Running", False, "web", ())], ())

    second = 1_000_000_000
    eras = [Era(10 * second, 20 * second, 0, only("old")), Era(20 * second, END, 0, only("new"))]
    listed = [{**FLOW, "time": 15}, {**FLOW, "time": "1970-01-01T00:00:25Z"}, FLOW]
    rows = offline.attribute_rows(flowfile.read(lines(tmp_path, *listed)).rows, snapshot_over(eras))
    assert [source["name"] for source in rows["source"]] == ["old", "new", "new"]


def test_each_flow_says_how_sure_it_is_and_why(tmp_path: Path) -> None:
    both = [service(name, external_ips=["203.0.113.1"]) for name in ("a", "b")]
    snapshot = build([pod("client", "10.0.0.1", on="n1"), *both])
    listed = [FLOW | {"dst_ip": ip} for ip in ("198.51.100.1", "203.0.113.1")]
    rows = offline.attribute_rows(flowfile.read(lines(tmp_path, *listed)).rows, snapshot).to_dicts()
    assert [(row["attribution"], row["reason"]) for row in rows] == [("exact", ""), ("ambiguous", "ambiguous_service")]
    assert rows[0]["service_candidates"] is None
    assert [told["name"] for told in rows[1]["service_candidates"]] == ["a", "b"]


def test_an_empty_file_has_no_flows(tmp_path: Path) -> None:
    rows = offline.attribute_rows(flowfile.read(lines(tmp_path)).rows, SNAPSHOT)
    assert rows.is_empty()
    assert {"source", "destination", "service"} <= set(rows.columns)
