"""The page as a whole: from a real Prometheus, from the command line, and served."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dashboards.build import documents
from dashboards.lint import panels_of
from dashboards.preview import Preview
from dashboards.preview.serving import PreviewServer
from dashboards.prometheus import Prometheus, PrometheusError
from pipeline.cli.main import main


class Hostile(Prometheus):
    """One series for each query, whose labels are markup; nothing for queries of costs."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.asked = 0

    def scrape_interval_s(self) -> float:
        return 15.0

    def instant(self, expression: str, at_s: float) -> list[Any]:
        self.asked += 1
        labels = dict.fromkeys(("id", "title", "source", "target", "namespace", "reason"), "<script>alert(1)</script>")
        return [{"metric": labels, "value": [at_s, "1"]}]

    def range(self, expression: str, start_s: float, end_s: float, step_s: float) -> list[Any]:
        self.asked += 1
        if "traffic_cost" in expression:
            return []
        if "geo_failures" in expression:
            raise PrometheusError("query <timed> out")
        return [{"metric": {"reason": "</svg><img src=x>", "le": "1.0"}, "values": [[start_s, "0"], [end_s, "2"]]}]


def test_every_panel_has_its_place_and_names_cannot_become_markup() -> None:
    html = Preview(documents(), Hostile()).render(1_700_000_000.0)
    panels = [panel for document in documents().values() for panel in panels_of(document)]
    assert html.count("<article ") == len(panels)
    assert "<script" not in html
    assert "<img" not in html
    assert "query &lt;timed&gt; out" in html
    assert "No data: the pipeline has no price table" in html


def test_the_page_loads_nothing() -> None:
    html = Preview(documents(), Hostile()).render(1_700_000_000.0)
    assert re.findall(r"<[^>]*\b(?:src|href)\s*=|url\(|@import", html) == []


@pytest.mark.prometheus
def test_every_panel_is_drawn_where_every_metric_is_there(whole_prometheus: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "pipeline.cli.main", "dashboards", "preview", "--last", "1m"]
    done = subprocess.run(
        [*command, "--prometheus", whole_prometheus, "--output", str(page)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, page.as_uri()), done.stderr
    html = page.read_text(encoding="utf-8")
    assert '<p class="none">' not in html
    assert html.count("<article ") == sum(len(panels_of(document)) for document in documents().values())


def test_a_server_that_does_not_answer_is_one_line_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    command = ["dashboards", "preview", "--output", str(page)]
    assert main([*command, "--prometheus", "http://127.0.0.1:1"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("flowatlas: no preview: http://127.0.0.1:1 does not answer")
    assert said.count("\n") == 1
    assert not page.exists()


@pytest.mark.parametrize("last", ["0m", "15", "m", "1w", "-5m"])
def test_what_is_no_duration_is_refused(last: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["dashboards", "preview", f"--last={last}"])
    assert "is not a duration" in capsys.readouterr().err


def test_the_served_page_is_drawn_once_for_many_and_may_run_nothing() -> None:
    server = Hostile()
    with PreviewServer(("127.0.0.1", 0), Preview(documents(), server)) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        try:
            address = f"http://127.0.0.1:{serving.server_address[1]}"
            with urllib.request.urlopen(f"{address}/", timeout=60) as answer:  # noqa: S310
                first = answer.read()
                assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            asked, begun = server.asked, time.monotonic()
            with urllib.request.urlopen(f"{address}/", timeout=60) as answer:  # noqa: S310
                second = answer.read()
            if time.monotonic() - begun < 4:  # else the page was old, and drawn again
                assert (second, server.asked) == (first, asked)
            with pytest.raises(urllib.error.HTTPError, match="404") as missing:
                urllib.request.urlopen(f"{address}/favicon.ico", timeout=60)  # noqa: S310
            missing.value.close()
        finally:
            serving.shutdown()
            thread.join()


def test_a_prometheus_that_went_away_is_told_to_who_looks() -> None:
    gone = Preview(documents(), Prometheus("http://127.0.0.1:1"))
    with PreviewServer(("127.0.0.1", 0), gone) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        try:
            with pytest.raises(urllib.error.HTTPError, match="502") as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{serving.server_address[1]}/", timeout=60)
            with refused.value as answer:
                assert b"does not answer" in answer.read()
        finally:
            serving.shutdown()
            thread.join()
