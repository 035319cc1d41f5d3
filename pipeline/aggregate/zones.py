"""Bytes by zone and distance, and what they cost under a price table.

The invariant: every canonical flow is in the zone metric once, and each of its bytes is paid once by the end that sent
it and once by the end that received it. Costs are computed from whole bytes when they are asked for, so they never
drift; and bytes are paid at the price of their time, so what is dear from now on begins at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl

from ..attribution.zones import LOCALITIES, Zones, zones_of
from ..catalog import BY_NAME
from ..inventory.snapshot import Snapshot
from ..kept import Frames, Kept, fits, rows_of
from ..prices import GIGABYTE, Price, Prices
from .rollups import canonical, measures_of
from .samples import Samples
from .totals import Totals
from .views import BothWays

_PAIR: Final = ("src_place", "dst_place", "is_same_node")
_PAYERS: Final = ("src_id", "dst_id", "service_id")
_BYTES: Final = ("bytes", "reply_bytes")
_PRICES: Final = pl.Schema(
    {"currency": pl.String(), "locality": pl.String(), "direction": pl.String(), "price": pl.Float64()}
)


class ZoneMetrics:
    """Zone and cost metrics. Without `prices` nothing is charged and no cost metric is there."""

    def __init__(self, prices: Prices | None = None) -> None:
        self._charges = Charges(prices) if prices is not None else None
        labels = ("source_zone", "destination_zone", "locality")
        self._totals = Totals(_PAIR, labels, _BYTES)
        self._view = BothWays("flowatlas_zone_bytes_total", self._totals, *_BYTES)
        self._snapshot: Snapshot | None = None

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._totals.forget_ids()
            if self._charges is not None:
                self._charges.forget_ids()
        self._snapshot = snapshot

    def add(self, flows: pl.DataFrame) -> None:
        """Nothing here depends on one flow alone."""

    def add_sums(self, sums: pl.DataFrame) -> None:
        """Add sums of flows attributed under the snapshot in use; or flows, of which the canonical ones count."""
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add_sums(sums)")
        zones = zones_of(self._snapshot)
        if "role" in sums.columns:
            sums = canonical(sums)
        pairs = zones.pairs(sums["src_id"].to_numpy(), sums["dst_id"].to_numpy())
        self._totals.count(pairs, measures_of(sums, *_BYTES), lambda ids: _named(ids, zones))
        if self._charges is not None:
            grouped = (
                sums.lazy()
                .with_columns(**pairs)
                .group_by(*pairs, *_payers(namespace_ids(self._snapshot)))
                .agg(pl.col(_BYTES).sum().cast(pl.UInt64))
                .collect()
            )
            self._charges.add(grouped.with_columns(zones.locality()), self._snapshot)

    def kept(self) -> Mapping[str, Kept]:
        """The totals, and what was charged for."""
        if self._charges is None:
            return {"zones": self._totals}
        return {"zones": self._totals, "charges": self._charges.totals, "prices": self._charges}

    def samples(self) -> list[Samples]:
        """The zone metric, and the cost metric where there are prices."""
        return [self._view.samples(), *([self._charges.samples()] if self._charges is not None else [])]


class Charges:
    """Bytes that each namespace pays for, by Service, distance and direction, and their price."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._metric = BY_NAME["flowatlas_traffic_cost_total"]
        self.totals = Totals(
            ("payer", "service_id", "locality", "direction"),
            ("namespace", "service_namespace", "service", "locality", "direction"),
            ("bytes",),
        )
        self._source = self._labels = pl.DataFrame()
        self._rates = pl.Series(dtype=pl.Float64)

    def forget_ids(self) -> None:
        """Ids mean something else from now on."""
        self.totals.forget_ids()

    def add(self, grouped: pl.DataFrame, snapshot: Snapshot) -> None:
        """Charge rows of `_PAYERS` (an end's id standing for its namespace, null beyond the cluster), `locality` and
        bytes both ways."""
        charged = [
            grouped.select(
                pl.col(payer).alias("payer"),
                "service_id",
                "locality",
                pl.lit(direction).alias("direction"),
                pl.col(sent).alias("bytes"),
            )
            for payer, direction, sent in (
                ("src_id", "egress", "bytes"),
                ("src_id", "ingress", "reply_bytes"),
                ("dst_id", "egress", "reply_bytes"),
                ("dst_id", "ingress", "bytes"),
            )
        ]
        priced = [name for name, price in self._prices.per_gigabyte.items() if price != Price()]
        deltas = (
            pl.concat(charged)
            .filter(pl.col("payer").is_not_null(), pl.col("locality").is_in(pl.Series(priced, dtype=LOCALITIES)))
            .group_by("payer", "service_id", "locality", "direction")
            .agg(pl.col("bytes").sum())
        )
        self.totals.add(deltas, lambda ids: _payers_named(ids, snapshot))

    def state(self) -> Frames:
        """The prices at which the bytes are charged."""
        prices = self._prices
        rows = [
            (prices.currency, locality, direction, getattr(price, direction))
            for locality, price in prices.per_gigabyte.items()
            for direction in Price.__struct_fields__
        ]
        return {"prices": pl.DataFrame(rows, schema=_PRICES, orient="row")}

    def restore(self, frames: Frames) -> int:
        """See by the prices of what was charged, which is restored before, what has other ones now: at today's it would
        fall or jump, so it begins anew."""
        if not fits(frames, prices=_PRICES):
            return rows_of(frames)
        key = ["currency", "locality", "direction"]
        same = frames["prices"].join(self.state()["prices"], on=[*key, "price"]).select(key)
        charged = self.totals.labels.with_columns(currency=pl.lit(self._prices.currency))
        is_same = charged.with_row_index("row").join(same, on=key, how="semi")["row"]
        is_gone = np.ones(charged.height, np.bool_)
        is_gone[is_same.to_numpy()] = False
        return self.totals.drop(is_gone)

    def samples(self) -> Samples:
        """The cost of all bytes until now."""
        source = self.totals.labels
        if source is not self._source:
            self._source = source
            self._rates = pl.Series(
                [
                    getattr(self._prices.per_gigabyte.get(locality, Price()), direction) / GIGABYTE
                    for locality, direction in source.select("locality", "direction").iter_rows()
                ],
                dtype=pl.Float64,
            )
            self._labels = source.with_columns(currency=pl.lit(self._prices.currency)).select(self._metric.labels)
        return Samples(self._metric, self._labels, self.totals.measure("bytes").cast(pl.Float64) * self._rates)


