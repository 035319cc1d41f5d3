"""Who has which key by which nodes sign what they ship."""

from __future__ import annotations

import json

import pytest

from tests.deploy.charts import given

pytestmark = pytest.mark.manifests


def test_the_root_key_is_the_pipelines_alone_and_a_nodes_key_is_of_the_node() -> None:
    found = given("nodeKeys.hostFolder=/etc/flowatlas", "nodeKeys.rootSecret=root")
    mounted = {}
    for o in found:
        if o["kind"] not in ("DaemonSet", "Deployment", "StatefulSet"):
            continue
        pod = o["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {v["name"]: v for v in pod.get("volumes", ())}
        names = {"FLOWATLAS_COLLECTOR_NODE_KEY", "FLOWATLAS_PIPELINE_ROOT_KEY"}
        for path in (v["value"] for v in container["env"] if v["name"] in names):
            (mount,) = [m for m in container["volumeMounts"] if path.startswith(m["mountPath"] + "/")]
            assert mount["readOnly"]
            mounted[container["name"], path] = volumes[mount["name"]]
    node, root = (
        mounted["collector", "/etc/flowatlas/node-key/node.key"],
        mounted.pop(("pipeline", "/etc/flowatlas/root-key/root.key")),
    )
    assert len(mounted) == 1
    assert node["hostPath"] == {"path": "/etc/flowatlas", "type": "Directory"}
    assert root["secret"]["secretName"] == "root"
    assert json.dumps(found).count('"root"') == 1, "no other pod has it"
