"""What the checks read: the cluster's objects, a part of the history, and one answer of the pipeline's metrics.

What is not known is empty, and not named in `known`; checks run by that. The invariant: everything here is of one
moment, the one that is asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, TypeVar

import polars as pl

from ..attribution.policies import Policies, compile_policies
from ..inventory import snapshot
from ..inventory.identities import latest
from ..inventory.models import Pod, Resource, Service, namespace_of
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END
from ..outputs.history import HISTORY
from .scrape import Scrape

Source = Literal["state", "history", "metrics"]
Name = tuple[str, str]
"""Namespace and name."""

VIRTUAL: Final = ("cluster_ip", "load_balancer_ip", "external_ip", "node_port")
"""Addresses that are nobody's own: what dials them must be translated to a backend."""

T = TypeVar("T", bound=Resource)


class Cluster:
    """The objects, and what is derived of them once."""

    def __init__(self, objects: Sequence[Resource], known: Snapshot | None = None) -> None:
        self.objects = latest(objects)
        self.snapshot = snapshot.build(self.objects) if known is None else known

    def each(self, kind: type[T]) -> Iterator[T]:
        """The objects of a kind."""
        return (item for item in self.objects if isinstance(item, kind))

    @cached_property
    def policies(self) -> Policies:
        """The policies as they are judged."""
        return compile_policies(self.objects, self.snapshot)

    @cached_property
    def services(self) -> dict[Name, Service]:
        """The Services by namespace and name."""
        return {(namespace_of(item), item.metadata.name): item for item in self.each(Service)}

    @cached_property
    def pods(self) -> dict[str, list[Pod]]:
        """The pods that have not ended, by namespace."""
        found: dict[str, list[Pod]] = {}
        for pod in self.each(Pod):
            if pod.status.phase not in {"Succeeded", "Failed"}:
                found.setdefault(namespace_of(pod), []).append(pod)
        return found

    def selected(self, service: Service) -> list[Pod]:
        """The pods that a Service's selector means; none without a selector."""
        wanted = service.spec.selector
        return [pod for pod in self.pods.get(namespace_of(service), ()) if wanted and has_labels(pod, wanted)]

    @cached_property
    def ready(self) -> dict[tuple[str, str, str], int]:
        """How many ready endpoints each Service port has, by namespace, name and port as `SERVICES` names it."""
        counted = self.snapshot.backends.filter("is_ready", pl.col("until") == END).group_by("service_id").len()
        names = ("service_namespace", "service", "service_port")
        rows = self.snapshot.services.join(counted, on="service_id", how="left").select(*names, "len")
        return {(namespace, name, port): count or 0 for namespace, name, port, count in rows.iter_rows()}


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is known. `flows` are rows of HISTORY; `state` and `lake` are how the user wrote where they are from."""

    known: frozenset[Source]
    cluster: Cluster = field(default_factory=lambda: Cluster(()))
    flows: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=HISTORY))
    scrape: Scrape = field(default_factory=lambda: Scrape({}))
    pod: Name | None = None
    """The pod that is asked about; None for all."""
    service: Name | None = None
    """The same for Services."""
    state: str = "state.yaml"
    lake: str = "lake"

    def services(self) -> Iterator[tuple[Name, Service]]:
        """The Services that are asked about: one, those that select the pod, or all."""
        for name, service in self.cluster.services.items():
            if self.service is not None and name != self.service:
                continue
            if self.pod is not None and self.service is None:
                selected = ((name[0], pod.metadata.name) for pod in self.cluster.selected(service))
                if self.pod not in selected:
                    continue
            yield name, service

    @cached_property
    def asked_pods(self) -> list[Pod] | None:
        """The pod that is asked about, or those of the Service; None where all are."""
        if self.pod is not None:
            return [pod for pod in self.cluster.pods.get(self.pod[0], ()) if pod.metadata.name == self.pod[1]]
        if self.service is not None:
            service = self.cluster.services.get(self.service)
            return self.cluster.selected(service) if service is not None else []
        return None

    @cached_property
    def _workloads(self) -> frozenset[Name]:
        """Namespaces and workloads of the pods that are asked about."""
        names = {(namespace_of(pod), pod.metadata.name) for pod in self.asked_pods or ()}
        rows = self.cluster.snapshot.endpoints.filter(kind="Pod").select("namespace", "name", "workload")
        return frozenset((row[0], row[2]) for row in rows.iter_rows() if row[:2] in names)

    def is_asked(self, *workloads: Name) -> bool:
        """Whether one of the workloads is asked about: those of the pod or Service, or any where none is named."""
        return self.asked_pods is None or not self._workloads.isdisjoint(workloads)

    def is_asked_node(self, node: str) -> bool:
        """The same of the nodes that they are on."""
        return self.asked_pods is None or any(pod.spec.node_name == node for pod in self.asked_pods)

    @cached_property
    def connections(self) -> pl.DataFrame:
        """One row a connection of the history that dialled a Service's virtual address.

        Columns: `service_namespace`, `service`, `service_port`, `source_namespace`, `source_workload`, `source_name`,
        `source_kind`, `source_node`, `opened`, `last` (when it was last told of), and `reached`: whether it came to a
        backend, by the translation or by an answer.
        """
        is_translated = pl.col("backend_ip") != pl.col("dst_ip")
        who = ("namespace", "workload", "name", "kind", "node")
        names = ("service_namespace", "service", "service_port", *(f"source_{part}" for part in who))
        return (
            self.flows.filter(pl.col("role") == "canonical", pl.col("via").is_in(VIRTUAL), pl.col("service_port") != "")
            .group_by("node", "flow_id", *names, maintain_order=True)
            .agg(
                opened=pl.col("opened").sum(),
                last=pl.col("time").max(),
                reached=(is_translated | (pl.col("reply_packets") > 0)).any(),
            )
            .collect()
        )


def has_labels(pod: Pod, wanted: Mapping[str, str]) -> bool:
    """Whether the pod has all of them."""
    return wanted.items() <= (pod.metadata.labels or {}).items()


def written(labels: Mapping[str, str]) -> str:
    """Labels as `kubectl -l` takes them."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def full(name: Name) -> str:
    """NAMESPACE/NAME, or the name of what has no namespace."""
    return "/".join(filter(None, name))


def counted(number: float, what: str) -> str:
    """`1 pod`, `2 pods`."""
    return f"{number:g} {what}{'' if number == 1 else 's'}"
