"""Flow frames for tests, from addresses as text."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipeline.attribution import attribute, with_structs
from pipeline.inventory.addresses import parse
from pipeline.inventory.dataplane import ServicesBy
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.oracle import Answer

SCHEMA = pl.Schema(
    {
        "node": pl.Categorical(),
        "row": pl.Int64(),
        "start": pl.Int64(),
        "dst_port": pl.UInt16(),
        "backend_port": pl.UInt16(),
        "protocol": pl.UInt8(),
    }
    | {f"{end}_{half}": pl.UInt64() for end in ("src", "dst", "backend", "nat_src") for half in ("hi", "lo")}
)


def frame_of(flows: Sequence[Flow]) -> pl.DataFrame:
    rows = [
        (
            *(number, flow.node, flow.start, flow.dst_port, flow.backend_port, flow.protocol),
            *(half for ip in (flow.src, flow.dst, flow.backend, flow.nat_src) for half in parse(ip)),
        )
        for number, flow in enumerate(flows)
    ]
    columns = ["row", "node", *list(SCHEMA)[2:]]
    return pl.DataFrame(rows, schema={name: SCHEMA[name] for name in columns}, orient="row")


def answers(flows: Sequence[Flow], snapshot: Snapshot, services_by: ServicesBy = "dialled") -> list[Answer]:
    """What the code under test says of each flow, in the oracle's words."""
    attributed = attribute(frame_of(flows), snapshot, services_by)
    rows = with_structs(attributed.lazy(), snapshot).collect().to_dicts()
    assert [row["row"] for row in rows] == list(range(len(flows)))
    return [
        Answer(
            source=(row["source"]["kind"], row["source"]["name"]),
            destination=(row["destination"]["kind"], row["destination"]["name"]),
            service=service_of(row["service_id"], snapshot),
            via=row["via"],
            candidates=tuple(sorted((told["name"], told["port_name"]) for told in row["service_candidates"] or ())),
            role=row["role"],
            attribution=row["attribution"],
            reason=row["reason"],
        )
        for row in rows
    ]


def service_of(service_id: int | None, snapshot: Snapshot) -> tuple[str, str] | None:
    if service_id is None:
        return None
    row = snapshot.services.row(service_id, named=True)
    return row["service"], row["service_port"]
