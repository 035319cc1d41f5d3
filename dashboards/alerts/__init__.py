"""The alerts, as data, one module a topic: what `dashboards.rules` writes as a Prometheus rule file."""

from __future__ import annotations

from typing import Final

from . import dns, interfaces, outside, pipeline, policies, services, tcp
from .alert import Alert

__all__ = ["ALERTS", "Alert"]

ALERTS: Final[tuple[Alert, ...]] = (
    *policies.ALERTS,
    *services.ALERTS,
    *tcp.ALERTS,
    *outside.ALERTS,
    *interfaces.ALERTS,
    *pipeline.ALERTS,
    *dns.ALERTS,
)
"""Every alert, those of a group together."""
