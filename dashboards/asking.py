"""What a dashboard asks of a Prometheus server: its queries as Grafana asks them, with All chosen in each drop-down.

Time comes in as a parameter; nothing is asked here but through the server that is passed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .prometheus import Prometheus
from .promql import substitute
from .variables import ALL

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asking:
    """How one dashboard asks `server`: the time up to `now_s`, a point each `step_s`, and what variables are."""

    server: Prometheus
    now_s: float
    shown_s: float
    step_s: float
    values: Mapping[str, str]

    def expression(self, text: str) -> str:
        """The text with all `$variables` replaced."""
        return substitute(text, self.values)

    def answer(self, target: Json) -> list[Any]:
        """The series of a panel's query, each with a `value` where it is asked for once and with `values` where not.

        Raises PrometheusError where the server does not answer or refuses.
        """
        expression = self.expression(target["expr"])
        if target.get("instant"):
            return self.server.instant(expression, self.now_s)
        return self.over_time(expression)

    def over_time(self, expression: str) -> list[Any]:
        """The series of an expression over the whole time range."""
        return self.server.range(expression, self.now_s - self.shown_s, self.now_s, self.step_s)


def asking(
    document: Json, server: Prometheus, scraped_s: float, now_s: float, *, shown_s: float, points: int
) -> Asking:
    """How the dashboard asks for `points` points of the last `shown_s` seconds, of what is scraped each `scraped_s`."""
    step_s = max(shown_s / points, scraped_s)
    values = {variable["name"]: ALL for variable in document["templating"]["list"]}
    values |= {
        "__rate_interval": f"{max(step_s + scraped_s, 4 * scraped_s):.0f}s",  # as Grafana computes it
        "__interval": f"{step_s:.0f}s",
        "__range": f"{shown_s:.0f}s",
    }
    return Asking(server, now_s, shown_s, step_s, values)
