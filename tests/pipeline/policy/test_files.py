"""Rows of a file as those of the history: routes and meshes are named as the pipeline would name them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipeline.attribution import offline
from pipeline.inventory import snapshot
from pipeline.inventory.manifests import load
from pipeline.policy.files import history_like

MANIFESTS = Path(__file__).resolve().parents[3] / "deploy" / "lab" / "manifests"
CONTROLLER, CART, FRONTEND, API, REVIEWS = "10.244.1.3", "10.244.1.20", "10.244.1.4", "10.244.1.5", "10.244.2.21"


@pytest.fixture(scope="module")
def told() -> pl.DataFrame:
    ends = [(CONTROLLER, API), (CONTROLLER, FRONTEND), (CART, REVIEWS), (CART, API)]
    rows = pl.DataFrame({"src_ip": [src for src, _ in ends], "dst_ip": [dst for _, dst in ends]})
    flows = rows.with_columns(dst_port=pl.lit(8080), protocol=pl.lit("TCP"))
    return history_like(offline.attribute_rows(flows, snapshot.build(load(MANIFESTS)[0]))).collect()


def test_the_route_of_a_backend_leg_is_told_and_of_several_what_they_have_in_common(told: pl.DataFrame) -> None:
    assert told.select("route_kind", "route_namespace", "route", "route_host", "route_path").rows() == [
        ("Ingress", "shop", "web-ingress", "app.example.com", "/api"),
        ("Ingress", "shop", "several", "several", "several"),
        ("", "", "", "", ""),
        ("", "", "", "", ""),
    ]


def test_addresses_are_told_as_the_history_tells_them_however_they_are_written() -> None:
    written = ["FD00:10::0001", "::ffff:10.244.1.3", "fe80::1%eth0", "10.244.1.4"]
    rows = pl.DataFrame({"src_ip": written, "dst_ip": written[::-1]})
    flows = rows.with_columns(dst_port=pl.lit(80), protocol=pl.lit(6))
    found = history_like(offline.attribute_rows(flows, snapshot.build([]))).collect()
    told = ["fd00:10::1", "10.244.1.3", "fe80::1", "10.244.1.4"]
    assert (found["src_ip"].to_list(), found["backend_ip"].to_list()) == (told, told[::-1])


def test_the_mesh_and_the_subset_are_told(told: pl.DataFrame) -> None:
    assert told.select("mesh", "subset").rows() == [("", ""), ("", ""), ("sidecar", "v1"), ("", "")]
