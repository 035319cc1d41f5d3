"""PromQL for the panels, built from the metric catalogue.

A query is plain text; what these functions add is that a metric or label that the catalogue does not have is a KeyError
where the panel is written, not an empty panel later. Counters are always read through `rate` or `increase` and a sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.catalog import SERIES
from pipeline.catalog.alike import ALIKE

from .promql import TARGET_LABELS, foreign

RATE_WINDOW: Final = "$__rate_interval"
"""Grafana's own: at least four scrapes long, whatever the zoom."""
SHOWN_WINDOW: Final = "$__range"
"""The time range that the dashboard shows."""

Filter = Mapping[str, str]
"""Label to the regular expression (mostly a `$variable`) that it must match, or must not, where NOT is before it."""

NOT: Final = "!"

ALL_SERIES: Final[Filter] = {}

OF_THE_CLUSTER: Final = "Node|Unknown|other"
"""Kinds of what has no namespace and is not beyond the cluster: a node, an address of its own that nothing held, and
what is folded. What is beyond has the kind that a file of named ranges gives it: External, Cloud, Site, ..."""

COUNTED: Final = "flowatlas_namespace_connections_total"
"""There as soon as any flow is counted, with few series: a cheap sign that a pipeline is at work, for `zero_while`."""


def beyond(end: str) -> Filter:
    """Connections whose `end`, source or destination, is beyond the cluster."""
    return {f"{end}_namespace": "", f"{end}_workload_kind": f"{NOT}{OF_THE_CLUSTER}"}


def select(metric: str, where: Filter = ALL_SERIES) -> str:
    """The selector of our series of the metric that match every label of `where`."""
    _require(metric, *where)
    matchers = [f'{label}=""' for label in foreign(metric)] + [
        f'{label}{"!~" if pattern.startswith(NOT) else "=~"}"{pattern.removeprefix(NOT)}"'
        for label, pattern in where.items()
    ]
    return f"{metric}{{{', '.join(matchers)}}}" if matchers else metric


def rate(metric: str, by: Iterable[str] = (), where: Iterable[Filter] = (ALL_SERIES,)) -> str:
    """The counter's growth a second, summed by `by`, over the series that match one filter of `where` or more."""
    return _sum(metric, f"rate({{}}[{RATE_WINDOW}])", by, where)


def increase(metric: str, by: Iterable[str] = (), where: Iterable[Filter] = (ALL_SERIES,)) -> str:
    """As `rate`: the counter's growth over the whole time range shown."""
    return _sum(metric, f"increase({{}}[{SHOWN_WINDOW}])", by, where)


def total(gauge: str, by: Iterable[str] = (), where: Iterable[Filter] = (ALL_SERIES,)) -> str:
    """The gauge's present value, summed by `by`; what every pipeline knows alike is counted once."""
    names, own = tuple(by), SERIES[gauge]
    if gauge not in ALIKE:
        return _sum(gauge, "{}", names, where)
    of_one = _aggregate("max", gauge, "{}", own, where)
    return of_one if set(names) == set(own) else f"sum{_by(gauge, names)} ({of_one})"


def extreme(which: str, gauge: str, by: Iterable[str] = (), where: Iterable[Filter] = (ALL_SERIES,)) -> str:
    """The gauge's smallest (`which` is "min") or largest ("max") present value, by `by`."""
    return _aggregate(which, gauge, "{}", by, where)


def mean(gauge: str, by: Iterable[str] = (), where: Iterable[Filter] = (ALL_SERIES,)) -> str:
    """The mean of the gauge's present values, by `by`."""
    return _aggregate("avg", gauge, "{}", by, where)


def instances(info: str, by: Iterable[str] = ()) -> str:
    """How many expose the gauge, by what it says of them in `by`."""
    return _aggregate("count", info, "{}", by, (ALL_SERIES,))


def quantile(q: float, histogram: str, by: Iterable[str] = (), where: Iterable[Filter] = (ALL_SERIES,)) -> str:
    """The value that a share `q` of the histogram's observations did not exceed lately, by `by`."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', by=('le', *by), where=where)})"


def age(gauge: str, by: Iterable[str]) -> str:
    """Seconds since the newest time that a timestamp gauge holds, by `by`."""
    return f"time() - max{_by(gauge, by)} ({select(gauge)})"


def label_values(metric: str, label: str, where: Filter = ALL_SERIES) -> str:
    """Grafana's variable query for the values of `label`; not PromQL."""
    _require(metric, label)
    return f"label_values({select(metric, where)}, {label})"


def top(count: int, expression: str) -> str:
    """The `count` largest of the expression's series."""
    return f"topk({count}, {expression})"


def distinct(expression: str) -> str:
    """How many series the expression has; `expression` groups by what is to be counted."""
    return f"count({expression} > 0)"


def share(part: str, whole: str, of: Iterable[str] = ()) -> str:
    """`part` as a fraction of `whole`, where that is not 0; `of` are the labels of `whole`, `part` may have more."""
    matching = f" on ({', '.join(of)}) group_left ()" if of else ""
    return f"({part}) /{matching} ({whole} > 0)"


def failed_share(failures: str, connections: str, where: Iterable[Filter] = (ALL_SERIES,)) -> str:
    """Which part of the connections opened lately failed, from 0 to 1; 0 while there are none.

    What was opened before may fail now, so more can fail than are opened: that is all of them.
    """
    filters = tuple(where)
    failed, opened = rate(failures, where=filters), rate(connections, where=filters)
    part = f"clamp_max(({failed}) / (({opened} > 0) or ({failed} > 0)), 1)"
    return zero_while(COUNTED, part)


def or_zero(expression: str, known: str) -> str:
    """The expression, and 0 for each series of `known` (of the same labels) that it lacks."""
    return f"{expression} or 0 * {known}"


def named(label: str, expression: str, *, empty: str) -> str:
    """The expression with the name `empty` where `label` is empty, so that a legend never is."""
    return f'label_replace({expression}, "{label}", "{empty}", "{label}", "")'


def zero_while(alive: str, expression: str, *labels: str) -> str:
    """The expression, or 0 where it has no series though the metric `alive` has.

    A counter by reason has no series until the first event, and a panel of it should then read 0, not "no data". It
    must not read 0 where nobody measures: `alive` is a metric of the same exposer that always has series. The zero is
    called `none` in each of `labels`.
    """
    zero = f"0 * sum({select(alive)})"
    for label in labels:
        zero = f'label_replace({zero}, "{label}", "none", "", "")'
    return f"{expression} or on () {zero}"


def _sum(metric: str, function: str, by: Iterable[str], where: Iterable[Filter]) -> str:
    return _aggregate("sum", metric, function, by, where)


def _aggregate(operator: str, metric: str, function: str, by: Iterable[str], where: Iterable[Filter]) -> str:
    parts = [function.format(select(metric, filters)) for filters in where]
    return f"{operator}{_by(metric, by)} ({' or '.join(parts)})"


def _by(metric: str, labels: Iterable[str]) -> str:
    names = tuple(labels)
    _require(metric, *names)
    return f" by ({', '.join(names)})" if names else ""


def _require(metric: str, *labels: str) -> None:
    have = SERIES[metric]
    for label in labels:
        if label not in have and label not in TARGET_LABELS:
            raise KeyError(f"{metric} has no label {label}; it has {', '.join(have) or 'none'}")