@lru_cache(maxsize=2)
def namespace_ids(snapshot: Snapshot) -> pl.Series:
    """By endpoint id, the least id in its namespace, which stands for it; null for what is beyond the cluster."""
    is_ours = ~pl.col("kind").is_in(["External", "Unknown"])
    return snapshot.endpoints.select(pl.when(is_ours).then(pl.col("id").filter(is_ours).min().over("namespace")))["id"]


def _payers(namespaces: pl.Series) -> list[pl.Expr]:
    table = pl.lit(namespaces)
    return [*(table.gather(pl.col(end)).alias(end) for end in ("src_id", "dst_id")), pl.col("service_id")]


def _named(ids: pl.DataFrame, zones: Zones) -> pl.DataFrame:
    return ids.select(
        source_zone=zones.zone("src_place"),
        destination_zone=zones.zone("dst_place"),
        locality=zones.locality().cast(pl.String),
    )


def _payers_named(ids: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    return ids.select(
        namespace=pl.lit(snapshot.endpoints["namespace"]).gather(pl.col("payer")),
        service_namespace=pl.lit(snapshot.services["service_namespace"]).gather(pl.col("service_id")).fill_null(""),
        service=pl.lit(snapshot.services["service"]).gather(pl.col("service_id")).fill_null(""),
        locality=pl.col("locality").cast(pl.String),
        direction=pl.col("direction"),
    )
