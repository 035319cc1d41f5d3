"""Rows of the history say the same with text as codes, and files say that it is text."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from collector.schema import APP_PROTOCOLS, OUTCOMES
from pipeline.attribution import attribute, with_labels
from pipeline.attribution.policies.answers import AnswerBook
from pipeline.attribution.policies.live import LivePolicies
from pipeline.attribution.zones import with_locality
from pipeline.decode import decode
from pipeline.inventory import addresses, snapshot
from pipeline.inventory.models import convert
from pipeline.inventory.policy_history import PolicyEpoch
from pipeline.inventory.snapshot import Snapshot
from pipeline.inventory.spans import BEGINNING
from pipeline.lake.tables import FLOWS, told
from pipeline.outputs.history import HISTORY, filled, history_of
from pipeline.outputs.lake import Lake
from pipeline.outputs.verdicts import with_verdicts
from tests.bench import history as generated
from tests.pipeline.shipments import message

POLICY = {
    "kind": "NetworkPolicy",
    "metadata": {"name": "web", "namespace": "team-3"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 8080}]}, {"from": []}]},
}
IPV6 = 0x20010DB8 << 32


Judged = tuple[pl.DataFrame, Snapshot, AnswerBook]


@pytest.fixture(scope="module")
def judged() -> tuple[pl.DataFrame, Snapshot, AnswerBook]:
    """Flows of every kind that the generator makes, some of them from IPv6 addresses, under one policy."""
    cluster = snapshot.build(generated.cluster())
    flows = decode(message(next(generated.batches(4_000)))).frame
    flows = flows.with_columns(
        src_hi=pl.when(pl.int_range(pl.len()) % 50 == 0).then(pl.lit(IPV6, pl.UInt64)).otherwise("src_hi")
    )
    policies = LivePolicies()
    epochs = [PolicyEpoch(BEGINNING, (convert("networking.k8s.io/v1", "NetworkPolicy", POLICY),))]
    return policies.judge(attribute(flows, cluster), cluster, epochs), cluster, policies.timeline.book


def row_by_row(flows: pl.DataFrame, cluster: Snapshot, book: AnswerBook) -> pl.DataFrame:
    """The obvious way: text for every row."""
    ends = ("src", "dst", "backend", "nat_src")
    named = with_verdicts(with_labels(with_locality(flows, cluster).lazy(), cluster), book).with_columns(
        *(addresses.text(f"{end}_hi", f"{end}_lo").alias(f"{end}_ip") for end in ends),
        *(pl.from_epoch(name, time_unit="ns").dt.replace_time_zone("UTC") for name in ("time", "start")),
        pl.col("node", "role", "attribution", "reason", "locality").cast(pl.String),
        pl.col("via").cast(pl.String).fill_null(""),
        pl.col("mesh").cast(pl.String).replace("none", ""),
        outcome=pl.lit(pl.Series(OUTCOMES)).gather(pl.col("outcome")),
        app_protocol=pl.lit(pl.Series(APP_PROTOCOLS)).gather(pl.col("app_protocol")),
    )
    return filled(named.match_to_schema(HISTORY, missing_columns="insert", extra_columns="ignore")).collect()


def test_text_made_once_is_the_text_of_each_row(judged: tuple[pl.DataFrame, Snapshot, AnswerBook]) -> None:
    flows, cluster, book = judged
    expected = row_by_row(flows, cluster, book)
    assert expected.select(pl.col("ingress_policies").list.len().n_unique() > 1).item()
    assert set(expected["role"]) == {"canonical", "observer", "overlay"}
    assert set(expected["app_protocol"]) == {"", "tls", "http1"}
    assert all(expected[name].n_unique() > 1 for name in ("server_name", "path"))
    assert_frame_equal(history_of(flows, cluster, book), expected)


def test_a_file_of_codes_is_read_as_text(judged: tuple[pl.DataFrame, Snapshot, AnswerBook], tmp_path: Path) -> None:
    flows, cluster, book = judged
    lake = Lake(tmp_path)
    lake.start()
    lake.add(history_of(flows, cluster, book, lake.codes))
    before = lake.codes
    lake.flush()
    assert lake.codes is not before
    (file,) = tmp_path.rglob("*.parquet")
    assert pl.scan_parquet(file, hive_partitioning=False).collect_schema() == FLOWS.stored
    assert_frame_equal(
        told(pl.scan_parquet(file, hive_partitioning=False), FLOWS).collect(),
        history_of(flows, cluster, book)
        .sort("time", maintain_order=True)
        .with_columns(pl.col("start").dt.truncate("1ms")),
    )


def test_no_flows_are_no_rows(judged: tuple[pl.DataFrame, Snapshot, AnswerBook]) -> None:
    flows, cluster, book = judged
    assert_frame_equal(history_of(flows.clear(), cluster, book), HISTORY.to_frame())
    assert history_of(flows.drop("verdict", "mismatch"), cluster)["verdict"].unique().to_list() == [""]
