"""The small cluster with a DNS Service and its pod, and a headless Service."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from pipeline.attribution.dnsqueries import asked_of
from pipeline.bus import Message
from pipeline.decode import decode
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.attribution.dns_answers import Answer, batch_of
from tests.pipeline.small_cluster import pod, service, small_cluster

DNS_SERVICE: Final = "10.96.0.10"
DNS_POD: Final = "10.0.2.9"
NODE_LOCAL: Final = "169.254.20.10"
BEYOND: Final = "203.0.113.53"


def _slice(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "dns-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "dns"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port, "protocol": "UDP"}],
        "endpoints": [{"addresses": [DNS_POD]}],
    }


def dns_cluster(pod_port: int = 53) -> Snapshot:
    """Clients are the small cluster's: `front` at 10.0.1.5 and 10.0.2.5. `pod_port` is where the DNS pod listens."""
    return small_cluster(
        pod("dns-0", "node-b", DNS_POD, ("StatefulSet", "dns")),
        service("dns", DNS_SERVICE, 53, "UDP"),
        _slice(pod_port),
        service("peers", "None", 7000),
    )


def asked(*answers: Answer) -> pl.DataFrame:
    """The exchanges of these rows, as they come out of a batch."""
    batch = batch_of(list(answers))
    return asked_of(decode(Message(batch.topic, batch.node, 0, batch.key, batch.headers(), batch.value)).frame)
