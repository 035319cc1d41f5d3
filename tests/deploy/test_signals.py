"""Signals of Services over the recorded run of the lab, against what its programs wrote."""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from collector.schema import FLOWS
from deploy.demo.replay import RECORDING
from deploy.lab.cluster import MANIFESTS
from deploy.lab.objects import load
from pipeline.aggregate.samples import Samples
from pipeline.aggregate.signals import ServiceSignals
from pipeline.attribution import attribute
from pipeline.bus.files import FileReader
from pipeline.decode import decode
from pipeline.inventory import manifests, snapshot

AFFINITY = "flowatlas_service_affinity_connections_total"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Samples], list[dict[str, Any]]]:
    """What the signals are after the whole recording, and the truth's rows."""
    folder: Path = tmp_path_factory.mktemp("recording")
    with tarfile.open(RECORDING) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None and ("/" + FLOWS.topic in member.name or member.name.endswith("truth.jsonl")):
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
    reader = FileReader(f"file://{folder / 'bus'}", None, [FLOWS.topic])
    reader.start()
    cluster = snapshot.build(manifests.load(MANIFESTS)[0])
    signals = ServiceSignals()
    signals.use(cluster)
    while messages := reader.poll(0.0):
        flows = pl.concat(decode(message).frame for message in messages)
        signals.add(attribute(flows, cluster))
    signals.settle()
    truth = [json.loads(line) for line in (folder / "lab" / "truth.jsonl").read_text().splitlines()]
    return signals.samples(), truth


def values(samples: list[Samples], metric: str) -> dict[tuple[str, ...], float]:
    (told,) = [one for one in samples if one.metric.name == metric]
    return dict(zip(told.labels.rows(), told.values.to_list(), strict=True))


def test_affinity_is_kept_and_never_broken(recorded: tuple[list[Samples], list[dict[str, Any]]]) -> None:
    """Each connection of a client to a sticky Service but its first is kept, as many as the programs made."""
    samples, truth = recorded
    sticky = {key for key, service in load(MANIFESTS).services.items() if service.affinity_s}
    calls = defaultdict(list)
    for row in truth:
        service = row.get("service")
        if row["tracked"] and service and (service["namespace"], service["name"]) in sticky:
            calls[row["src_ip"], service["name"], service["port"]].append((row["opened_ns"], row["backend"]))
    expected = sum(len(made) - 1 for made in calls.values())
    assert all(before[1] == after[1] for made in calls.values() for before, after in pairwise(sorted(made, key=str)))
    kept = {labels[-1]: value for labels, value in values(samples, AFFINITY).items()}
    assert kept == {"kept": expected}
    assert expected > 10


def test_every_service_that_was_called_says_so(recorded: tuple[list[Samples], list[dict[str, Any]]]) -> None:
    """But the ones that only a name that DNS gave leads to: DNS is not read here."""
    samples, truth = recorded
    by_name = {key for key, service in load(MANIFESTS).services.items() if service.external_name is not None}
    last = values(samples, "flowatlas_service_last_connection_timestamp_seconds")
    newest: dict[tuple[str, str, str], float] = defaultdict(float)
    for row in truth:
        service = row.get("service")
        if row["tracked"] and service and (service["namespace"], service["name"]) not in by_name:
            key = service["namespace"], service["name"], service["port_name"] or str(service["port"])
            newest[key] = max(newest[key], row["opened_ns"] / 1e9)
    assert newest.keys() <= last.keys()
    for key, seconds in newest.items():
        assert last[key] == pytest.approx(seconds, abs=1.0)
