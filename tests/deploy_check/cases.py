"""What is checked: every profile as helm renders it, the chart with everything on, and every kustomization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from deploy.render import OVERLAYS, PROFILES, build, objects, template

Object = dict[str, Any]

WORKLOADS: Final = ("DaemonSet", "Deployment", "StatefulSet")
_EVERYTHING: Final = (
    "bus=",
    "kafka.create=true",
    "collector.heads=true",
    "pipeline.lake=true",
    "pipeline.storage.enabled=true",
    "pipeline.autoscaling.by=keda",
    "monitoring.monitors=true",
    "monitoring.rules=true",
    "dashboards.configMaps=true",
    "dashboards.operator=true",
    "openshift.enabled=true",
    "webConfig.secret=flowatlas-web",
    "webConfig.tls=true",
    "nodeKeys.hostFolder=/etc/flowatlas",
    "nodeKeys.rootSecret=flowatlas-root-key",
)
_HPA: Final = ("pipeline.autoscaling.by=hpa",)


@dataclass(frozen=True, slots=True)
class Case:
    """One way to install. `render` runs the real tool."""

    name: str
    render: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A case's text and objects."""

    name: str
    text: str
    objects: list[Object]

    @property
    def capabilities(self) -> list[str]:
        """What the collector's container gets."""
        (collector,) = [o for o in self.objects if o["kind"] == "DaemonSet"]
        (container,) = collector["spec"]["template"]["spec"]["containers"]
        return list(container["securityContext"]["capabilities"]["add"])


def cases() -> Iterator[Case]:
    """All of them, by name."""
    yield Case("helm", template)
    for path in sorted(PROFILES.glob("*.yaml")):
        yield Case(f"helm {path.stem}", partial(template, f"--values={path}"))
    for name, values in (("everything", _EVERYTHING), ("hpa", _HPA)):
        yield Case(f"helm {name}", partial(template, *(f"--set={value}" for value in values)))
    for folder in (OVERLAYS.parent / "base", *sorted(OVERLAYS.iterdir())):
        yield Case(f"kustomize {folder.name}", partial(build, folder))


def rendered() -> list[Rendered]:
    """All of them, as the tools make them."""
    texts = ((case.name, case.render()) for case in cases())
    return [Rendered(name, text, objects(text)) for name, text in texts]


def pods(found: list[Object]) -> Iterator[Object]:
    """Every pod that the objects are or make, as an object of its own."""
    for item in found:
        if item["kind"] == "Pod":
            yield item
        elif item["kind"] in WORKLOADS:
            template = item["spec"]["template"]
            metadata = {"name": item["metadata"]["name"], "labels": template["metadata"]["labels"]}
            spec = dict(template["spec"])
            claims = item["spec"].get("volumeClaimTemplates", ())
            if claims:
                volumes = [
                    {"name": c["metadata"]["name"], "persistentVolumeClaim": {"claimName": c["metadata"]["name"]}}
                    for c in claims
                ]
                spec["volumes"] = [*spec.get("volumes", ()), *volumes]
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
