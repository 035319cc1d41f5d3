"""Families are the pipeline's own, by name, labels and width."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pipeline.aggregate.external import ExternalMetrics
from pipeline.aggregate.histogram import Histogram
from pipeline.aggregate.mesh import MeshMetrics
from pipeline.aggregate.totals import Totals
from pipeline.attribution import attribute
from pipeline.catalog import BY_NAME
from pipeline.config import PipelineConfig
from pipeline.forecast.label_sets import FAILED, FAMILIES, FIRST, INTERFACES, WEIGHT, recorded
from pipeline.geo import Geo
from pipeline.inventory.snapshot import build
from pipeline.outputs.history import HISTORY, history_of
from pipeline.outputs.meters import Meters
from pipeline.stages import Stages
from pipeline.state import ClusterState
from tests.pipeline.attribution.frames import frame_of
from tests.pipeline.attribution.mesh_cluster import CLIENT, CLUSTER, PLAIN, V1, V2, WEB_IP, destination_rule, flow

UNTOLD = {"tls", "organisation"}
"""Labels of which others tell already."""


def state(_: Meters) -> ClusterState:
    raise AssertionError("nothing is applied")


def test_each_family_has_the_labels_and_the_width_of_the_pipelines() -> None:
    config = PipelineConfig(bus="file:///unused", state=Path("unused"))
    kept = dict(Stages(config, state, Meters()).kept())
    kept |= {f"flows/ExternalMetrics/{name}": part for name, part in ExternalMetrics(Geo(())).kept().items()}
    for family in FAMILIES:
        if family.name == INTERFACES:
            continue
        part = kept[family.name]
        totals = part.totals if isinstance(part, Histogram) else part
        assert isinstance(totals, Totals)
        assert set(totals.named.columns) - UNTOLD == set(family.labels), family.name
        assert family.width == totals.width + isinstance(part, Histogram), family.name


def test_a_metric_has_the_labels_of_its_family_and_what_tells_its_values_apart() -> None:
    own = {"flow_direction", "reason", "direction", "interface", *UNTOLD}
    for family in FAMILIES:
        for metric in family.metrics:
            assert set(BY_NAME[metric].labels) - own == set(family.labels), metric


def test_both_ends_of_flows_make_one_label_set() -> None:
    row = {"role": "canonical", "source_kind": "Pod", "destination_kind": "Pod", "bytes": 3, "outcome": "open"}
    ends = {f"{end}_{name}": name for end in ("source", "destination") for name in ("namespace", "name", "node")}
    columns = {name: pl.Series([(row | ends).get(name)], dtype=dtype) for name, dtype in HISTORY.items()}
    history = pl.DataFrame(columns).with_columns(time=pl.lit(7).cast(HISTORY["time"]))
    found = recorded(history.lazy())
    assert found[INTERFACES].rows() == [("namespace", "name", "node", 7, 7, 6, 0)]
    (conversation,) = found["flows/conversations"].select(FIRST, WEIGHT, FAILED).rows()
    assert conversation == (7, 3, 0)


def test_subsets_are_those_that_clients_of_the_mesh_were_answered_by() -> None:
    """As the pipeline counts them: who is beyond the mesh is shared out among no subsets."""
    snapshot = build([*CLUSTER, destination_rule()])
    flows = frame_of([flow(CLIENT, V1), flow(PLAIN, WEB_IP, 80, V1, 8080), flow(PLAIN, WEB_IP, 80, V2, 8080)])
    seen = flows.with_columns(pl.lit(0, pl.UInt8).alias("outcome"), pl.lit(1, pl.UInt8).alias("opened"))
    sizes = (pl.lit(9, pl.UInt64).alias(name) for name in ("bytes", "reply_bytes"))
    attributed = attribute(seen.with_columns(*sizes, time=pl.col("start")), snapshot)
    metrics = MeshMetrics()
    metrics.use(snapshot)
    metrics.add(attributed)
    (counted,) = (s for s in metrics.samples() if s.metric.name == "flowatlas_mesh_subset_connections_total")
    history = history_of(attributed, snapshot)
    assert history["subset"].sort().to_list() == ["v1", "v1", "v2"]
    found = recorded(history.lazy())["flows/MeshMetrics/subsets"]
    assert found.select(counted.labels.columns).rows() == counted.labels.rows() == [("shop", "web", "v1")]


def test_an_endpoint_is_a_pod_or_none() -> None:
    """As where a Service has no endpoint, or one beyond the cluster: what answered is not what the label tells."""
    row = {"role": "canonical", "service": "web", "opened": 1, "outcome": "open", "destination_name": "web-1"}
    columns = {
        name: pl.Series([row.get(name)] * 3, dtype=dtype)
        for name, dtype in HISTORY.items()
        if name != "destination_kind"
    }
    kinds = pl.Series(["Pod", "Service", "External"], dtype=HISTORY["destination_kind"])
    history = pl.DataFrame(columns).with_columns(destination_kind=kinds, time=pl.lit(7).cast(HISTORY["time"]))
    found = recorded(history.lazy())["flows/endpoints"]
    assert sorted(found.select("service", "endpoint", WEIGHT).rows()) == [("web", "", 2), ("web", "web-1", 1)]
