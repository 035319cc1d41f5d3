"""`flowatlas policy suggest`: NetworkPolicies that let through what was recorded, and nothing else."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ..errors import ConfigError
from . import Subparsers, record
from .command_parser import meant
from .progress import progress
from .terminal import counted

if TYPE_CHECKING:
    from ..policy.replay import Replay
    from .record import Recorded


def add(questions: Subparsers) -> None:
    """Add the sub-command."""
    suggest = questions.add_parser(
        "suggest",
        help="NetworkPolicies that let through what was recorded, and nothing else",
        description="Write least-privilege NetworkPolicies for the workloads of namespaces, from recorded connections "
        "that were answered and that today's policies allow, as YAML with the evidence of each rule. They are judged "
        "against the record in place of the namespaces' own; the exit code is 1 where a recorded legitimate "
        "connection would be cut.",
        epilog="example: flowatlas policy suggest --state state.yaml --lake lake --since 30d -n shop > shop.yaml",
    )
    record.add_arguments(suggest)
    suggest.add_argument(
        "-n", "--namespace", action="append", required=True, metavar="NAMESPACE", help="may be repeated"
    )
    suggest.add_argument("--workload", metavar="NAME", help="this workload of the namespaces alone")
    suggest.add_argument(
        "--include",
        action="append",
        default=[],
        choices=("denied", "refused", "no_reply", "no_reply/udp"),
        help="count these as legitimate too: what today's policies deny, attempts that were refused or never "
        "answered, or only datagrams that were never answered; may be repeated",
    )
    suggest.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="NAMESPACE/WORKLOAD",
        help="a workload whose connections are not legitimate; may be repeated",
    )
    suggest.add_argument("--deny-all", action="store_true", help="a policy that isolates every other pod as well")
    suggest.set_defaults(run=_suggest)


def _suggest(arguments: argparse.Namespace) -> int:
    from ..attribution.policies import compile_policies
    from ..inventory.ranges import cluster_ranges
    from ..policy import behind, legitimate, manifest, replay, suggestion

    recorded = record.load(arguments)
    snapshot = recorded.snapshot
    known = suggestion.namespaces_with_pods(snapshot)
    for namespace in arguments.namespace:
        if namespace not in known:
            raise ConfigError(
                f"--namespace: {namespace} has no pods that policies can select; known: {', '.join(known)}"
            )
    _check_workloads(arguments, recorded)
    more = [manifest.deny_all(namespace) for namespace in sorted(set(arguments.namespace)) if arguments.deny_all]
    with progress("writing policies and replaying the record under them"):
        policies = compile_policies(recorded.objects, snapshot)
        pairs = legitimate.sorted_out(recorded.judged.pairs, policies, arguments.include, arguments.exclude)
        whole = behind.with_others_behind(pairs, snapshot, policies, arguments.include, arguments.exclude)
        ranges = cluster_ranges(recorded.objects, ())
        suggested = [
            policy
            for namespace in sorted(set(arguments.namespace))
            for policy in suggestion.suggest(snapshot, whole, namespace, arguments.workload, ranges)
        ]
        result = replay.replay(recorded.objects, snapshot, pairs, suggested, more)
    remarks = record.about(recorded)
    remarks += [
        f"not legitimate: {counted(row['connections'], 'connection')} of {counted(row['pairs'], 'pair')}, "
        f"{row['left_out']}"
        for row in legitimate.reasons(pairs).iter_rows(named=True)
    ]
    remarks.append(_checked(result))
    sys.stdout.write(manifest.rendered(suggested, remarks, more))
    for row in result.cut.iter_rows(named=True):
        who = (f"{row[f'{side}_namespace']}/{row[f'{side}_workload']}" for side in ("source", "destination"))
        print(f"flowatlas policy: would be cut: {' to '.join(who)}, port {row['port']}", file=sys.stderr)
    if not suggested:
        print("flowatlas policy: nothing legitimate is recorded of these workloads", file=sys.stderr)
    return 1 if result.cut.height or not suggested else 0


def _check_workloads(arguments: argparse.Namespace, recorded: Recorded) -> None:
    """Raise ConfigError for a workload that neither the state nor the record has: nothing would be ruled out by it."""
    from ..policy.ends import pods_now

    ends = [pods_now(recorded.snapshot).select("namespace", "workload")]
    ends += [
        recorded.judged.pairs.select(namespace=f"{side}_namespace", workload=f"{side}_workload")
        for side in ("source", "destination")
    ]
    known = {f"{namespace}/{workload}" for each in ends for namespace, workload in each.iter_rows()}
    for name in arguments.exclude:
        if name not in known:
            raise ConfigError(f"--exclude: neither the state nor the record has {name}{meant(name, known)}")
    wanted = [f"{namespace}/{arguments.workload}" for namespace in arguments.namespace]
    if arguments.workload is not None and known.isdisjoint(wanted):
        raise ConfigError(f"--workload: neither the state nor the record has {wanted[0]}{meant(wanted[0], known)}")


def _checked(result: Replay) -> str:
    """What the replay found."""
    cut, stopped = int(result.cut["counted"].sum()), int(result.stopped["connections"].sum())
    still = int(result.denied_still["counted"].sum())
    return (
        f"replayed: {counted(cut, 'recorded legitimate connection')} cut, {result.passed} let through; "
        + (f"{still} denied as before, by policies that this replaces none of; " if still else "")
        + f"{counted(stopped, 'other')} newly denied"
    )
