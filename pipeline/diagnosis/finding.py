"""One thing that is the matter, as every check tells it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")
"""From what is broken now, over what may be meant, to what is good to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is the matter with one object. `evidence` is what was seen; `next` is a command that leads on."""

    check: str
    severity: Severity
    subject: str
    problem: str
    evidence: tuple[str, ...]
    next: str


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, else as the checks told them."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
