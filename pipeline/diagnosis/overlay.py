"""Packets too large for the way between nodes: an MTU or overlay that does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from .evidence import Evidence, full
from .finding import Finding

CHECK: Final = "overlay"
_DROPS: Final = "flowatlas_drops_total"
NAMES: Final = (_DROPS,)
TOO_LARGE: Final = "pkt_too_big"
"""The kernel's SKB_DROP_REASON_PKT_TOO_BIG."""
RETRANSMITTED: Final = 0.02
TIMES: Final = 5.0
SEGMENTS: Final = 20
_TCP: Final = 6


def too_large_packets(evidence: Evidence) -> Iterator[Finding]:
    """Workload pairs of which a kernel dropped packets because they were larger than the path takes."""
    pair = ("source_namespace", "source_workload", "destination_namespace", "destination_workload")
    for (from_ns, from_name, to_ns, to_name), packets in evidence.scrape.by(_DROPS, *pair, reason=TOO_LARGE).items():
        source, destination = (from_ns, from_name), (to_ns, to_name)
        if not packets or not evidence.is_asked(source, destination):
            continue
        yield Finding(
            CHECK,
            "error",
            f"{full(source)} to {full(destination)}",
            "packets are larger than the way between them takes",
            (f"{packets:g} packets dropped with reason {TOO_LARGE} since the pipeline started",),
            "compare `ip link` on both nodes: a pod's MTU is the uplink's less the overlay's header (VXLAN: 50 bytes)",
        )


def retransmits_between_nodes(evidence: Evidence) -> Iterator[Finding]:
    """Pairs of nodes between which TCP sends far more again than within a node."""
    is_between_pods = (pl.col("source_kind") == "Pod") & (pl.col("destination_kind") == "Pod")
    ends = ("source_node", "destination_node")
    rows = (
        evidence.flows.filter(
            pl.col("role") == "canonical",
            pl.col("protocol") == _TCP,
            is_between_pods,
            pl.col("reply_packets") > 0,
        )
        .group_by(*ends)
        .agg(
            again=pl.col("retransmits").cast(pl.Int64).sum(),
            packets=(pl.col("packets") + pl.col("reply_packets")).sum(),
            opened=pl.col("opened").cast(pl.Int64).sum(),
        )
        .sort(*ends)
        .collect()
    )
    within = rows.filter(pl.col("source_node") == pl.col("destination_node")).sum()
    usual = (within["again"][0] or 0) / (within["packets"][0] or 1)
    for source, destination, again, packets, opened in rows.iter_rows():
        share = again / packets
        if source == destination or again < SEGMENTS or share < max(RETRANSMITTED, TIMES * usual):
            continue
        yield Finding(
            CHECK,
            "warning",
            f"node {source} to node {destination}",
            f"TCP sends {share:.1%} of its segments again between them, and {usual:.1%} within nodes",
            (f"{again} segments sent again, {packets} packets, {opened} connections",),
            f"from a pod on {source}: ping -M do -s 1400 POD_ON_{destination}; then compare `ip link` on both nodes",
        )
