"""What an Ingress or a Route leads to, through its Service's selector and target port, against cases others wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.inventory import manifests, snapshot
from pipeline.inventory.models import MODELS, Resource, convert

Case = dict[str, Any]
Backend = tuple[str, str, int]
"""Namespace, name and port."""


def resources(case: Case) -> list[Resource]:
    """The case's objects with pods that run: one of each Deployment, for some cases hold templates alone, and its own
    pods with addresses, for they have none.
    """
    return [convert(item["apiVersion"], item["kind"], item) for item in (*case["objects"], *_templates(case))]


def _templates(case: Case) -> Iterator[Case]:
    for number, item in enumerate(case["objects"]):
        metadata = item["metadata"]
        running = {"phase": "Running", "podIP": f"10.9.0.{number}"}
        if item["kind"] == "Pod" and "podIP" not in item.get("status", {}):
            yield {**item, "status": running}
        if item["kind"] == "Deployment":
            template = item["spec"]["template"]
            made = {
                "name": f"{metadata['name']}-0",
                "namespace": metadata.get("namespace", "default"),
                "labels": template["metadata"]["labels"],
                "ownerReferences": [{"kind": "Deployment", "name": metadata["name"], "controller": True}],
            }
            spec = {"containers": template["spec"]["containers"]}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": spec, "status": running}


def owners(case: Case) -> dict[tuple[str, str], str]:
    """By namespace and pod: the name of its direct owner, which is what the cases call a workload."""
    pods = [item["metadata"] for item in (*case["objects"], *_templates(case)) if item["kind"] == "Pod"]
    return {
        (metadata.get("namespace", "default"), metadata["name"]): next(
            (owner["name"] for owner in metadata.get("ownerReferences", ())), metadata["name"]
        )
        for metadata in pods
    }


def backends(cluster: snapshot.Snapshot) -> set[Backend]:
    """The pods and ports behind all routes of a snapshot."""
    leading = (
        cluster.tracked["routes"]
        .select("service_namespace", "service", "port")
        .join(
            cluster.services.select("service_id", "service_namespace", "service", "port"),
            on=["service_namespace", "service", "port"],
        )
    )
    return set(
        cluster.backends.join(leading.select("service_id"), on="service_id", how="semi")
        .join(cluster.addresses, on=["addr_hi", "addr_lo"])
        .join(cluster.endpoints, left_on="endpoint_id", right_on="id")
        .select("namespace", "name", "port")
        .iter_rows()
    )


def test_routes_lead_where_the_cases_say(corpus: Path) -> None:
    cases: list[Case] = json.loads((corpus / "ingress_service_cases.json").read_text())
    assert cases
    for case in cases:
        expected = {
            (backend["workload"]["namespace"], backend["workload"]["name"], port)
            for backend in case["expected_backends"]
            for span in backend["ports"]
            for port in range(span["from"], span["to"] + 1)
        }
        owner = owners(case)
        found = backends(snapshot.build(resources(case)))
        assert {(where, owner[where, name], port) for where, name, port in found} == expected, case["name"]


def test_every_manifest_of_the_corpus_is_understood(corpus: Path) -> None:
    objects, refusals = manifests.load(corpus / "manifests")
    assert refusals == []
    known = {kind for _, kind in MODELS}
    assert {type(item).__name__ for item in objects if item.kind in known} >= {"HTTPRoute", "Ingress", "VirtualService"}
    routes = snapshot.build(objects).tracked["routes"]
    services = {
        (item.metadata.namespace or "default", item.metadata.name) for item in objects if item.kind == "Service"
    }
    leading = set(routes.filter(pl.col("namespace") == "default").select("service_namespace", "service").iter_rows())
    assert ("default", "productpage") in leading
    assert leading <= services
    assert routes["port"].min() != 0
