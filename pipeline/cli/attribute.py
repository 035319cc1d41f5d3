"""`flowatlas attribute`: who, which Service and which policies the flows of a file mean, under a cluster's objects."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Final

from . import Subparsers
from .arguments import add_output
from .cluster_state import objects_in
from .places import add_geo
from .progress import progress

RULE: Final = re.compile(r'\{"kind":"NetworkPolicy","namespace":"[^"]*","name":"[^"]*","rule":[^}]*\}')
"""A NetworkPolicy among the responsible policies, as Polars writes it."""


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "attribute",
        help="attribute a file of flows, without a cluster",
        description="Read flows as JSON Lines (src_ip, dst_ip, dst_port, protocol; src_port, time, bytes, packets, "
        "server_name, path where known), Parquet or a capture, and add to each its source, destination and Service, "
        "how sure that is and why, and what the policies say of it. Flows come out in their order; a line that is no "
        "flow is named on standard error and left out, and the exit code is then 1. Of a capture, the way back of a "
        "connection is a flow too, of which policies say nothing.",
        epilog="example: flowatlas attribute --state state.yaml --flows flows.jsonl -o table",
    )
    command.add_argument(
        "--state",
        type=Path,
        required=True,
        metavar="PATH",
        help="the cluster's objects: a folder of manifests or a `kubectl get -o yaml` file",
    )
    command.add_argument(
        "--flows", type=Path, required=True, metavar="FILE", help="JSON Lines, .parquet, pcap or pcapng"
    )
    add_geo(command)
    add_output(command, "parquet")
    command.set_defaults(run=run)


def with_rule_numbers(text: str) -> str:
    """JSON of attributed flows with NetworkPolicies' rules as numbers: their place among the rules, not a name.

    Quotes inside JSON strings are escaped, so no text of a flow's own can look like such an object.
    """
    return RULE.sub(lambda match: re.sub(r'rule":"(\d+)"', r'rule":\1', match[0]), text)


def run(arguments: argparse.Namespace) -> int:
    """Attribute the file's flows and write them to standard output."""
    import polars as pl

    from ..attribution import offline
    from ..attribution.policies import compile_policies
    from ..geo import load_geo
    from ..inventory import snapshot
    from . import attributed_table, flow_input, output

    with progress("reading objects and flows"):
        objects, refusals = objects_in(arguments.state)
        flows = flow_input.read(arguments.flows)
    for problem in (*refusals, *flows.problems, *flows.remarks):
        print(f"flowatlas attribute: {problem}", file=sys.stderr)
    with progress("attributing flows"):
        cluster = snapshot.build(objects)
        rows = offline.attribute_rows(flows.rows, cluster, compile_policies(objects, cluster))
        if arguments.geo:
            rows = load_geo(arguments.geo).in_structs(rows)
    rows = rows.with_columns(pl.when(~flows.is_reply).then(pl.col(name)).alias(name) for name in offline.JUDGED)
    if output.form_of(arguments.output) == "table":
        rows = attributed_table.narrow(rows)
    output.write(rows, arguments.output, mend_json=with_rule_numbers)
    return 1 if refusals or flows.problems else 0
