"""Policies that their models refuse: known by name on every way in, and never the reason to call a pod unprotected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import polars as pl
import pytest

from collector.schema import STATE, Batch
from pipeline.attribution.offline import attribute_rows
from pipeline.attribution.policies import compile_policies
from pipeline.cli import cluster_state
from pipeline.decode import decode
from pipeline.errors import ConfigError
from pipeline.inventory import manifests
from pipeline.inventory.feed import Feed
from pipeline.inventory.history import History
from pipeline.inventory.identities import identity_of, model_of
from pipeline.inventory.manifests import Refusal
from pipeline.inventory.models import Opaque, convert
from pipeline.inventory.policies import NetworkPolicy
from pipeline.inventory.policy_history import PolicyEpoch
from pipeline.inventory.snapshot import Snapshot
from pipeline.inventory.watch.api import Api
from pipeline.inventory.watch.bodies import nameplate, seen, slim
from pipeline.inventory.watch.dump import dump
from pipeline.inventory.watch.kinds import KINDS, Served
from pipeline.outputs.meters import Meters
from pipeline.state import ManifestState
from tests.pipeline.inventory.changes import at
from tests.pipeline.inventory.watch.fake_api import FakeApi
from tests.pipeline.inventory.watch.runs import watching
from tests.pipeline.shipments import message
from tests.pipeline.small_cluster import pod
from tests.pipeline.state_batches import Row, delete, put, state, synced

ADMIN: Final = "policy.networking.k8s.io/v1alpha1"
KINDS_JUDGED: Final = (
    ("networking.k8s.io/v1", "NetworkPolicy", "web", "shop"),
    (ADMIN, "AdminNetworkPolicy", "web", ""),
    (ADMIN, "BaselineAdminNetworkPolicy", "default", ""),
    ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", "web", ""),
)
A, B, C = (
    pod(name, "node-a", f"10.0.1.{number}", namespace=namespace)
    for number, (name, namespace) in enumerate((("a", "shop"), ("b", "shop"), ("c", "other")), start=5)
)
UNKNOWN: Final = {"podSelector": {"sameLabels": ["team"]}}
DENY: Final = {"podSelector": {}, "policyTypes": ["Ingress"]}


def policy(spec: Any, api_version: str = "", kind: str = "", name: str = "", namespace: str = "shop") -> dict[str, Any]:
    own = {"name": name or "web", **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": api_version or "networking.k8s.io/v1",
        "kind": kind or "NetworkPolicy",
        "metadata": own,
        "spec": spec,
    }


def verdicts(known: Snapshot, epochs: Sequence[PolicyEpoch]) -> tuple[str, str]:
    """What is said of who comes in to `b` in `shop`, and to `c` in `other`; and that what is not judged is named."""
    policies = compile_policies(epochs[-1].objects, known)
    rows = pl.DataFrame({"src_ip": ["10.0.1.5"] * 2, "dst_ip": ["10.0.1.6", "10.0.1.7"], "dst_port": 80})
    said = attribute_rows(rows.with_columns(protocol=pl.lit("TCP")), known, policies)["ingress_policy"].to_list()
    for side in said:
        assert (side["verdict"] == "not judged") == any(each["effect"] == "not judged" for each in side["policies"])
    return said[0]["verdict"], said[1]["verdict"]


@pytest.mark.parametrize(("api_version", "kind", "name", "namespace"), KINDS_JUDGED)
def test_it_has_the_identity_of_its_kind_and_concerns_whom_its_kind_may(
    tmp_path: Path, api_version: str, kind: str, name: str, namespace: str
) -> None:
    whole = policy({"priority": "first", "podSelector": 5}, api_version, kind, name, namespace)
    (tmp_path / "state.json").write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": [A, B, C, whole]}))
    objects, (refusal,) = manifests.load(tmp_path)
    (stand_in,) = (item for item in objects if isinstance(item, Opaque))
    assert (refusal.kind, identity_of(stand_in)) == (kind, (kind, namespace, name))
    assert model_of(stand_in).__name__ == kind
    source = ManifestState(tmp_path)
    now = source(Meters())
    source.stop()
    assert now.refused == {kind: 1}
    assert verdicts(now.snapshot, now.epochs) == ("not judged", "unprotected" if namespace else "not judged")


def test_a_network_policy_may_be_called_as_calico_shows_those_of_kubernetes_again(tmp_path: Path) -> None:
    items = [A, B, C, policy(UNKNOWN, name="knp.default.web")]
    (tmp_path / "state.json").write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": items}))
    source = ManifestState(tmp_path)
    now = source(Meters())
    source.stop()
    assert verdicts(now.snapshot, now.epochs) == ("not judged", "unprotected")


@pytest.mark.parametrize(
    "body",
    [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": {"podIP": "10.0.1"}},
        policy(UNKNOWN) | {"metadata": {"namespace": "shop"}},
        policy(UNKNOWN) | {"metadata": {"name": 5}},
    ],
)
def test_what_is_no_policy_or_has_no_name_is_left_out(tmp_path: Path, body: dict[str, Any]) -> None:
    (tmp_path / "state.json").write_text(json.dumps(body))
    (only,) = manifests.read(tmp_path / "state.json")
    assert isinstance(only, Refusal)


def test_a_state_of_refused_policies_alone_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps(policy(UNKNOWN)))
    with pytest.raises(ConfigError, match="nothing can be read"):
        cluster_state.objects_in(tmp_path)


def test_files_whose_policy_changes_in_and_out_of_what_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    source = ManifestState(tmp_path)
    said: list[tuple[str, dict[str, int]]] = []
    for second, spec in enumerate((DENY, UNKNOWN, DENY, UNKNOWN, None)):
        items = [A, B, C, *([policy(spec)] if spec else [])]
        file.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": items}))
        for look in (0, 1):
            source.look(at(10 * second + look))
        now = source(Meters())
        said.append((verdicts(now.snapshot, now.epochs)[0], dict(now.refused)))
    source.stop()
    refused = ("not judged", {"NetworkPolicy": 1})
    assert said == [("denied", {}), refused, ("denied", {}), refused, ("unprotected", {})]


class Fed:
    """A pipeline that reads the bus from its beginning."""

    def __init__(self, batches: Sequence[Batch] = ()) -> None:
        self.history = History()
        self.feed = Feed(self.history)
        for one in batches:
            self.take(one)

    def take(self, one: Batch) -> None:
        batch = decode(message(one), {STATE.name: STATE})
        self.feed.take(batch.name.node, batch.name.epoch, batch.name.seq, batch.frame)

    def give(self, epoch: int, seq: int, *rows: Row) -> None:
        self.take(state(epoch, seq, rows))

    @property
    def said(self) -> tuple[str, int]:
        """Of who comes in to `b`, and how many NetworkPolicies are refused."""
        told = verdicts(self.history.snapshot(), self.history.policy_epochs())
        return told[0], self.feed.refused.get("NetworkPolicy", 0)


@pytest.mark.parametrize("body", [None, "no JSON", json.dumps(policy(DENY, name="another"))])
def test_the_bus_tells_of_one_that_changes_in_and_out_of_what_is_understood(body: str | None) -> None:
    fed = Fed()
    strange = put(at(2), policy(UNKNOWN)) | ({"body": body} if body else {})
    fed.give(1, 0, *(put(at(0), one) for one in (A, B, C, policy(DENY))), synced(at(1)))
    assert fed.said == ("denied", 0)
    fed.give(1, 1, strange)
    assert fed.said == ("not judged", 1)
    fed.give(1, 2, put(at(4), policy(DENY)))
    assert fed.said == ("denied", 0)
    fed.give(1, 3, strange | {"time": at(6)})
    fed.give(2, 0, *(put(at(8), one) for one in (A, B, C)), strange, synced(at(8)))
    assert fed.said == ("not judged", 1)
    fed.give(2, 1, delete(at(9), policy(DENY)))
    assert fed.said == ("unprotected", 0)
    fed.give(2, 2, strange | {"time": at(10)})
    fed.give(3, 0, *(put(at(12), one) for one in (A, B, C)), synced(at(12)))
    assert fed.said == ("unprotected", 0), "an epoch that does not say it deletes it"


@pytest.mark.parametrize(("api_version", "kind", "name", "namespace"), KINDS_JUDGED)
def test_what_the_watcher_says_of_it_no_model_takes_for_a_policy(
    api_version: str, kind: str, name: str, namespace: str
) -> None:
    group, _, version = api_version.rpartition("/")
    (served,) = (Served(one, version) for one in KINDS if (one.group, one.name) == (group, kind))
    raw = policy({"priority": "first", "podSelector": 5}, api_version, kind, name, namespace)
    raw["metadata"] |= {"uid": "u", "resourceVersion": "7", "labels": {"a": "b"}}
    with pytest.raises(msgspec.ValidationError):
        slim(served, raw)
    plate = nameplate(served, seen(raw))
    assert plate is not None
    assert (plate.namespace, plate.name, plate.uid, plate.version) == (namespace, name, "u", "7")
    body = msgspec.json.decode(plate.written)
    own = {"resourceVersion": "7", "name": name} | ({"namespace": namespace} if namespace else {})
    assert (body["apiVersion"], body["kind"], body["metadata"]) == (api_version, kind, own)
    with pytest.raises(msgspec.ValidationError):
        convert(api_version, kind, body)


def test_the_watcher_tells_of_it_and_a_pipeline_that_starts_anew_knows() -> None:
    with FakeApi() as fake:
        for one in (A, B, C):
            own = one["metadata"]
            fake.put("Pod", own["name"], own["namespace"], spec=one["spec"], status=one["status"])
        fake.put("NetworkPolicy", "web", "shop", spec=UNKNOWN)
        with watching(fake) as run:
            run.settled()
            assert run.counts.of("malformed_objects_total", "NetworkPolicy") == 1
            assert Fed(run.kept.batches).said == ("not judged", 1)
            for spec, said in ((DENY, ("denied", 0)), (UNKNOWN, ("not judged", 1)), (None, ("unprotected", 0))):
                if spec is None:
                    fake.delete("NetworkPolicy", "web", "shop")
                else:
                    fake.put("NetworkPolicy", "web", "shop", spec=spec)
                run.settled()
                assert Fed(run.kept.batches).said == said
            fake.put("NetworkPolicy", "web", "shop", spec=UNKNOWN)
        with watching(fake, kept=run.kept) as again:
            again.settled()
            assert Fed(again.kept.batches).said == ("not judged", 1)


async def _dumped(url: str) -> bytes:
    async def client() -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=url, timeout=httpx2.Timeout(60.0), trust_env=False)

    return await dump(Api(client, (60.0, 90.0)))


def test_a_dump_tells_of_it(tmp_path: Path) -> None:
    with FakeApi() as fake:
        fake.put("NetworkPolicy", "web", "shop", spec=UNKNOWN)
        fake.put("NetworkPolicy", "good", "shop", spec=DENY)
        fake.put("Pod", "bad", status={"podIP": "no address"})
        (tmp_path / "state.jsonl").write_bytes(asyncio.run(_dumped(fake.url)))
    objects, refusals = manifests.load(tmp_path)
    assert [(type(item), item.metadata.name) for item in objects] == [(Opaque, "web"), (NetworkPolicy, "good")]
    assert [(one.kind, one.name, one.field) for one in refusals] == [("NetworkPolicy", "shop/web", "spec")]
