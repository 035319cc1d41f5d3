"""A Prometheus of a test's own, that scrapes one target each second."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dashboards.prometheus import Prometheus, PrometheusError
from deploy.demo.processes import free_port


@contextmanager
def prometheus(directory: Path, target: str, scraping: str = "", scrapes: int = 4) -> Iterator[str]:
    """A Prometheus that has scraped `target` so many times; yields its address. `scraping` is more of the scrape's
    configuration, in YAML's flow style."""
    port = free_port()
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: flowatlas, static_configs: [{{targets: ['{target}']}}]{scraping}}}]\n"
    )
    url = f"http://127.0.0.1:{port}"
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            wait_for_scrapes(url, process, directory / "prometheus.log", scrapes)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def wait_for_scrapes(url: str, process: subprocess.Popen[bytes], log: Path, scrapes: int) -> None:
    deadline = time.monotonic() + 90
    query = f"min(sum_over_time(up[5m])) >= {scrapes}"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if Prometheus(url).instant(query, time.time()):
                return
        except PrometheusError:
            pass  # not up yet
        time.sleep(0.2)
    pytest.fail(f"Prometheus did not come up: {log.read_text()[-2000:]}")
