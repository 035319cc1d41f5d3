"""Bodies are small, and say exactly what the objects said that they were made of."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from pipeline.inventory import models
from pipeline.inventory.models import MODELS, convert
from pipeline.inventory.parts import Cidr, Ip, Slim
from pipeline.inventory.watch.bodies import Known, slim
from pipeline.inventory.watch.kinds import KINDS, Kind, Served

ROOT = Path(__file__).resolve().parents[4]
BY_NAME = {(kind.group, kind.name): kind for kind in KINDS}


def served(kind: str) -> Served:
    (found,) = (one for one in KINDS if one.label == kind)
    return Served(found, found.versions[0])


def manifests() -> Iterator[tuple[Served, dict[str, Any]]]:
    """The lab's objects of every kind that is watched."""
    for file in sorted((ROOT / "deploy" / "lab" / "manifests").glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            for item in (document or {}).get("items", [document]):
                group, _, version = item["apiVersion"].rpartition("/")
                if kind := BY_NAME.get((group, item["kind"])):
                    yield Served(kind, version), msgspec.json.decode(msgspec.json.encode(item))


def equal(one: object, other: object) -> bool:
    """Equality of models; addresses and ranges are equal where what they stand for is."""
    if isinstance(one, Ip) and isinstance(other, Ip):
        return one.address == other.address
    if isinstance(one, Cidr) and isinstance(other, Cidr):
        return one.network == other.network
    if isinstance(one, msgspec.Struct) and type(one) is type(other):
        return all(equal(getattr(one, f), getattr(other, f)) for f in one.__struct_fields__)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def round_trip(one: Served, raw: dict[str, Any]) -> Known:
    known = slim(one, raw)
    args = one.api_version, one.kind.name
    assert equal(convert(*args, msgspec.json.decode(known.written)), convert(*args, {**raw, "kind": one.kind.name}))
    assert slim(one, msgspec.json.decode(known.written)) == known
    return known


def test_the_models_of_the_labs_objects_come_back() -> None:
    seen = {one.kind.name for one, raw in manifests() if round_trip(one, raw)}
    assert {"Pod", "Node", "Service", "EndpointSlice", "NetworkPolicy", "ReplicaSet"} <= seen


@pytest.mark.parametrize(
    ("kind", "spec", "status"),
    [
        ("Pod", {"nodeName": "n1", "hostNetwork": True, "containers": [{"ports": [{"containerPort": 8, "name": "a"}]}]},
         {"podIP": "fd00::1", "podIPs": [{"ip": "fd00::1"}, {"ip": "10.0.0.1"}], "phase": "Running"}),
        ("Pod", {}, {"podIP": ""}),
        ("Service", {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80, "targetPort": "http"}]}, {}),
        ("Service", {"ports": [{"port": 80, "targetPort": 8080}], "selector": {"app": "a"}},
         {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "a.example"}]}}),
        ("Node", {"podCIDR": "10.0.0.5/24"}, {"addresses": [{"type": "Hostname", "address": "n1"}]}),
        ("NetworkPolicy", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
             "ports": [{"port": 1, "endPort": 9}]},
            {"to": [{"namespaceSelector": {}}]}]}, {}),
        ("AdminNetworkPolicy", {"priority": 1, "subject": {"namespaces": {}}, "ingress": [
            {"action": "Pass", "from": [{"pods": {"podSelector": {"matchExpressions": [
                {"key": "a", "operator": "Exists"}]}}}]}]}, {}),
        ("ClusterNetworkPolicy", {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "egress": [
            {"action": "Accept", "to": [{"networks": ["::/0"]}],
             "protocols": [{"tcp": {}}, {"udp": {"destinationPort": {"number": 53}}}]}]}, {}),
    ],
)  # fmt: skip
def test_what_is_odd_comes_back_too(kind: str, spec: dict[str, Any], status: dict[str, Any]) -> None:
    """Empty selectors, no address, host bits, fields whose names are Python's words."""
    name = "default" if kind.startswith("Baseline") else "one"
    round_trip(served(kind), {"metadata": {"name": name, "uid": "u"}, "spec": spec, "status": status})


def test_a_body_holds_what_is_read_and_no_more() -> None:
    raw: dict[str, Any] = {
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "uid": "u1",
            "resourceVersion": "7",
            "managedFields": [{"manager": "kubelet"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "flannel": "10.0.0.1"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": True, "uid": "u2"}],
        },
        "spec": {"nodeName": "n1", "containers": [{"image": "nginx", "env": [{"name": "SECRET", "value": "s"}]}]},
        "status": {"podIP": "10.0.0.1", "qosClass": "Burstable"},
    }
    known = slim(served("Pod"), raw)
    assert (known.namespace, known.name, known.uid) == ("shop", "web-1", "u1")
    assert msgspec.json.decode(known.body) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "uid": "u1",
            "annotations": {"flannel": "10.0.0.1"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": True}],
        },
        "spec": {"nodeName": "n1", "containers": [{}]},
        "status": {"podIP": "10.0.0.1"},
    }


def test_a_version_travels_with_the_body_and_makes_no_change() -> None:
    raw: dict[str, Any] = {
        "metadata": {"name": "web-1", "labels": {"a": 'b"c'}, "resourceVersion": "7"},
        "status": {"podIP": "10.0.0.1"},
    }
    known = slim(served("Pod"), raw)
    again = slim(served("Pod"), {**raw, "metadata": {**raw["metadata"], "resourceVersion": "8"}})
    assert msgspec.json.decode(known.written)["metadata"] == raw["metadata"]
    assert msgspec.json.decode(again.written)["metadata"]["resourceVersion"] == "8"
    assert known == again
    other = slim(served("Pod"), {**raw, "status": {"podIP": "10.0.0.2"}})
    assert known != other


def test_a_kind_without_a_model_is_its_metadata() -> None:
    one = Served(Kind("example.org", ("v1",), "things", "Thing"), "v1")
    known = slim(one, {"metadata": {"name": "a", "labels": {"b": "c"}}, "spec": {"any": "thing"}})
    metadata = {"name": "a", "labels": {"b": "c"}}
    assert msgspec.json.decode(known.body) == {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": metadata}


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"metadata": {}},
        {"metadata": {"name": ""}},
        {"metadata": {"name": 7}},
        {"metadata": {"name": "a"}, "status": {"podIP": "x"}},
    ],
)
def test_an_object_without_a_name_or_of_another_shape_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        slim(served("Pod"), raw)


def parts_of(model: Any, found: set[type[Slim]]) -> set[type[Slim]]:
    if isinstance(model, type) and issubclass(model, Slim) and model not in found:
        found.add(model)
        for hint in typing.get_type_hints(model).values():
            parts_of(hint, found)
    for argument in typing.get_args(model):
        parts_of(argument, found)
    return found


def test_no_field_means_something_else_where_it_is_absent() -> None:
    """Bodies leave out what is None. So a field that may be None is None where it is absent."""
    parts: set[type[Slim]] = set()
    for model in MODELS.values():
        parts_of(model, parts)
    assert models.ServicePort in parts
    for part in parts:
        hints = typing.get_type_hints(part)
        for field in msgspec.structs.fields(part):
            if types.NoneType in typing.get_args(hints[field.name]):
                assert field.default is None, f"{part.__name__}.{field.name}"
