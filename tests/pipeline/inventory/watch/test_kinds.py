"""Which kinds are watched, and in which version."""

from __future__ import annotations

from pipeline.attribution.policies.strangers import NOT_JUDGED
from pipeline.inventory.models import MODELS
from pipeline.inventory.watch.kinds import KINDS, choose, wanted_versions


def test_every_kind_that_has_a_model_is_watched() -> None:
    assert set(MODELS) <= {(kind.group, kind.name) for kind in KINDS}


def test_every_kind_of_policy_that_is_not_judged_is_watched() -> None:
    """What is not watched would be told nowhere, and its pods would be called unprotected."""
    assert {kind.name for kind in KINDS if (kind.group, kind.name) not in MODELS} == NOT_JUDGED


def test_objects_that_two_groups_have_are_watched_in_one() -> None:
    """Calico's API server gives its policies a second time, under another group."""
    crds, served_again = (
        {group: {"networkpolicies"}} for group in ("crd.projectcalico.org/v1", "projectcalico.org/v3")
    )
    assert [one.path for one in choose({**served_again, **crds})] == ["/apis/crd.projectcalico.org/v1/networkpolicies"]
    assert [one.path for one in choose(served_again)] == ["/apis/projectcalico.org/v3/networkpolicies"]


def test_no_two_kinds_are_counted_as_one() -> None:
    assert len({kind.label for kind in KINDS}) == len(KINDS)


def test_the_best_version_that_is_served_is_chosen() -> None:
    group = "gateway.networking.k8s.io"
    both = {f"{group}/v1": {"gateways"}, f"{group}/v1beta1": {"gateways", "httproutes"}}
    chosen = {one.kind.name: one for one in choose(both)}
    assert chosen["Gateway"].path == f"/apis/{group}/v1/gateways"
    assert chosen["HTTPRoute"].api_version == f"{group}/v1beta1"
    assert set(chosen) == {"Gateway", "HTTPRoute"}
    assert [one.path for one in choose({"v1": {"pods", "pods/status"}})] == ["/api/v1/pods"]


def test_only_versions_that_hold_a_watched_kind_are_asked_for() -> None:
    groups = {"": ["v1"], "apps": ["v1", "v2"], "gateway.networking.k8s.io": ["v1beta1"], "example.org": ["v1"]}
    assert wanted_versions(groups) == ["apps/v1", "gateway.networking.k8s.io/v1beta1", "v1"]
