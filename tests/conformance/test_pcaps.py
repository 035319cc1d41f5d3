"""Captures of other projects against the flows that another dissector found in them."""

from __future__ import annotations

import ipaddress
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from collector.packets.flows import Flows
from collector.sources import pcap

LAYERS = ("outer", "inner")


def test_every_capture_without_a_caveat_has_exactly_the_flows_of_its_truth_file(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = []
    scored = 0
    for truth_file in sorted((corpus / "pcaps").glob("*.truth.json")):
        truth = json.loads(truth_file.read_text())
        capture = truth_file.with_name(truth_file.name.removesuffix(".truth.json"))
        found = pcap.read(capture)  # those with a caveat must not raise, and lose no packet
        for layer in LAYERS:
            assert sum(getattr(found, layer).packets) + sum(found.no_flow.values()) == found.packets, capture.name
        if "caveat" in truth:
            continue
        scored += 1
        differences = [layer for layer in LAYERS if as_found(getattr(found, layer)) != as_stated(truth[layer])]
        if differences or found.packets != truth["link_frames"]:
            wrong.append(f"{capture.name}: {', '.join(differences) or 'packets'}")
    with capsys.disabled():
        sys.stdout.write(f"\ncaptures exactly as stated: {scored - len(wrong)} of {scored}\n")
    assert scored
    assert not wrong


def as_found(flows: Flows) -> set[tuple[Any, ...]]:
    ends = ((text(*pair[:2]), text(*pair[2:])) for pair in zip(*columns(flows, 0, 4), strict=True))
    return {(*pair, *rest) for pair, rest in zip(ends, zip(*columns(flows, 4, 10), strict=True), strict=True)}


def columns(flows: Flows, first: int, last: int) -> list[list[int]]:
    names = list(Flows.__slots__)[first:last]
    return [getattr(flows, name).tolist() for name in names]


def text(hi: int, lo: int) -> str:
    address = ipaddress.IPv6Address(hi << 64 | lo)
    return str(address.ipv4_mapped or address)


def as_stated(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    keys = ("src", "dst", "sport", "dport", "proto", "packets", "bytes")
    return {
        (*(row[key] for key in keys), row.get("bytes_unknown_packets", 0))
        for row in rows
        if row["src"] and row["dst"]  # a header cut short is no flow
    }
