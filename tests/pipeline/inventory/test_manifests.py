"""Objects from files, and refusals that say where to look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.inventory import manifests
from pipeline.inventory.backends import host_ports
from pipeline.inventory.models import Other, Pod, Service, version_of

LAB = Path(__file__).resolve().parents[3] / "deploy" / "lab" / "manifests"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nstatus: {podIP: %s}\n"


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_every_document_of_a_file_is_read(tmp_path: Path) -> None:
    text = f"# a comment\n---\n{POD % ('a', '10.0.0.1')}---\n\n---\n{POD % ('b', '10.0.0.2')}...\n"
    objects, refusals = manifests.load(write(tmp_path, "pods.yaml", text))
    assert ([item.metadata.name for item in objects], refusals) == (["a", "b"], [])


def test_a_folder_is_read_to_its_depth_without_hidden_and_foreign_files(tmp_path: Path) -> None:
    write(tmp_path, "b.yml", POD % ("b", "10.0.0.2"))
    write(tmp_path, "a/deep/a.yaml", POD % ("a", "10.0.0.1"))
    write(tmp_path, "c.json", json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}}))
    write(tmp_path, "README.md", "no object")
    write(tmp_path, "..data/a.yaml", POD % ("hidden", "10.0.0.3"))
    objects, refusals = manifests.load(tmp_path)
    assert ([item.metadata.name for item in objects], refusals) == (["a", "b", "c"], [])


@pytest.mark.parametrize("as_json", [True, False])
def test_lists_give_their_items_however_they_are_written(tmp_path: Path, as_json: bool) -> None:
    """`kubectl get -o yaml` writes kind List; the API writes PodList, whose items say neither kind nor version."""
    dump = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}},
            {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "web-1"}}]},
        ],
    }
    objects, refusals = manifests.load(write(tmp_path, "dump.json" if as_json else "dump.yaml", json.dumps(dump)))
    assert refusals == []
    assert [(type(item), item.metadata.name) for item in objects] == [(Service, "web"), (Pod, "web-1")]


def test_a_kind_without_a_model_is_kept_by_name(tmp_path: Path) -> None:
    text = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, labels: 5}\nspec: [1, = , 2024-01-01]\n"
    objects, refusals = manifests.load(write(tmp_path, "w.yaml", text))
    assert ([type(item) for item in objects], refusals) == ([Other], [])


def test_a_service_of_another_api_group_is_no_service_of_ours(tmp_path: Path) -> None:
    text = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: hello}\nspec: {ports: none}\n"
    objects, refusals = manifests.load(write(tmp_path, "k.yaml", text))
    assert ([type(item) for item in objects], refusals) == ([Other], [])


def test_timestamps_stay_text(tmp_path: Path) -> None:
    text = POD.replace("name: %s", "name: a, deletionTimestamp: 2026-01-05T08:00:00Z") % "10.0.0.1"
    objects, refusals = manifests.load(write(tmp_path, "p.yaml", text))
    assert refusals == []
    assert isinstance(objects[0], Pod)
    assert objects[0].metadata.deletion_timestamp == "2026-01-05T08:00:00Z"


@pytest.mark.parametrize(("written", "key"), [("8080", "8080"), ("true", "true"), ("on", "true"), ("1.5", "1.5")])
def test_a_key_without_quotes_is_text(tmp_path: Path, written: str, key: str) -> None:
    """So kubectl reads it. Istio's documents write the ports of a PeerAuthentication without quotes."""
    text = f"apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{selector: {{{written}: b}}}}\n"
    (service,), refusals = manifests.load(write(tmp_path, "a.yaml", text))
    assert refusals == []
    assert isinstance(service, Service)
    assert service.spec.selector == {key: "b"}


def test_a_host_port_of_zero_is_none(tmp_path: Path) -> None:
    text = f"{POD % ('a', '10.0.0.1')}spec: {{containers: [{{ports: [{{containerPort: 80, hostPort: 0}}]}}]}}\n"
    (pod,), refusals = manifests.load(write(tmp_path, "a.yaml", text))
    assert refusals == []
    assert isinstance(pod, Pod)
    assert host_ports(pod) == []


@pytest.mark.parametrize(("written", "version"), [('"81"', "81"), ("81", "81"), ("null", "")])
def test_a_version_may_have_lost_its_quotes(tmp_path: Path, written: str, version: str) -> None:
    metadata = f"metadata: {{name: a, resourceVersion: {written}}}"
    (tmp_path / "a.yaml").write_text(f"apiVersion: v1\nkind: Pod\n{metadata}\n")
    (pod,), refusals = manifests.load(tmp_path)
    assert (version_of(pod), refusals) == (version, [])


