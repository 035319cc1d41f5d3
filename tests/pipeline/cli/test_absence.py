"""What `observe` and `top` say of a history in which nothing matches; the answer itself stays empty."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.main import main
from pipeline.outputs.lake import Lake
from tests.pipeline.test_flowfilter import rows

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def flow(at: datetime, namespace: str, **more: Any) -> dict[str, Any]:
    pod = {"source_kind": "Pod", "source_name": "web-1", "source_workload": "web", "src_ip": "10.1.0.5"}
    return {"time": at, "role": "canonical", "source_namespace": namespace, "protocol": 6, "opened": 1, **pod, **more}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The last hour knows `shop` alone, the one before `billing` too."""
    history = Lake(tmp_path / "lake")
    history.start()
    service = {"service_namespace": "shop", "service": "db", "verdict": "allowed"}
    history.add(rows(flow(NOON, "billing"), flow(NOON + timedelta(hours=2), "shop", **service)))
    history.flush()
    return tmp_path / "lake"


@pytest.mark.parametrize("command", ["observe", "top"])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["-n", "nobody"], "no flow of the whole history has --namespace nobody"),
        (["-n", "SHOP"], "no flow of the whole history has --namespace SHOP; did you mean shop?"),
        (["--to-service", "shop/DB"], "no flow of the whole history has --to-service shop/DB; did you mean shop/db?"),
        (["--from-pod", "bil1ing/web-1"], "has --from-pod bil1ing/web-1; did you mean billing/web-1?"),
        (["--ip", "192.0.2.1", "--ip", "fd00::1"], "no flow of the whole history has --ip 192.0.2.1 --ip fd00::1"),
        (
            ["-n", "billing", "--since", "2026-03-01T13:00"],
            "no flow of that time has --namespace billing; the last that has it is of 2026-03-01 12:00:00 UTC",
        ),
        (
            ["-n", "billing", "--to-service", "db", "--since", "2026-03-01"],
            "no flow of that time has all of that",
        ),
        (
            ["--since", "2026-03-02"],
            "the history has no flow of that time; it has some from 2026-03-01 12:00:00 UTC to 2026-03-01 14:00:00 UTC",
        ),
    ],
)
def test_an_empty_answer_says_what_the_history_lacks(
    lake: Path, command: str, asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--lake", str(lake), *asked, "-o", "jsonl"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith(f"flowatlas {command}: ")
    assert told.err.endswith(f"{said}\n")


def test_of_an_empty_history_it_is_said_that_it_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Lake(tmp_path).start()
    assert main(["observe", "--lake", str(tmp_path), "-n", "shop", "-o", "jsonl"]) == 0
    assert capsys.readouterr().err == "flowatlas observe: the history has no flow yet\n"


def test_an_answer_has_nothing_beside_it(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["observe", "--lake", str(lake), "-n", "billing", "--not", "--ip", "192.0.2.1", "-o", "jsonl"]) == 0
    assert capsys.readouterr().err == ""
