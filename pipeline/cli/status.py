"""`flowatlas status`: whether the pipeline is ready, how far behind, and what of which node it lacks."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigError
from . import Subparsers
from .arguments import add_findings_output, add_server
from .progress import progress

if TYPE_CHECKING:
    from ..diagnosis.health import Health, Look


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "status",
        help="whether Flowatlas itself is well: ready, behind, losses, nodes",
        description="Ask a running pipeline, and collectors where they are named, twice and some seconds apart: is it "
        "ready, how many flows come, how much waits on the bus, what is missing between what came, how old is the "
        "cluster's state, what was lost and why, and what comes from each node. Each problem has the next command. "
        "Exit code 1 where something goes wrong now; what was lost before and is no more is a warning.",
        epilog="examples: flowatlas status; "
        "flowatlas status --server http://pipeline:9464 --collector http://node1:9465 -o json",
    )
    add_server(command)
    command.add_argument(
        "--collector", action="append", default=[], metavar="URL", help="a collector's metrics; may be repeated"
    )
    command.add_argument(
        "--over", type=float, default=2.0, metavar="SECONDS", help="between the two looks (default: %(default)g)"
    )
    add_findings_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print how it goes; 1 where something goes wrong."""
    if not 0.1 <= arguments.over <= 600.0:
        raise ConfigError(f"--over: {arguments.over:g} is not within 0.1 and 600 seconds")
    with progress(f"looking twice, {arguments.over:g} s apart"):
        told = _asked(arguments.server, arguments.collector, arguments.over)
    if arguments.output == "json":
        print(json.dumps(dataclasses.asdict(told), indent=2))
    else:
        print("\n".join(_lines(told)))
    return 1 if any(finding.severity == "error" for finding in told.findings) else 0


def _asked(server: str, collectors: Sequence[str], seconds: float) -> Health:
    """Look twice. Raises ConfigError where the pipeline does not answer."""
    from ..diagnosis.health import COLLECTOR_NAMES, PIPELINE_NAMES, Look, health
    from ..diagnosis.scrape import Scrape
    from .metrics_page import is_ready, scrape

    def heard(url: str) -> Scrape | None:
        try:
            return scrape(url, COLLECTOR_NAMES, "--collector")
        except ConfigError:
            return None

    before, earlier = scrape(server, PIPELINE_NAMES), {url: heard(url) for url in collectors}
    began = time.monotonic()
    time.sleep(seconds)
    after, later = scrape(server, PIPELINE_NAMES), {url: heard(url) for url in collectors}
    between = time.monotonic() - began
    looks: dict[str, Look | None] = {}
    for url in collectors:
        first, second = earlier[url], later[url]
        looks[url] = None if second is None else Look(first or second, second)
    return health(server, is_ready(server), Look(before, after), between, time.time(), looks)


def _lines(told: Health) -> Iterator[str]:
    from . import finding_lines

    age = "manifests" if told.state_age_s is None else f"known up to {told.state_age_s:.1f} s ago"
    kinds = sorted(told.objects.items(), key=lambda item: (-item[1], item[0]))
    yield f"Pipeline {told.server}: {'ready' if told.is_ready else 'not ready'}"
    yield f"  flows    {told.rows_per_s:.1f} rows/s; {told.series} series"
    yield f"  state    {age}; {', '.join(f'{count} {kind}' for kind, count in kinds[:6]) or 'no objects'}"
    yield f"  waiting  {told.held_rows} rows for the state; {told.late_rows} judged without it"
    behind = ", ".join(f"{count} {topic}" for topic, count in told.waiting.items() if count)
    idle = "no message waits" if told.waiting else "does not tell what waits"
    yield f"  bus      {f'messages that wait: {behind}' if behind else idle}"
    gaps = sum(node.missing_batches for node in told.nodes)
    yield f"  gaps     {gaps} batches missing between those that came" if gaps else "  gaps     none"
    set_aside = ", ".join(f"{count} {reason}" for reason, count in told.quarantined.items())
    yield f"  unread   {set_aside or 'no batches'}"
    if told.nodes:
        yield ""
        yield from _table(
            ("NODE", "NEWEST", "FLOW ROWS", "MISSING", "TWICE", "COVERAGE"),
            [
                (
                    node.node,
                    "-" if node.age_s is None else f"{node.age_s:.1f} s",
                    str(node.rows),
                    str(node.missing_batches),
                    str(node.duplicate_batches),
                    "-" if node.coverage is None else f"{node.coverage:.1%}",
                )
                for node in told.nodes
            ],
        )
    if told.collectors:
        yield ""
        yield from _table(
            ("COLLECTOR", "SOURCE", "CONNECTIONS", "SPOOL BYTES", "LOST ROWS"),
            [
                (
                    each.server,
                    each.source + (f" ({each.why})" if each.why else ""),
                    str(each.tracked_flows),
                    str(each.spool_bytes),
                    ", ".join(f"{count} {reason}" for reason, count in each.lost_rows.items()) or "0",
                )
                for each in told.collectors
            ],
        )
    yield ""
    if not told.findings:
        yield "Nothing is wrong."
    yield from finding_lines.lines(told.findings)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
