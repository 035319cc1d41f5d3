"""What whoever reads a coloured panel does next: the page of the alert that watches the same thing."""

from __future__ import annotations

from typing import Final

from .alerts import ALERTS

SAID: Final = "What to do: "
"""How advice begins, in the description of each panel that turns amber or red."""

_PAGES: Final = {alert.name: alert.runbook for alert in ALERTS}


def to_do(alert: str) -> str:
    """Advice for a panel of what the alert watches; a KeyError where there is no such alert."""
    return f"{SAID}{_PAGES[alert]}"
