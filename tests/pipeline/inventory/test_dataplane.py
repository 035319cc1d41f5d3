"""What tells a Service in this cluster."""

from __future__ import annotations

import pytest

from pipeline.inventory.dataplane import services_by
from pipeline.inventory.models import Resource
from pipeline.inventory.snapshot import build
from tests.pipeline.inventory.objects import pod

CILIUM = pod("cilium-x7k2p", on="n1", owner=("DaemonSet", "cilium"))
OPERATOR = pod("cilium-operator-5d4f9c7b86-abcde", on="n1", owner=("ReplicaSet", "cilium-operator-5d4f9c7b86"))
PROXY = pod("kube-proxy-4xk9c", on="n1", owner=("DaemonSet", "kube-proxy"))
STATIC_PROXY = pod("kube-proxy-n1", on="n1")


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([], "dialled"),
        ([PROXY], "dialled"),
        ([CILIUM], "backend"),
        ([pod("anetd-1", on="n1", owner=("DaemonSet", "anetd"))], "backend"),
        ([CILIUM, PROXY], "dialled"),
        ([CILIUM, STATIC_PROXY], "dialled"),
        ([OPERATOR], "dialled"),
    ],
)
def test_the_backend_tells_where_a_socket_balancer_stands_in_for_kube_proxy(
    objects: list[Resource], expected: str
) -> None:
    assert services_by(build(objects)) == expected
