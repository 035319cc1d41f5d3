"""A snapshot's mesh made ready: which pods are in it and how, which subset a pod is of, and who insists on mutual TLS.

A pod is in the mesh by what the injector or the node agent wrote on it. The invariant: that is read anew
from every snapshot, for the node agent writes when the pod is there already, and its endpoint stays the same.

Source: the labels and annotations reference of Istio (`security.istio.io/tlsMode`, `sidecar.istio.io/status`,
`ambient.istio.io/redirection`).
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import islice
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.controllers import labels_of
from ..inventory.meshes import AUTHENTICATIONS_FRAME, SHARES_FRAME, SUBSETS_FRAME
from ..inventory.models import Pod, Resource
from ..inventory.services import VIAS
from ..inventory.snapshot import Snapshot
from ..inventory.spans import BEGINNING
from .answers import Answers, answers_of
from .arrays import numbers
from .labelled import labelled_pods

MESHES: Final[pl.Enum] = pl.Enum(["none", "sidecar", "ambient"])
NONE, SIDECAR, AMBIENT = range(3)

Ids = NDArray[np.uint32]
_Strict = tuple[NDArray[np.bool_], dict[int, tuple[Ids, Ids]]]


def mesh_of(subject: Resource | None) -> int:
    """How an object is in a mesh."""
    if not isinstance(subject, Pod):
        return NONE
    labels, annotations = subject.metadata.labels or {}, subject.metadata.annotations or {}
    if annotations.get("ambient.istio.io/redirection") == "enabled":
        return AMBIENT
    if labels.get("security.istio.io/tlsMode") == "istio" or "sidecar.istio.io/status" in annotations:
        return SIDECAR
    return NONE


class MeshLookups:
    """Columns to gather from, of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._strict: dict[int, _Strict] = {}

    @cached_property
    def members(self) -> pl.Series:
        """By endpoint id: `MESHES`."""
        height = self._snapshot.endpoints.height
        codes = [mesh_of(subject) for subject in islice(self._snapshot.subjects, height)]
        codes += [NONE] * (height - len(codes))
        return MESHES.categories.cast(MESHES).gather(pl.Series(codes, dtype=pl.UInt32)).alias("mesh")

    @cached_property
    def member(self) -> NDArray[np.uint8]:
        """The same as codes."""
        return numbers(self.members)

    @cached_property
    def has_members(self) -> bool:
        """Whether any pod was in a mesh."""
        return bool((self.members != "none").any())

    @cached_property
    def subset_rows(self) -> pl.DataFrame:
        """`meshes.SUBSETS` with `subset_id` and spans."""
        return self._snapshot.tracked.get(SUBSETS_FRAME.name, pl.DataFrame(schema=SUBSETS_FRAME.schema))

    @cached_property
    def shares(self) -> pl.DataFrame:
        """`meshes.SHARES` with spans."""
        return self._snapshot.tracked.get(SHARES_FRAME.name, pl.DataFrame(schema=SHARES_FRAME.schema))

    @cached_property
    def subsets(self) -> Answers:
        """By `served` Service id and endpoint id of the pod that answered: the subset."""
        pods = labelled_pods(self._snapshot)
        named = self.subset_rows.filter((pl.col("subset") != "") & (pl.col("labels") != ""))
        chosen = [
            (row["subset_id"], number)
            for row in named.iter_rows(named=True)
            for number in pods.chosen(labels_of(row["labels"]), row["service_namespace"])
        ]
        members = pl.DataFrame(chosen, schema={"subset_id": pl.UInt32, "endpoint_id": pl.UInt32}, orient="row")
        services = self._snapshot.services.select("service_id", "service_namespace", "service")
        claims = named.join(services, on=["service_namespace", "service"]).join(members, on="subset_id")
        return answers_of(
            claims.select(
                pl.Series("key", served(claims["service_id"].to_numpy(), claims["endpoint_id"].to_numpy())),
                pl.col("subset_id").alias("answer"),
                pl.lit(None, VIAS).alias("via"),
                "since",
                "until",
            )
        )

    @cached_property
    def has_subsets(self) -> NDArray[np.bool_]:
        """By service id: whether a pod may be of a subset of it."""
        services = (self.subsets.index.keys[0] >> np.uint64(32)).astype(np.int64)
        return np.isin(np.arange(self._snapshot.services.height + 1), services)

    def is_strict(self, pods: pl.Series, ports: pl.Series, starts: pl.Series) -> pl.Series:
        """Whether each pod (endpoint id) took nothing but mutual TLS on the port at the instant (ns)."""
        ids, numbers = pods.to_numpy(), ports.to_numpy()
        epochs = np.searchsorted(np.array(self._epochs[1:], dtype=np.int64), starts.to_numpy(), side="right")
        found = np.zeros(len(ids), dtype=np.bool_)
        for epoch in np.unique(epochs):
            is_now = epochs == epoch
            if epoch not in self._strict:
                self._strict[epoch] = self._strict_at(self._epochs[epoch])
            strict, exceptions = self._strict[epoch]
            found[is_now] = strict[ids[is_now]]
            for port, (exempted, told) in exceptions.items():
                is_there = is_now & (numbers == port) & np.isin(ids, exempted)
                found[is_there] = np.isin(ids[is_there], told)
        return pl.Series("is_strict", found)

    @cached_property
    def _authentications(self) -> pl.DataFrame:
        empty = pl.DataFrame(schema=AUTHENTICATIONS_FRAME.schema)
        return self._snapshot.tracked.get(AUTHENTICATIONS_FRAME.name, empty)

    @cached_property
    def _epochs(self) -> list[int]:
        """The instants from which on something else may be strict; the first is the beginning."""
        told = self._authentications
        return sorted({BEGINNING, *told["since"].to_list(), *told["until"].to_list()})

    def _strict_at(self, instant: int) -> _Strict:
        """By endpoint id, whether it is strict; and by port, whose pods have a word of their own and which are strict.

        A selector's word comes before the namespace's, and that before the mesh's.
        """
        now = self._authentications.filter((pl.col("since") <= instant) & (instant < pl.col("until")))
        rows = now.select("namespace", "labels", "port", "mode").rows()
        namespaces = self._snapshot.endpoints["namespace"].to_numpy()
        strict = np.zeros(len(namespaces), dtype=np.bool_)
        exceptions: dict[int, tuple[Ids, Ids]] = {}
        pods = labelled_pods(self._snapshot)
        for namespace, labels, port, mode in sorted(rows, key=lambda row: (row[1] != "", row[0] != "")):
            is_strict = mode == "STRICT"
            if not labels:
                strict[(namespaces == namespace) if namespace else slice(None)] = is_strict
                continue
            chosen = np.array(pods.chosen(labels_of(labels), namespace), dtype=np.uint32)
            if port == 0:
                strict[chosen] = is_strict
            else:
                exempted, told = exceptions.get(port, (chosen[:0], chosen[:0]))
                exceptions[port] = np.union1d(exempted, chosen), np.union1d(told, chosen if is_strict else told)
        return strict, exceptions


def served(services: NDArray[np.integer], pods: NDArray[np.integer]) -> NDArray[np.uint64]:
    """A Service's id and a pod's in one number."""
    keys = services.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= pods.astype(np.uint64)
    return keys


@lru_cache(maxsize=2)
def mesh_lookups_of(snapshot: Snapshot) -> MeshLookups:
    """The look-ups of a snapshot; those of the newest two are kept."""
    return MeshLookups(snapshot)