def test_a_wrong_field_is_named_with_file_document_line_and_object(tmp_path: Path) -> None:
    text = f"{POD % ('a', '10.0.0.1')}---\n{POD % ('b, namespace: shop', '10.0.0.x')}---\n{POD % ('c', '10.0.0.3')}"
    file = write(tmp_path, "pods.yaml", text)
    objects, (refusal,) = manifests.load(file)
    assert [item.metadata.name for item in objects] == ["a", "c"]
    assert (refusal.file, refusal.document, refusal.line) == (str(file), 2, 5)
    assert (refusal.kind, refusal.name, refusal.field) == ("Pod", "shop/b", "status.podIP")
    assert str(refusal).startswith(f"{file}: document 2 (line 5): Pod shop/b: status.podIP: '10.0.0.x'")


def test_a_wrong_field_in_a_list_is_named_with_its_item(tmp_path: Path) -> None:
    ports = {"ports": [{"port": 80}, {"port": "http"}]}
    items = [
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}},
        {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"}, "spec": ports},
    ]
    dump = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    objects, (refusal,) = manifests.load(write(tmp_path, "dump.json", dump))
    assert [item.metadata.name for item in objects] == ["p"]
    assert refusal.field == "items[1].spec.ports[1].port"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("apiVersion: v1\nmetadata: {name: x}", "kind"),
        ("kind: Pod\nmetadata: {name: x}", "apiVersion"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {namespace: x}", "metadata.name"),
        ("apiVersion: v1\nkind: Pod", "metadata"),
        ("apiVersion: v1\nkind: Node\nmetadata: {name: n}\nspec: {podCIDRs: [10.0.0.0/33]}", "spec.podCIDRs[0]"),
        (
            "apiVersion: v1\nkind: Node\nmetadata: {name: n}\nstatus: {addresses: [{type: InternalIP, address: n}]}",
            "status.addresses[0]",
        ),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 70000}]}", "spec.ports[0].port"),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 1, protocol: tcp}]}",
            "spec.ports[0].protocol",
        ),
        ("- 1", ""),
    ],
)
def test_the_field_at_fault_is_named(tmp_path: Path, body: str, field: str) -> None:
    objects, (refusal,) = manifests.load(write(tmp_path, "x.yaml", body))
    assert (objects, refusal.field) == ([], field)


def test_broken_yaml_is_refused_at_its_line_and_the_rest_is_read(tmp_path: Path) -> None:
    text = f"{POD % ('a', '10.0.0.1')}---\nkind: Pod\nmetadata: {{name: [}}\n---\n{POD % ('c', '10.0.0.3')}"
    objects, (refusal,) = manifests.load(write(tmp_path, "x.yaml", text))
    assert [item.metadata.name for item in objects] == ["a", "c"]
    assert (refusal.document, refusal.line) == (2, 7)


@pytest.mark.parametrize(("name", "content"), [("x.json", b"{"), ("x.yaml", b"\xff\xfe\xff"), ("x.json", b"\xff")])
def test_a_file_that_cannot_be_read_is_refused_and_the_rest_is_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    write(tmp_path, "good.yaml", POD % ("a", "10.0.0.1"))
    objects, (refusal,) = manifests.load(tmp_path)
    assert [item.metadata.name for item in objects] == ["a"]
    assert Path(refusal.file).name == name


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_place_without_manifests_is_a_wrong_setting(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        manifests.load(tmp_path / name)


def test_the_labs_manifests_are_understood() -> None:
    objects, refusals = manifests.load(LAB)
    assert refusals == []
    assert {"Node", "Pod", "Service", "NetworkPolicy", "VirtualService"} <= {item.kind for item in objects}


def test_the_corpus_is_understood(corpus: Path) -> None:
    objects, refusals = manifests.load(corpus / "manifests")
    assert refusals == []
    assert len(objects) > 150


def test_json_lines_are_one_object_a_line_and_a_broken_one_is_named(tmp_path: Path) -> None:
    good = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a\u2028b"}}, ensure_ascii=False)
    objects, (refusal,) = manifests.load(write(tmp_path, "state.jsonl", f"{good}\n\n{{\n{good}\n"))
    assert [item.metadata.name for item in objects] == ["a\u2028b"] * 2
    assert (refusal.document, refusal.line) == (3, 3)
