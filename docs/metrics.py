"""The metrics reference page, made from the metric catalogue."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.catalog import LABEL_HELP, METRICS, Exposer, Metric

_INTRODUCTION = """# Metrics

Made from `pipeline/catalog/` by `make docs`; do not edit.

Every connection is counted once in each metric family, so sums over any labels are true sums. Bytes are those of IP
packets, IP headers included and link headers not. Counters begin at 0 when their exposer starts, or where its snapshot
left them, save those of interfaces: they are the kernel's own and began when the interface appeared.

`container_network_*` are cAdvisor's names too. Where the kubelet's are in the same Prometheus, a sum over both has each
pod twice: ours are those with `id=""`, as our dashboards and alerts ask for.

How many series a metric has is marked: **fine** grows with Services, nodes or pairs of namespaces, **careful** with
pairs of workloads or with pods, **costly** faster than that. A **histogram** NAME is read as `NAME_bucket`, which has
the label `le` (the bucket's upper bound) too, as `NAME_sum` and as `NAME_count`; that many series has each of its label
sets.
"""

_EXPOSERS: dict[Exposer, str] = {
    "pipeline": "## Exposed by the pipeline\n\n`flowatlas pipeline --listen HOST:PORT`, at `/metrics`.\n",
    "collector": "## Exposed by each collector\n\n`flowatlas collect --metrics HOST:PORT`, at `/metrics`.\n",
    "watcher": "## Exposed by the watcher\n\n`flowatlas watch --metrics HOST:PORT`, at `/metrics`.\n",
}


def page() -> str:
    """The page as Markdown."""
    parts = [_INTRODUCTION]
    for exposer, heading in _EXPOSERS.items():
        metrics = [metric for metric in METRICS if metric.exposer == exposer]
        parts += [heading, _table(("metric", "kind", "unit", "series", "labels", "meaning"), map(_row, metrics))]
    labels = ((f"`{label}`", text) for label, text in LABEL_HELP.items())
    parts += ["## Labels\n", _table(("label", "meaning"), labels)]
    return "\n".join(parts)


def _row(metric: Metric) -> tuple[str, ...]:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    bounds = f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
    return f"`{metric.name}`", metric.kind, metric.unit, metric.cardinality, labels, metric.help + bounds


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
