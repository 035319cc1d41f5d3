"""Asking a Prometheus server what a panel asks it, over its HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api/)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import promql_parser

TIMEOUT_S: Final = 15.0
SERVER_TIMEOUT: Final = "14s"
"""After which the server is to give a query up, so that it says so before we do."""
PATIENCE: Final = 3
"""How many times in a row no answer may come until nothing more is asked: a page asks hundreds of times."""


class PrometheusError(Exception):
    """The server does not answer, or refuses the query; the message is its own where it gives one."""


class Prometheus:
    """A server at `url` (http or https)."""

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise PrometheusError(f"{url} is not an http or https address")
        self._url = url.rstrip("/")
        self._unanswered = 0

    def instant(self, expression: str, at_s: float) -> list[Any]:
        """The series that the expression has at an instant."""
        return self._series("query", query=expression, time=at_s)

    def range(self, expression: str, start_s: float, end_s: float, step_s: float) -> list[Any]:
        """The series that the expression has anywhere from start to end."""
        return self._series("query_range", query=expression, start=start_s, end=end_s, step=step_s)

    def label_values(self, label: str, selector: str) -> list[str]:
        """The values of a label among the series that a selector matches."""
        found: list[str] = self._get(f"label/{quote(label, safe='')}/values", {"match[]": selector})
        return found

    def scrape_interval_s(self) -> float:
        """The longest scrape interval of all targets. Asked even of a server that was given up."""
        self._unanswered = 0
        targets = self._get("targets", {"state": "active"})["activeTargets"]
        intervals = [promql_parser.parse_duration(target["scrapeInterval"]).total_seconds() for target in targets]
        if not intervals:
            raise PrometheusError("it scrapes no target")
        return max(intervals)

    def _series(self, endpoint: str, **parameters: object) -> list[Any]:
        found: list[Any] = self._get(endpoint, {**parameters, "timeout": SERVER_TIMEOUT})["result"]
        return found

    def _get(self, endpoint: str, parameters: dict[str, Any]) -> Any:
        if self._unanswered >= PATIENCE:
            raise PrometheusError(f"{self._url} did not answer {PATIENCE} times in a row and is not asked any more")
        address = f"{self._url}/api/v1/{endpoint}?{urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the scheme was checked
                data = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            self._unanswered = 0
            with error:
                raise PrometheusError(_message(error)) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._unanswered += 1
            raise PrometheusError(f"{self._url} does not answer as a Prometheus does: {error}") from None
        self._unanswered = 0
        return data


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
