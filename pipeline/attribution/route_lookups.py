"""A snapshot's routes made ready for joins: by proxy and Service, or by proxy and backend where pods are dialled.

Proxies that serve the same entrances are one number, Services and routed backends another, and a key is both. The
invariant: where several routes of a proxy lead to what was dialled, the answer is all of them.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.controllers import labels_of
from ..inventory.routes import ORIGIN
from ..inventory.routing import CONTROLLERS_FRAME, ROUTES_FRAME
from ..inventory.services import VIAS
from ..inventory.snapshot import Snapshot
from .answers import Answers, answers_of
from .arrays import table
from .keyindex import KeyIndex
from .labelled import labelled_pods
from .lookups import ADDRESS, Ids, Keys, lookups_of, packed

TCP: Final = 6
_NO_ROUTES: Final = pl.DataFrame(schema=ROUTES_FRAME.schema)
_NO_CONTROLLERS: Final = pl.DataFrame(schema=CONTROLLERS_FRAME.schema)


class RouteLookups:
    """Frames to join on and columns to gather from, of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @cached_property
    def frame(self) -> pl.DataFrame:
        """`routes.ROUTES` with `route_id` and spans; empty where the snapshot tracks none."""
        return self._snapshot.tracked.get("routes", _NO_ROUTES)

    @cached_property
    def served(self) -> pl.DataFrame:
        """proxy (UInt32) and entrance: what the pods of one number serve."""
        return self._members.select("proxy", "entrance").unique(maintain_order=True)

    @cached_property
    def proxies(self) -> pl.Series:
        """By endpoint id: the pod's number as a proxy; null for what is none."""
        numbers = self._members.select("endpoint_id", "proxy").unique()
        everyone = self._snapshot.endpoints.select(endpoint_id="id")
        return everyone.join(numbers, on="endpoint_id", how="left", maintain_order="left")["proxy"]

    @cached_property
    def proxy(self) -> Ids:
        """The same, -1 for what is none."""
        return table(self.proxies, -1)

    @cached_property
    def is_idle(self) -> bool:
        """Whether no flow can be a route's."""
        return self.frame.is_empty() or self.served.is_empty()

    @cached_property
    def services(self) -> pl.DataFrame:
        """route_id, service_id, proxy, since, until: the Service port that each route leads to, by who serves it. The
        last row of a route stands for all of them."""
        ports = self._snapshot.services.filter(pl.col("protocol") == TCP).select(
            "service_id", "service_namespace", "service", "port"
        )
        return (
            self.frame.with_columns(pl.col("route_id").max().over(ORIGIN))
            .join(ports, on=["service_namespace", "service", "port"])
            .join(self.served, on="entrance")
            .select("route_id", "service_id", "proxy", "since", "until")
        )

    @cached_property
    def targets(self) -> pl.DataFrame:
        """key (`packed` address, port and protocol of a backend behind a route) and target (UInt32), from the number
        of Services on."""
        keys = self._backends.select("key").unique().sort("key")
        return keys.with_row_index("target", offset=self.first_target).select("key", "target")

    @property
    def first_target(self) -> int:
        """The number of the first target."""
        return self._snapshot.services.height

    @cached_property
    def target_index(self) -> KeyIndex:
        """The rows of `targets` by their key."""
        return KeyIndex([self.targets["key"].to_numpy()])

    @cached_property
    def routes(self) -> Answers:
        """By `proxied` proxy and Service id or target: the route."""
        services = self.services
        by_service = services.select(
            pl.Series("key", proxied(services["proxy"].to_numpy(), services["service_id"].to_numpy())),
            pl.col("route_id").alias("answer"),
            pl.lit(None, VIAS).alias("via"),
            "since",
            "until",
        )
        return answers_of(pl.concat([by_service, self._by_target("route_id")]))

    @cached_property
    def dialled_services(self) -> Answers:
        """By `proxied` proxy and target: the Service port of the routes there."""
        return answers_of(self._by_target("service_id"))

    @cached_property
    def routed(self) -> pl.Series:
        """By service id: whether a route leads to it, at any time."""
        ids = self.services["service_id"].unique()
        return self._snapshot.services["service_id"].is_in(ids.implode())

    @cached_property
    def _members(self) -> pl.DataFrame:
        """endpoint_id, entrance, proxy: who serves what by the best evidence that finds anyone."""
        told = self._snapshot.tracked.get("route_controllers", _NO_CONTROLLERS)
        evidence = told.drop("since", "until").unique(maintain_order=True)
        looked_for = ["namespace", "labels", "workload"]  # the same for all entrances of a class
        rows = [
            (*wanted, number)
            for wanted in evidence.select(looked_for).unique(maintain_order=True).iter_rows()
            for number in self._chosen(*wanted)
        ]
        schema = {**dict.fromkeys(looked_for, pl.String()), "endpoint_id": pl.UInt32()}
        found = evidence.join(pl.DataFrame(rows, schema=schema, orient="row"), on=looked_for)
        best = found.filter(pl.col("rank") == pl.col("rank").min().over("entrance"))
        entrances = best.group_by("endpoint_id").agg(pl.col("entrance").unique().sort())
        text = pl.col("entrance").list.join("\n")
        numbered = entrances.sort("endpoint_id").with_columns(proxy=text.rank("dense").cast(pl.UInt32) - 1)
        return numbered.explode("entrance")

    def _chosen(self, namespace: str, labels: str, workload: str) -> list[int]:
        if labels:
            return labelled_pods(self._snapshot).chosen(labels_of(labels), namespace)
        is_named = pl.col("workload").str.contains(workload, literal=True)
        return self._snapshot.endpoints.filter((pl.col("kind") == "Pod") & is_named)["id"].to_list()

    @cached_property
    def _backends(self) -> pl.DataFrame:
        """key and what `services` has, for every backend of every route, while both are there."""
        numbers = lookups_of(self._snapshot).addresses.select(*ADDRESS, "address")
        backends = self._snapshot.backends.join(numbers, on=ADDRESS).join(
            self.services, on="service_id", suffix="_route"
        )
        return backends.select(
            packed(pl.col("address"), pl.col("port"), pl.col("protocol")).alias("key"),
            "route_id",
            "service_id",
            "proxy",
            since=pl.max_horizontal("since", "since_route"),
            until=pl.min_horizontal("until", "until_route"),
        ).filter(pl.col("since") < pl.col("until"))

    def _by_target(self, answer: str) -> pl.DataFrame:
        claims = self._backends.join(self.targets, on="key")
        return claims.select(
            pl.Series("key", proxied(claims["proxy"].to_numpy(), claims["target"].to_numpy())),
            pl.col(answer).alias("answer"),
            pl.lit(None, VIAS).alias("via"),
            "since",
            "until",
        ).unique(maintain_order=True)


def proxied(proxies: NDArray[np.integer], targets: NDArray[np.integer]) -> Keys:
    """A proxy's number and a Service id or target in one number; no key has a target of -1."""
    keys = proxies.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= targets.astype(np.uint32)
    return keys


@lru_cache(maxsize=2)
def route_lookups_of(snapshot: Snapshot) -> RouteLookups:
    """The look-ups of a snapshot; those of the newest two are kept."""
    return RouteLookups(snapshot)
