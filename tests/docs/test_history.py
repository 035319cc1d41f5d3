"""The questions in Python that the page of the history has are questions that a history answers."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from pipeline.cli.main import main
from tests.pipeline.lake.histories import flows, lake_of

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "history.md"
PLACE = "/var/lib/flowatlas/lake"
BLOCK = re.compile(r"(?m)(?:^(?: {4}.*)?\n)+")


def test_every_question_in_python_is_answered(tmp_path: Path) -> None:
    lake_of(tmp_path, flows(30))
    assert main(["lake", "maintain", "--lake", str(tmp_path), "--keep", "flows=99999", "--keep", "flows_1h=99999"]) == 0
    blocks = [block for block in BLOCK.findall(PAGE.read_text()) if "import " in block]
    names: dict[str, object] = {}
    asked = 0
    for line in re.sub(r"(?m)^ {4}", "", "".join(blocks)).replace(PLACE, str(tmp_path)).splitlines():
        if line.startswith(("scan_", "duckdb.execute")):
            answer = eval(line, names)  # noqa: S307 - the page's own text
            assert answer.columns if isinstance(answer, pl.DataFrame) else answer.fetchall(), line
            asked += 1
        else:
            exec(line, names)  # noqa: S102 - the page's own text
    assert asked == 3
