"""Alerts on interfaces fire when and only when they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboards.promtool import Case, told

POD = {"namespace": "shop", "pod": "cart-1", "interface": "eth0", "node": "n1"}
NODE = {"node": "n1", "interface": "eth0", "scope": "node"}
OWNERS = (("Pod", "container_network", POD), ("Node", "flowatlas_node_network", NODE))

LABELS = {f"Flowatlas{owner}Interface{what}": labels for owner, _, labels in OWNERS for what in ("Errors", "Drops")}


def counted(prefix: str, labels: dict[str, str], **values: str) -> dict[str, str]:
    """Received values as told, nothing transmitted."""
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    received = {f"{prefix}_receive_{what}_total{{{inside}}}": counter for what, counter in values.items()}
    return received | {f"{prefix}_transmit_{what}_total{{{inside}}}": "0x60" for what in values}


CADVISORS = {"id": "/kubepods/pod1/a", "image": "pause", "name": "a", **POD}
CASES = [
    Case(
        "FlowatlasPodInterfaceErrors",
        "what cAdvisor counts of the same pod is the same again",
        counted("container_network", POD, errors="0+1x60") | counted("container_network", CADVISORS, errors="0+1x60"),
        30,
        0,
    ),
    *(
        case
        for owner, prefix, labels in OWNERS
        for errors, drops in ((f"Flowatlas{owner}InterfaceErrors", f"Flowatlas{owner}InterfaceDrops"),)
        for case in (
            Case(errors, "two a minute", counted(prefix, labels, errors="0+2x60"), 30, 1, "20"),
            Case(errors, "one a minute", counted(prefix, labels, errors="0+1x60"), 30, 0),
            Case(errors, "many, once", counted(prefix, labels, errors="0x10 9x50"), 17, 0),
            Case(
                drops,
                "one of ten",
                counted(prefix, labels, packets="0+900x60", packets_dropped="0+100x60"),
                30,
                1,
                "10%",
            ),
            Case(
                drops, "one of 1,000", counted(prefix, labels, packets="0+99900x60", packets_dropped="0+99x60"), 30, 0
            ),
            Case(drops, "few", counted(prefix, labels, packets="0+90x60", packets_dropped="0+9x60"), 30, 0),
            Case(
                drops,
                "over soon",
                counted(prefix, labels, packets="0+900x60", packets_dropped="0x10 900x50"),
                19,
                0,
            ),
        )
    ),
]


@pytest.mark.prometheus
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    assert told(case, LABELS[case.alert], tmp_path) == ""
