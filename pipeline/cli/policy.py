"""`flowatlas policy`: what policies would cut, could spare, leave open or fail to enforce, on recorded flows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from . import Subparsers, policy_suggest, record
from .arguments import add_output
from .progress import progress
from .terminal import counted

if TYPE_CHECKING:
    import polars as pl

    from ..inventory.models import Resource


def add(commands: Subparsers) -> None:
    """Add the sub-command and its own."""
    command = commands.add_parser(
        "policy",
        help="what policies would cut, could spare or leave open, on recorded flows",
        description="Questions on network policies, answered from the cluster's objects and recorded flows. What the "
        "record covers, and what of it could not be judged, is said on standard error, or under `record` in JSON.",
        epilog="examples: flowatlas policy coverage --state state.yaml --lake lake; flowatlas policy whatif --help",
    )
    questions = command.add_subparsers(dest="question", metavar="QUESTION", required=True)
    _add_whatif(questions)
    policy_suggest.add(questions)
    _add_unused(questions)
    _add_coverage(questions)
    _add_mismatches(questions)


def _add_whatif(questions: Subparsers) -> None:
    whatif = questions.add_parser(
        "whatif",
        help="what new, changed or removed policies would cut or let through",
        description="Judge recorded connections under the policies of the state, and again with those of -f put in "
        "place or in addition, and those of --remove gone. What changes is listed by workload pair and port.",
        epilog="example: flowatlas policy whatif --state state.yaml --lake lake --since 7d -f deny-all.yaml "
        "--fail-on-deny",
    )
    record.add_arguments(whatif)
    whatif.add_argument(
        "-f", "--file", type=Path, action="append", default=[], metavar="FILE", help="policies to add; may be repeated"
    )
    whatif.add_argument(
        "--remove",
        action="append",
        default=[],
        metavar="KIND/NAMESPACE/NAME",
        help="a policy to take away, KIND/NAME where it is cluster-wide; may be repeated",
    )
    whatif.add_argument(
        "--fail-on-deny", action="store_true", help="exit 1 where a recorded connection would newly be cut"
    )
    add_output(whatif)
    whatif.set_defaults(run=_whatif)


def _add_unused(questions: Subparsers) -> None:
    unused = questions.add_parser(
        "unused",
        help="rules that matched nothing, that others make moot, or that allow far more than was used",
        description="Every rule with a finding: `unused` matched no recorded connection; `shadowed` is made moot by "
        "other rules in today's cluster, and all such rules can go at once; `selects nothing` has no peer today; and "
        "what is over-broad says what it allows and what of it was used.",
        epilog="example: flowatlas policy unused --state state.yaml --lake lake --since 30d",
    )
    record.add_arguments(unused)
    unused.add_argument("--all", action="store_true", help="rules without a finding too")
    add_output(unused)
    unused.set_defaults(run=_unused)


def _add_coverage(questions: Subparsers) -> None:
    coverage = questions.add_parser(
        "coverage",
        help="pods that are isolated, and traffic by what let it through",
        description="By workload or namespace: pods that NetworkPolicies isolate, whether a policy denies all by "
        "default, and recorded bytes by what they stand on: a rule, a default, no policy at all.",
        epilog="example: flowatlas policy coverage --state state.yaml --lake lake --by namespace -o table",
    )
    record.add_arguments(coverage)
    coverage.add_argument("--by", choices=("workload", "namespace"), default="workload", help="default: %(default)s")
    add_output(coverage)
    coverage.set_defaults(run=_coverage)


def _add_mismatches(questions: Subparsers) -> None:
    mismatches = questions.add_parser(
        "mismatches",
        help="connections that were answered although denied, or unanswered although allowed",
        description="Recorded connections whose outcome is not what the policies say. A history that the pipeline "
        "judged has the verdicts of the time, and they are taken; else the verdict is that of the policies in --state: "
        "leave out with --since what is older than their last change. Which it was is said.",
        epilog="example: flowatlas policy mismatches --state state.yaml --lake lake --since 1d",
    )
    record.add_arguments(mismatches)
    mismatches.add_argument(
        "--by",
        choices=("auto", "time", "state"),
        default="auto",
        help="policies of the time, as marked in the history; or those of --state (default: of the time where marked)",
    )
    add_output(mismatches)
    mismatches.set_defaults(run=_mismatches)


def _whatif(arguments: argparse.Namespace) -> int:
    from ..attribution.policies import compile_policies
    from ..policy import whatif

    recorded = record.load(arguments)
    changed_objects = _changed(recorded.objects, arguments.file, arguments.remove)
    with progress("judging the record before and after"):
        before = compile_policies(recorded.objects, recorded.snapshot)
        after = compile_policies(changed_objects, recorded.snapshot)
        changed = whatif.changed_pairs(recorded.judged.pairs, before, after)
        rows = whatif.by_workload(changed, recorded.record)
    totals = {
        change: int(rows.filter(change=change)["connections"].sum()) for change in (whatif.CUT, whatif.LET_THROUGH)
    }
    remarks = [
        *record.about(recorded),
        *(f"{change}: {counted(count, 'connection')}" for change, count in totals.items()),
    ]
    _write(rows, arguments.output, remarks)
    return 1 if arguments.fail_on_deny and not rows.filter(change=whatif.CUT).is_empty() else 0


def _changed(objects: Sequence[Resource], files: Sequence[Path], removed: Sequence[str]) -> list[Resource]:
    """The objects with policies taken away and others put in place. Raises ConfigError where that cannot be."""
    from ..attribution.policies.readers import READERS
    from ..attribution.policies.strangers import NOT_JUDGED
    from ..inventory import manifests
    from ..inventory.identities import identity_of

    if not files and not removed:
        raise ConfigError("whatif: give a change with -f or --remove")
    added: list[Resource] = []
    for file in files:
        found, refusals = manifests.load(file)
        if refusals:
            raise ConfigError(f"the API server would refuse this: {refusals[0]}")
        if not found:
            raise ConfigError(f"--file: {file} holds no object")
        for item in found:
            if type(item) in READERS:
                added.append(item)
            else:
                why = "is of a kind that is not judged" if item.kind in NOT_JUDGED else "is no policy, and is left out"
                print(f"flowatlas policy: {file}: {item.kind} {item.metadata.name} {why}", file=sys.stderr)
    names = {"/".join(part for part in identity_of(item) if part): item for item in objects if type(item) in READERS}
    for name in removed:
        if name not in names:
            raise ConfigError(f"--remove: {name} is not among the state's policies; known: {', '.join(sorted(names))}")
    gone = {id(names[name]) for name in removed}
    return [*(item for item in objects if id(item) not in gone), *added]


def _unused(arguments: argparse.Namespace) -> int:
    import polars as pl

    from ..attribution.policies import compile_policies
    from ..policy import findings

    recorded = record.load(arguments)
    with progress("looking at every rule"):
        policies = compile_policies(recorded.objects, recorded.snapshot)
        rows = findings.findings(policies, recorded.snapshot, recorded.judged.pairs)
    told = rows if arguments.all else rows.filter(pl.col("findings").list.len() > 0)
    _write(told, arguments.output, [*record.about(recorded), f"{told.height} of {rows.height} rules have a finding"])
    return 0


def _coverage(arguments: argparse.Namespace) -> int:
    import polars as pl

    from ..attribution.policies import compile_policies
    from ..policy import coverage

    recorded = record.load(arguments)
    with progress("judging the record"):
        policies = compile_policies(recorded.objects, recorded.snapshot)
        rows = coverage.by_workload(recorded.objects, recorded.snapshot, policies, recorded.judged.pairs)
    namespaces = coverage.by_namespace(rows)
    open_ones = namespaces.filter(~pl.col("denies_ingress") | ~pl.col("denies_egress"))["namespace"].to_list()
    remarks = [
        *record.about(recorded),
        f"namespaces without deny-all in both directions: {', '.join(open_ones) or 'none'}",
    ]
    asked = namespaces if arguments.by == "namespace" else rows
    form = _form(arguments.output)
    _write(coverage.by_direction(asked) if form == "table" else asked, form, remarks)
    return 0


def _mismatches(arguments: argparse.Namespace) -> int:
    from ..attribution.policies import compile_policies
    from ..policy.mismatches import mismatches

    if _marked(arguments):
        return 0
    recorded = record.load(arguments)
    with progress("judging the record"):
        policies = compile_policies(recorded.objects, recorded.snapshot)
        rows = mismatches(policies, recorded.snapshot, recorded.judged.pairs)
    _write(rows, arguments.output, ["judged by the policies in --state, as they are now", *record.about(recorded)])
    return 0


def _marked(arguments: argparse.Namespace) -> bool:
    """Write what the pipeline marked when it saw it; False where the history was not judged then, or is not asked."""
    import polars as pl

    from ..policy.marked import DROPPED_ALLOWED, ESTABLISHED_DENIED, judged_then, marked
    from ..policy.mismatches import MISMATCH
    from ..query import scan_flows

    if arguments.by == "state" or (arguments.by == "auto" and arguments.lake is None):
        return False
    if arguments.lake is None:
        raise ConfigError("--by time: a file of flows has no marks; give --lake")
    flows = scan_flows(arguments.lake, since=arguments.since, until=arguments.until)
    judged, every = judged_then(flows)
    if arguments.by == "auto" and not judged:
        return False
    named = dict(zip((ESTABLISHED_DENIED, DROPPED_ALLOWED), MISMATCH.categories, strict=True))
    rows = marked(flows).with_columns(pl.col("mismatch").replace(named)).rename({"policies": "responsible"})
    said = f"judged by the policies of the time: {judged} of {every} connections"
    left = [f"not judged when they were seen: {every - judged}; --by state judges them now"] if judged < every else []
    _write(rows, arguments.output, [said, *left])
    return True


def _form(asked: str | None) -> str:
    return asked or ("table" if sys.stdout.isatty() else "jsonl")


def _write(rows: pl.DataFrame, form: str | None, remarks: Sequence[str]) -> None:
    """The rows; the remarks with them in JSON, before them on standard error otherwise."""
    import json

    from . import output, policy_tables

    form = _form(form)
    rows = _readable(rows, flat=form not in {"json", "jsonl"})
    if form == "json":
        print(json.dumps({"record": list(remarks), "rows": json.loads(rows.write_json())}, indent=2))
        return
    for remark in remarks:
        print(remark, file=sys.stderr)
    output.write(policy_tables.narrow(rows) if form == "table" else rows, form)


def _readable(rows: pl.DataFrame, *, flat: bool) -> pl.DataFrame:
    """Protocols by name and times in seconds; with `flat`, lists of text as one text."""
    import polars as pl

    from ..attribution.flowfile import PROTOCOL_NUMBERS

    names = {str(number): name for name, number in PROTOCOL_NUMBERS.items()}
    columns = []
    for name, kind in rows.schema.items():
        if name == "protocol":
            columns.append(pl.col(name).cast(pl.String).replace(names))
        elif isinstance(kind, pl.Datetime):
            columns.append(pl.col(name).dt.to_string("%Y-%m-%dT%H:%M:%SZ"))
        elif flat and kind == pl.List(pl.String):
            columns.append(pl.col(name).list.join("; "))
    return rows.with_columns(columns)
