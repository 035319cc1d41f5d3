"""A server that does not answer is not asked hundreds of times."""

from __future__ import annotations

import pytest

from dashboards.prometheus import PATIENCE, Prometheus, PrometheusError


def test_a_server_that_never_answers_is_given_up_until_it_is_asked_for_its_targets() -> None:
    server = Prometheus("http://127.0.0.1:1")
    for _ in range(PATIENCE):
        with pytest.raises(PrometheusError, match="does not answer as a Prometheus does"):
            server.instant("up", 0.0)
    with pytest.raises(PrometheusError, match="is not asked any more"):
        server.range("up", 0.0, 1.0, 1.0)
    with pytest.raises(PrometheusError, match="does not answer as a Prometheus does"):
        server.scrape_interval_s()


def test_an_address_is_of_http() -> None:
    with pytest.raises(PrometheusError, match="not an http or https address"):
        Prometheus("file:///etc/passwd")
