"""Findings of checks as a person reads them: coloured on a terminal alone, and never with NO_COLOR."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..diagnosis.finding import Finding

_COLOURS: Final = {"error": "\x1b[31m", "warning": "\x1b[33m", "note": "\x1b[36m"}
_PLAIN: Final = "\x1b[0m"


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Each finding with its evidence and the next command."""
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for finding in findings:
        word = f"{finding.severity:<7}"
        mark = f"{_COLOURS[finding.severity]}{word}{_PLAIN}" if is_coloured else word
        yield f"{mark}  {finding.subject}: {finding.problem}"
        for seen in finding.evidence:
            yield f"           {seen}"
        yield f"           next: {finding.next}"
