"""One snapshot over several eras of a cluster: each era's own snapshot, given the era's span, under common ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import polars as pl

from pipeline.inventory.outside import BUILTIN, outside_of
from pipeline.inventory.ranges import cluster_ranges, ranges_frame
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.attribution.cluster import Era


def snapshot_over(eras: Sequence[Era]) -> Snapshot:
    parts = [build(era.cluster.objects(), outside=()) for era in eras]
    services, service_maps = numbered([_services(part) for part in parts], "service_id")
    endpoints, endpoint_maps = numbered([part.endpoints for part in parts], "id")
    ids = {"endpoint_id": endpoint_maps, "service_id": service_maps}

    def merged(frame_of: Callable[[Snapshot], pl.DataFrame]) -> pl.DataFrame:
        frames = []
        for number, (era, part) in enumerate(zip(eras, parts, strict=True)):
            frame = frame_of(part).with_columns(since=pl.lit(era.since, pl.Int64), until=pl.lit(era.until, pl.Int64))
            if "seen" in frame.columns:
                frame = frame.with_columns(seen=pl.lit(era.since + era.delay, pl.Int64))
            for column, maps in ids.items():
                if column in frame.columns:
                    new = frame[column].replace_strict(maps[number], return_dtype=pl.UInt32)
                    frame = frame.with_columns(new.alias(column))
            frames.append(frame)
        return pl.concat(frames).sample(fraction=1, shuffle=True, seed=1)

    named = services.join(
        endpoints.filter(kind="Service").select("namespace", "name", "uid", endpoint_id="id"),
        left_on=["service_namespace", "service"],
        right_on=["namespace", "name"],
        how="left",
        maintain_order="left",
    )
    outside = outside_of(BUILTIN, endpoints.height)
    return Snapshot(
        endpoints=pl.concat([endpoints, outside.endpoints]),
        addresses=merged(lambda part: part.addresses),
        services=named.select(parts[0].services.columns),
        dialled=merged(lambda part: part.dialled),
        node_ports=merged(lambda part: part.node_ports),
        backends=merged(lambda part: part.backends),
        listeners=merged(lambda part: part.listeners),
        ranges=ranges_frame(cluster_ranges([item for era in eras for item in era.cluster.objects()])),
        objects={},
        outside=outside,
        tracked={"service_ports": merged(lambda part: part.tracked["service_ports"])},
    )


def _services(part: Snapshot) -> pl.DataFrame:
    return part.services.drop("endpoint_id")


def numbered(frames: Sequence[pl.DataFrame], column: str) -> tuple[pl.DataFrame, list[dict[int, int]]]:
    """All distinct rows, numbered anew in `column`, and for each frame what its numbers have become."""
    facts = [name for name in frames[0].columns if name != column]
    whole = pl.concat(frame.select(facts) for frame in frames).unique(maintain_order=True)
    whole = whole.with_row_index(column).select(frames[0].columns)
    maps = [
        cast(
            "dict[int, int]",
            dict(frame.join(whole, on=facts, maintain_order="left").select(column, f"{column}_right").iter_rows()),
        )
        for frame in frames
    ]
    return whole, maps
