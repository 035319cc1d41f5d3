"""Flows handed in as a capture."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pipeline.cli.flow_input import is_capture, read, replies
from tests.collector.packets.captures import interface, packet, pcap, section
from tests.collector.packets.frames import CASES

FRAME = next(case.frame for case in CASES if case.name == "ethernet, IPv4")  # 10.0.0.1:1234 to 10.0.0.2:80
STATE = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {nodeName: n1}
status: {phase: Running, podIP: 10.0.0.2}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
"""


def answer(frame: bytes) -> bytes:
    """The same frame the other way round."""
    source, destination, ports = frame[26:30], frame[30:34], frame[34:38]
    return frame[:26] + destination + source + ports[2:] + ports[:2] + frame[38:]


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.pcap", pcap([FRAME])), ("b.jsonl", section() + interface() + packet(FRAME))],
)
def test_a_capture_is_told_by_what_it_begins_with(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert is_capture(path)
    rows = read(path).rows
    assert rows.select("src_ip", "dst_ip", "dst_port", "protocol").rows() == [("10.0.0.1", "10.0.0.2", 80, 6)]


@pytest.mark.parametrize("data", [b"", b"{}", b"PAR1"])
def test_other_files_are_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "flows.pcap"
    path.write_bytes(data)
    assert not is_capture(path)
    assert not is_capture(tmp_path / "absent")


def test_of_two_flows_between_the_same_ends_the_later_is_the_reply() -> None:
    rows = pl.DataFrame(
        [("a", "b", 1, 2, 6), ("b", "a", 2, 1, 17), ("b", "a", 2, 1, 6), ("c", "c", 5, 5, 6), ("a", "b", 1, 2, 17)],
        schema=["src_ip", "dst_ip", "src_port", "dst_port", "protocol"],
        orient="row",
    )
    assert replies(rows).to_list() == [False, False, True, False, True]


def test_a_captures_flows_are_attributed_and_policies_judge_the_way_there_alone(
    tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    state, capture = tmp_path / "state.yaml", tmp_path / "capture"
    state.write_text(STATE)
    capture.write_bytes(pcap([FRAME, answer(FRAME), FRAME])[:-5])
    done = run("attribute", "--state", str(state), "--flows", str(capture))
    there, back = (json.loads(line) for line in done.stdout.splitlines())
    assert (there["destination"]["name"], there["verdict"]) == ("web", "denied")
    assert (back["source"]["name"], back["verdict"], back["ingress_policy"]) == ("web", None, None)
    assert done.returncode == 1
    assert "no whole record" in done.stderr
