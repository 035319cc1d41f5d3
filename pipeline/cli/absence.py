"""What is said of a history in which nothing matches: of what time it is, and what of the question it never had.

The invariant: an answer stays as it is, for whoever reads it is a program; this is for the person beside it.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ..conditions import KINDS, Condition

if TYPE_CHECKING:
    import polars as pl

_SHOWN: Final = "%Y-%m-%d %H:%M:%S UTC"


def tell_absence(
    command: str, lake: str, since: datetime | None, until: datetime | None, conditions: Sequence[Condition]
) -> None:
    """Say on standard error why there is no flow between `since` and `until` that conditions ask for."""
    for line in _reasons(lake, since, until, conditions):
        print(f"flowatlas {command}: {line}", file=sys.stderr)


def _reasons(lake: str, since: datetime | None, until: datetime | None, conditions: Sequence[Condition]) -> list[str]:
    from ..flowfilter import matching
    from ..query import first_flows, last_flows, scan_flows

    if last_flows(lake, 1, since=since, until=until).is_empty():
        first, last = first_flows(lake, 1), last_flows(lake, 1)
        if last.is_empty():
            return ["the history has no flow yet"]
        return [f"the history has no flow of that time; it has some from {_time(first)} to {_time(last)}"]
    flows = scan_flows(lake, since, until)
    reasons = []
    for kind in dict.fromkeys(condition.kind for condition in conditions if not condition.is_negated):
        alternatives = [one for one in conditions if one.kind == kind and not one.is_negated]
        wanted = matching(alternatives)
        if flows.filter(wanted).head(1).collect().height:
            continue
        asked = " ".join(f"--{kind} {one.value}" for one in alternatives)
        last = last_flows(lake, 1, wanted)
        if last.height:
            reasons.append(f"no flow of that time has {asked}; the last that has it is of {_time(last)}")
        else:
            near = _near(scan_flows(lake), alternatives[0])
            reasons.append(f"no flow of the whole history has {asked}{near}")
    return reasons or ["no flow of that time has all of that"]


def _near(flows: pl.LazyFrame, condition: Condition) -> str:
    """A name that the history has and that was probably meant, as a question."""
    import polars as pl

    kind, is_whole = KINDS[condition.kind], "/" in condition.value
    if kind.test == "pod":
        pairs = [(f"{side}_namespace", f"{side}_name") for side in kind.columns]
    elif kind.test == "object":
        pairs = list(zip(kind.columns[::2], kind.columns[1::2], strict=True))
    elif kind.test == "equal":
        pairs = [("", name) for name in kind.columns]
    else:
        return ""
    names = [pl.concat_str(*pair, separator="/") if is_whole and pair[0] else pl.col(pair[1]) for pair in pairs]
    known = pl.concat([flows.select(name.alias("name")) for name in names]).unique().collect()["name"]
    near = difflib.get_close_matches(condition.value.lower(), known.drop_nulls().sort().to_list(), n=1)
    return f"; did you mean {near[0]}?" if near and near[0] else ""


def _time(flows: pl.DataFrame) -> str:
    time: datetime = flows["time"][0]
    return f"{time:{_SHOWN}}"
