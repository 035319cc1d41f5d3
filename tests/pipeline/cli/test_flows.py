"""`flowatlas flows` as a person or a script meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.collector.packets.captures import pcap
from tests.collector.packets.frames import CASES, ETHER, jumbogram

FRAMES = {case.name: case.frame for case in CASES}


Run = Callable[..., subprocess.CompletedProcess[str]]


def process(*arguments: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pipeline.cli.main", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def capture(tmp_path: Path, *frames: bytes, cut: int = 0) -> str:
    path = tmp_path / "capture.jpeg"
    data = pcap(frames)
    path.write_bytes(data[: len(data) - cut])
    return str(path)


def test_flows_in_tunnels_say_so(tmp_path: Path, run: Run) -> None:
    vxlan = FRAMES["VXLAN, Linux's port"]
    file = capture(tmp_path, vxlan, vxlan, FRAMES["IPIP"], FRAMES["ESP is opaque"])
    rows = [json.loads(line) for line in run("flows", file).stdout.splitlines()]
    extra = [{key: row[key] for key in ("tunnel", "vni", "overhead_bytes", "opaque")} for row in rows]
    assert extra == [
        {"tunnel": "vxlan", "vni": 1, "overhead_bytes": 120, "opaque": None},
        {"tunnel": None, "vni": None, "overhead_bytes": None, "opaque": "esp"},
    ]
    outer = [json.loads(line) for line in run("flows", file, "--layer", "outer").stdout.splitlines()]
    assert all(row.keys() == {*rows[0]} - {"tunnel", "vni", "overhead_bytes", "opaque"} for row in outer)


def test_flows_are_json_lines_in_the_order_in_which_they_began(tmp_path: Path, run: Run) -> None:
    done = run("flows", capture(tmp_path, FRAMES["IPv6"], FRAMES["ethernet, IPv4"], FRAMES["IPv6"]))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "src_ip": "2001:db8::1",
            "dst_ip": "2001:db8::2",
            "src_port": 5353,
            "dst_port": 53,
            "protocol": 17,
            "packets": 2,
            "bytes": 106,
        },
        {
            "src_ip": "10.0.0.1",
            "dst_ip": "10.0.0.2",
            "src_port": 1234,
            "dst_port": 80,
            "protocol": 6,
            "packets": 1,
            "bytes": 40,
        },
    ]


@pytest.mark.parametrize(("layer", "source"), [("inner", "10.0.0.1"), ("outer", "192.0.2.1")])
def test_layer_chooses_the_header_inside_the_tunnel_or_the_one_around_it(
    tmp_path: Path, layer: str, source: str, run: Run
) -> None:
    done = run("flows", capture(tmp_path, FRAMES["Geneve"]), "--layer", layer)
    assert json.loads(done.stdout)["src_ip"] == source


def test_a_pipe_is_read_as_a_file_is() -> None:
    done = process("flows", "/dev/stdin", "-o", "csv", stdin=pcap([FRAMES["SCTP"]]))
    assert done.stdout.decode().splitlines() == [
        "src_ip,dst_ip,src_port,dst_port,protocol,packets,bytes",
        "10.0.0.1,10.0.0.2,1,2,132,1,32",
    ]


def test_what_is_no_flow_is_said_by_reason_and_is_no_error(tmp_path: Path, run: Run) -> None:
    cut_tunnel = FRAMES["IPIP"][:40]
    name = capture(tmp_path, FRAMES["ARP"], FRAMES["IPv6"][:50], bytes(ETHER)[:9], cut_tunnel, jumbogram())
    done = run("flows", name)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"flowatlas flows: {name}: 3 of 5 packets are in no flow: ip_cut 1, link_cut 1, not_ip 1",
        f"flowatlas flows: {name}: 1 of 5 packets are in a flow, but were not read to their end: ip_cut 1",
        f"flowatlas flows: {name}: 1 of 5 packets do not say how long they are and add no bytes: length_0 1",
    ]


def test_a_file_cut_short_gives_its_good_part_names_the_place_and_exits_with_1(tmp_path: Path, run: Run) -> None:
    name = capture(tmp_path, FRAMES["IPv6"], FRAMES["SCTP"], cut=1)
    done = run("flows", name)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert f"{name}: offset {24 + 16 + len(FRAMES['IPv6'])}: " in done.stderr


@pytest.mark.parametrize(("name", "said"), [("/no/such.pcap", "No such file"), (__file__, "neither pcap nor pcapng")])
def test_what_is_no_capture_exits_with_2(name: str, said: str, run: Run) -> None:
    done = run("flows", name)
    assert done.returncode == 2
    assert f"flowatlas flows: {name}: " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
