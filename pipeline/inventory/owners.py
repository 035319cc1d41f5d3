"""Which workload a pod belongs to: the owner that a person deployed, not the one that a controller put in between.

A Pod of a Deployment is owned by a ReplicaSet, a Pod of a CronJob by a Job. Where those are known their own owner is
followed; where a dump leaves them out their names still tell, because the controllers make them by rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from .models import Job, Pod, ReplicaSet, Resource, namespace_of
from .parts import Metadata, Owner

TEMPLATE_HASH: Final = "pod-template-hash"
"""The label by which the Deployment controller names its ReplicaSets: `<deployment>-<value>`."""

_CRON_JOB: Final = re.compile(r"(?P<cron_job>.+)-(?P<minutes>\d{8})\Z")
"""The CronJob controller names a Job after the minute it was due, counted from the epoch."""

_FIRST_MINUTE: Final = 24_000_000
"""August 2015, before there were CronJobs: eight digits below are a date or a number that a person chose."""


class Workload(NamedTuple):
    """Kind and name, in the pod's namespace."""

    kind: str
    name: str


Owners = Mapping[tuple[str, str, str], Owner | None]
"""(kind, namespace, name) of a known ReplicaSet or Job to its controller; None where it has none."""


def owners_of(resources: Iterable[Resource]) -> Owners:
    """The in-between owners among the resources."""
    return {
        (resource.kind, namespace_of(resource), resource.metadata.name): controller_of(resource.metadata)
        for resource in resources
        if isinstance(resource, ReplicaSet | Job)
    }


def workload_of(pod: Pod, owners: Owners) -> Workload:
    """The workload of a pod. A bare pod is its own; a static pod (its Node owns it) is named as its manifest is."""
    name = pod.metadata.name
    owner = controller_of(pod.metadata)
    if owner is None:
        return Workload("Pod", name)
    if owner.kind == "Node":
        return Workload("Pod", name.removesuffix(f"-{owner.name}"))
    key = (owner.kind, namespace_of(pod), owner.name)
    if key in owners:
        above = owners[key]
        return Workload(above.kind, above.name) if above else Workload(owner.kind, owner.name)
    return _by_name(owner, pod.metadata.labels or {})


def _by_name(owner: Owner, labels: Mapping[str, str]) -> Workload:
    if owner.kind == "ReplicaSet":
        deployment = owner.name.removesuffix(f"-{labels.get(TEMPLATE_HASH, '')}")
        if deployment and deployment != owner.name:
            return Workload("Deployment", deployment)
    elif owner.kind == "Job":
        match = _CRON_JOB.match(owner.name)
        if match and int(match["minutes"]) >= _FIRST_MINUTE:
            return Workload("CronJob", match["cron_job"])
    return Workload(owner.kind, owner.name)


def controller_of(metadata: Metadata) -> Owner | None:
    """The owner that controls an object; the first where none says so."""
    owners = metadata.owner_references or []
    return next((owner for owner in owners if owner.controller), owners[0] if owners else None)
