"""Findings of checks as a person reads them: coloured on a terminal alone, and never with NO_COLOR."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from . import terminal

if TYPE_CHECKING:
    from ..diagnosis.finding import Finding

_COLOURS: Final = {"error": terminal.RED, "warning": terminal.AMBER, "note": terminal.CYAN}


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Each finding with its evidence and the next command."""
    is_coloured = terminal.is_coloured(sys.stdout)
    for finding in findings:
        word = f"{finding.severity:<7}"
        mark = f"{_COLOURS[finding.severity]}{word}{terminal.PLAIN}" if is_coloured else word
        yield f"{mark}  {terminal.printable(f'{finding.subject}: {finding.problem}')}"
        for seen in finding.evidence:
            yield f"           {terminal.printable(seen)}"
        yield f"           next: {terminal.printable(finding.next)}"
