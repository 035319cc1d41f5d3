"""Attribution of flows that nobody saw on a node: what a person has in a file, under the cluster as a dump shows it.

Here the address dialled is all that is known, so a flow to a Service's address ends at the Service.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..inventory.addresses import halves_of
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END
from .flowfile import HEAD, instants, protocol_numbers
from .flows import attribute
from .names import with_structs
from .policies import Policies

ADDED: Final = (
    "source",
    "destination",
    "service",
    "attribution",
    "reason",
    "service_candidates",
    "ingress",
    "ingress_candidates",
    "mesh",
)
JUDGED: Final = ("verdict", "egress", "ingress_policy")
"""What policies add."""
NOW: Final = END - 1
"""When a flow without a time is taken to have begun: a dump shows the cluster as it is at its end."""


def attribute_rows(rows: pl.DataFrame, snapshot: Snapshot, policies: Policies | None = None) -> pl.DataFrame:
    """Rows of a `flowfile.FlowFile`, in order, with `source`, `destination`, `service` and `attribution`.

    The first three are structs as `names.with_structs` makes them; `service` is null where none was dialled.
    `policies`, compiled for the snapshot, add `verdict` (`allowed` or `denied`), `egress` and `ingress_policy`, structs
    {verdict, policies}; all are null where a Service was dialled, for policies are about the backend that answers.
    """
    named = with_structs(attribute(_as_seen(rows), snapshot).lazy(), snapshot).collect()
    added = named.select(ADDED).get_columns()
    if policies is not None:
        added += policies.judge(named).get_columns()
    return rows.hstack(added)


def _as_seen(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows as flows without address translation, seen on no node."""
    src, dst = halves_of(rows["src_ip"]), halves_of(rows["dst_ip"])
    ends = {"src": src, "nat_src": src, "dst": dst, "backend": dst}
    return pl.DataFrame(
        [
            pl.Series("node", [None] * rows.height, dtype=pl.Categorical),
            *(frame[half].alias(f"{end}_{half}") for end, frame in ends.items() for half in ("hi", "lo")),
            *(rows["dst_port"].cast(pl.UInt16).alias(f"{end}_port") for end in ("dst", "backend")),
            _started(rows),
            protocol_numbers(rows["protocol"]),
            *(rows[name].cast(pl.String, strict=False) for name in HEAD if name in rows.columns),
        ]
    )


def _started(rows: pl.DataFrame) -> pl.Series:
    """When each flow began (`start`): at its `time`, or now."""
    if "time" not in rows.columns:
        return pl.Series("start", [NOW] * rows.height, dtype=pl.Int64)
    return instants(rows["time"]).fill_null(NOW).alias("start")
