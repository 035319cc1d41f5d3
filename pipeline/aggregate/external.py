"""Bytes between workloads and the countries and networks beyond the cluster, where databases tell of them.

The invariant: a canonical flow with one end beyond the cluster is counted once, whatever is known of that end; one with
both or neither there is not counted. Networks that came when there were enough are `other`, and their sum is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from ..catalog import BY_NAME
from ..geo import Geo
from ..inventory.snapshot import Snapshot
from ..kept import Kept
from . import rollups
from .samples import Samples
from .totals import Totals

MAX_NETWORKS: Final = 1_000
"""The first so many networks have series of their own; of the others, all of a country are one."""
OTHER: Final = "other"

_METRIC: Final = BY_NAME["flowatlas_external_bytes_total"]
_WORKLOAD: Final = ("namespace", "workload", "workload_kind")
_NETWORK: Final = ("country", "asn", "organisation")
_DIRECTIONS: Final = ("egress", "ingress")


class ExternalMetrics:
    """Totals of flows that `Geo.join` has numbered, by `geo`."""

    def __init__(self, geo: Geo, max_networks: int = MAX_NETWORKS) -> None:
        self._geo = geo
        self._max_networks = max_networks
        self._totals = Totals(("own_id", "network"), (*_WORKLOAD, *_NETWORK), _DIRECTIONS)
        self._snapshot: Snapshot | None = None
        self._source = self._labels = pl.DataFrame(schema=dict.fromkeys(_METRIC.labels, pl.String))
        self._networks = pl.DataFrame()
        self._shown = pl.Series(dtype=pl.UInt32)

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._totals.forget_ids()
        self._snapshot = snapshot

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add(flows)")
        is_sent_out = pl.col("src_network").is_null()
        is_crossing = is_sent_out != pl.col("dst_network").is_null()
        own = pl.lit(rollups.workload_ids(self._snapshot)).gather(
            pl.when(is_sent_out).then("src_id").otherwise("dst_id")
        )
        grouped = (
            flows.lazy()
            .filter((pl.col("role") == "canonical") & is_crossing)
            .group_by(
                own.alias("own_id"),
                pl.lit(self._folded()).gather(pl.coalesce("src_network", "dst_network")).alias("network"),
            )
            .agg(
                egress=pl.when(is_sent_out).then("bytes").otherwise("reply_bytes").sum().cast(pl.UInt64),
                ingress=pl.when(is_sent_out).then("reply_bytes").otherwise("bytes").sum().cast(pl.UInt64),
            )
            .collect()
        )
        self._totals.add(grouped, self._name)

    def kept(self) -> Mapping[str, Kept]:
        """The totals, and the networks in the order in which they came: the first ones have series of their own."""
        return {"networks": self._geo, "totals": self._totals}

    def samples(self) -> list[Samples]:
        """The metric with its values as they are now."""
        source = self._totals.labels
        if source is not self._source:
            self._source = source
            parts = [source.with_columns(direction=pl.lit(direction)) for direction in _DIRECTIONS]
            self._labels = pl.concat(parts).select(_METRIC.labels)
        return [Samples(_METRIC, self._labels, pl.concat([self._totals.measure(name) for name in _DIRECTIONS]))]

    def _folded(self) -> pl.Series:
        """By number of a network: the number under which it is counted."""
        if self._networks is not self._geo.networks:
            self._networks = self._geo.networks
            number = pl.col("number")
            is_folded = number >= self._max_networks
            first = number.min().over("country", is_folded)
            self._shown = self._networks.with_row_index("number").select(
                pl.when(is_folded).then(first).otherwise(number)
            )["number"]
        return self._shown

    def _name(self, ids: pl.DataFrame) -> pl.DataFrame:
        assert self._snapshot is not None  # noqa: S101 - `add` has looked
        endpoints, networks = self._snapshot.endpoints, self._networks
        number = pl.col("network")
        is_folded = number >= self._max_networks
        asn = pl.lit(networks["asn"].cast(pl.String).replace("0", "")).gather(number)
        return ids.select(
            *(pl.lit(endpoints[field].cast(pl.String)).gather(pl.col("own_id")).alias(field) for field in _WORKLOAD),
            country=pl.lit(networks["country"]).gather(number),
            asn=pl.when(is_folded).then(pl.lit(OTHER)).otherwise(asn),
            organisation=pl.when(is_folded).then(pl.lit("")).otherwise(pl.lit(networks["organisation"]).gather(number)),
        )
