"""What the history takes by column, and what flows take that programs made and no generator drew: the demo's recording.

The generated cluster draws ids, ports, begins, sizes and round trips of each row by itself, which no real cluster does,
and no format makes less of what was drawn than was drawn. The invariant: bytes are those of the files that a table has
now, without their footers, which are the same for one row and for a hundred thousand.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from collector.schema import TABLES as SHIPPED
from deploy.demo.replay import RECORDING, unpack
from deploy.lab.cluster import MANIFESTS
from pipeline.bus.files import FileReader
from pipeline.config import PipelineConfig
from pipeline.engine import Engine
from pipeline.inventory import manifests, snapshot
from pipeline.lake.maintenance import maintain
from pipeline.lake.parts import files_of
from pipeline.lake.store import Store
from pipeline.lake.summary import summary_of
from pipeline.lake.tables import FLOWS, TABLES
from pipeline.outputs.lake import Lake
from pipeline.outputs.publication import Publication
from pipeline.state import ClusterState

DRAWN: Final = (
    *("flow_id", "src_port", "start", "connect_us", "srtt_us"),
    *("packets", "bytes", "reply_packets", "reply_bytes"),
)
"""Columns that the generated cluster draws by row."""


def bytes_by_column(root: Path) -> tuple[int, dict[str, float]]:
    """How many flows a lake has, and what each column takes of one, the largest first."""
    store = Store(str(root))
    sizes: Counter[str] = Counter()
    rows = 0
    for path in files_of(store.opened(FLOWS))["path"]:
        told = pq.ParquetFile(root / FLOWS.name / path).metadata
        rows += told.num_rows
        for group in range(told.num_row_groups):
            for place in range(told.num_columns):
                column = told.row_group(group).column(place)
                sizes[column.path_in_schema.partition(".")[0]] += column.total_compressed_size
    return rows, {name: size / max(rows, 1) for name, size in sizes.most_common()}


def of_recording(folder: Path) -> dict[str, Any]:
    """What the flows of the demo's recording take, as written and packed, and of that in the columns DRAWN."""
    unpack(RECORDING, folder)
    root = folder / "lake"
    lake = Lake(root)
    lake.start()
    state = ClusterState(snapshot.build(manifests.load(MANIFESTS)[0]), {})
    config = PipelineConfig(bus=f"file://{folder / 'bus'}", state=MANIFESTS)
    reader = FileReader(config.bus, None, [table.topic for table in SHIPPED.values()])
    engine = Engine(config, reader, lambda _: state, Publication(), lake)
    reader.start()
    while not reader.caught_up():
        engine.step(0.0)
    engine.drain(60)
    _, written = bytes_by_column(root)
    store = Store(str(root))
    newest: Any = summary_of(store)["until"].max()
    maintain(store, newest + timedelta(days=1), keep_days=dict.fromkeys(TABLES, 10_000))
    rows, packed = bytes_by_column(root)
    drawn = (packed[name] for name in DRAWN)
    sizes = {"as_written": written.values(), "packed": packed.values(), "packed_as_drawn": drawn}
    return {"flows": rows, **{name: float(f"{sum(of):.3g}") for name, of in sizes.items()}}
