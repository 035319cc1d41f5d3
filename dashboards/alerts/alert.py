"""What an alert is, and the wording and expressions that alerts share.

A counter's series appears with its first value, of which `increase` knows nothing: `events` looks too at what it was a
window ago, so that the first event alerts. Each alert has its page in `docs/runbooks`, named as `runbook` says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["info", "warning", "critical"]
"""`info` is something to know, `warning` something to look into, `critical` something to mend now."""

AWAY: Final = "30m"
"""So long a target may have been away for its counters to be told from new ones."""
_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def named(namespace: str, name: str) -> str:
    """Who or what two labels tell, as commands take it: without a slash where there is no namespace, as of a node."""
    return f"{{{{ with $labels.{namespace} }}}}{{{{ . }}}}/{{{{ end }}}}{{{{ $labels.{name} }}}}"


PAIR: Final = "source_namespace, source_workload, destination_namespace, destination_workload"
CLIENT: Final = named("source_namespace", "source_workload")
FROM_TO: Final = f"{CLIENT} to {named('destination_namespace', 'destination_workload')}"


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


def events(selector: str, window: str, above: int = 0, by: str = "") -> str:
    """By how much a counter grew within the window, where it did by more than `above`; summed by labels, where told.

    What has no value of a window ago began at 0. Where that is so because its target was not there then, though, it is
    what it last was: who is restarted, under whatever address, goes on from what its snapshot holds.
    """
    total = f"sum by ({by}) " if by else ""
    before = (
        f"{selector} offset {window}"
        f" or (last_over_time({selector}[{AWAY}] offset {window}) unless on (job, instance) up offset {window} == 1)"
    )
    growth = f"{total}({selector}) - ({total}({before}) or 0 * {total}({selector}))"
    return f"({total}(increase({selector}[{window}])) > {above}) or ({growth} > {above})"
