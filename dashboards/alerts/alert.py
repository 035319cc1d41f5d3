"""What an alert is, and the wording and expressions that alerts share.

A counter's series appears with its first value, of which `increase` knows nothing: `events` adds what was not there a
window ago, so that the first event alerts too. Each alert has its page in `docs/runbooks`, named as `runbook` says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["info", "warning", "critical"]
"""`info` is something to know, `warning` something to look into, `critical` something to mend now."""

_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")

PAIR: Final = "source_namespace, source_workload, destination_namespace, destination_workload"
FROM_TO: Final = (
    "{{ $labels.source_namespace }}/{{ $labels.source_workload }} to "
    "{{ $labels.destination_namespace }}/{{ $labels.destination_workload }}"
)
CLIENT: Final = "{{ $labels.source_namespace }}/{{ $labels.source_workload }}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `hold` is how long the expression must hold, as Prometheus writes durations (`for`)."""

    name: str
    group: str
    expression: str
    hold: str
    severity: Severity
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """The page's address, relative to the project's root: FlowatlasLosses has docs/runbooks/flowatlas-losses.md."""
        return f"docs/runbooks/{_WORD.sub('-', self.name).lower()}.md"


def events(selector: str, window: str, above: int = 0) -> str:
    """The series of a counter that grew by more than that within the window, or that were not there before it."""
    return f"(increase({selector}[{window}]) > {above}) or (({selector} unless {selector} offset {window}) > {above})"
