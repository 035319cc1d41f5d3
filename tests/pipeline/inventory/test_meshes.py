"""Rows of subsets, shares and authentications from the objects of a mesh."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.inventory.istio_models import service_of
from pipeline.inventory.meshes import AUTHENTICATIONS_FRAME, SHARES_FRAME, SUBSETS_FRAME
from pipeline.inventory.models import Resource
from tests.pipeline.attribution.mesh_cluster import authentication, destination_rule, virtual_service


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("web", ("shop", "web")),
        ("web.other", ("other", "web")),
        ("web.other.svc", ("other", "web")),
        ("web.other.svc.cluster.local", ("other", "web")),
        ("www.example.com", None),
    ],
)
def test_an_istio_host_is_a_services_name(host: str, expected: tuple[str, str] | None) -> None:
    assert service_of(host, "shop") == expected


def subsets(*objects: Resource) -> list[tuple[Any, ...]]:
    return SUBSETS_FRAME.frame(objects).drop("subset_id", "since", "until").rows()


def test_a_subset_is_a_row_and_a_bound_on_all_of_a_service_is_one_too() -> None:
    assert subsets(destination_rule()) == [
        ("shop", "web", "v1", "version=v1", 0),
        ("shop", "web", "v2", "version=v2", 0),
    ]
    assert subsets(destination_rule(bound=5)) == [
        ("shop", "web", "", "", 5),
        ("shop", "web", "v1", "version=v1", 5),
        ("shop", "web", "v2", "version=v2", 5),
    ]
    assert subsets(destination_rule("*.example.com")) == []


def shares(*objects: Resource) -> list[tuple[Any, ...]]:
    return SHARES_FRAME.frame(objects).select("service", "subset", "weight", "total_weight").rows()


def test_one_rule_shares_out_its_weights() -> None:
    assert shares(virtual_service(("v1", 90), ("v2", 10))) == [("web", "v1", 90, 100), ("web", "v2", 10, 100)]


def test_a_single_target_takes_everything() -> None:
    alone = virtual_service(http=[{"route": [{"destination": {"host": "web", "subset": "v1"}}]}])
    assert shares(alone) == [("web", "v1", 100, 100)]


def test_where_flows_do_not_tell_which_rule_matched_there_is_no_share() -> None:
    target = {"destination": {"host": "web", "subset": "v1"}}
    two_rules = virtual_service(http=[{"match": [{"uri": {"prefix": "/a"}}], "route": [target]}, {"route": [target]}])
    assert shares(two_rules) == []
    assert shares(virtual_service(("v1", 1)), virtual_service(("v2", 1), name="again")) == []
    by_header = [{"match": [{"headers": {"user": {"exact": "jason"}}}], "route": [target]}]
    assert shares(virtual_service(http=by_header)) == []


def test_a_rule_at_a_gateway_or_to_another_service_shares_out_nothing() -> None:
    assert shares(virtual_service(("v1", 1), gateways=["edge"])) == []
    assert shares(virtual_service(("v1", 1), gateways=["edge", "mesh"])) == [("web", "v1", 1, 1)]
    assert shares(virtual_service(http=[{"route": [{"destination": {"host": "other", "subset": "v1"}}]}])) == []


def test_a_word_without_a_selector_in_the_root_namespace_is_the_meshs() -> None:
    told = [
        authentication("default", "STRICT", "istio-system"),
        authentication("web", "UNSET", labels={"app": "web"}, p8080="DISABLE"),
        authentication("ignored", "PERMISSIVE", p80="STRICT"),  # ports are for selectors alone
    ]
    rows = AUTHENTICATIONS_FRAME.frame(told).drop("since", "until").rows()
    assert rows == [("", "", 0, "STRICT"), ("shop", "", 0, "PERMISSIVE"), ("shop", "app=web", 8080, "DISABLE")]
