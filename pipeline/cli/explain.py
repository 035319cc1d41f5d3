"""`flowatlas explain`: one connection, every look-up and every policy in the order in which they are asked."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from . import Subparsers
from .arguments import moment
from .cluster_state import add_state, load
from .places import add_geo, places

if TYPE_CHECKING:
    from ..inventory.snapshot import Snapshot
    from ..policy.evidence import Used
    from ..policy.explanation import Dialled, Explanation, Judged
    from ..policy.walk import PolicyStep, RuleStep, SideWalk


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "explain",
        help="why a connection is attributed as it is, and which policies allow or deny it",
        description="Walk one connection through every look-up, with the objects that answered, and through every "
        "tier, policy and rule, with the part that missed where a rule came near. A Service is explained for each of "
        "its backends.",
        epilog="example: flowatlas explain --state state.yaml --from shop/web-1 --to shop/postgres --port 5432",
    )
    add_state(command)
    command.add_argument("--from", dest="source", metavar="WHO", help="NAMESPACE/POD or an address")
    command.add_argument(
        "--to", metavar="WHOM", help="NAMESPACE/POD, NAMESPACE/SERVICE or an address; pod/... or service/... where both"
    )
    command.add_argument("--port", type=int, help="as dialled: a Service's own port")
    command.add_argument("--protocol", help="name or number (default: TCP)")
    command.add_argument(
        "--host", metavar="NAME", help="what it asked for by TLS or HTTP, which tells the route of several"
    )
    command.add_argument("--path", metavar="PATH", help="the HTTP path asked for, with --host")
    command.add_argument("--time", type=moment, metavar="WHEN", help="when it began (default: at the end of the state)")
    command.add_argument("--flows", type=Path, metavar="FILE", help="take the connection from a file of flows")
    command.add_argument("--row", type=int, metavar="N", help="which of the file's flows, counted from 1")
    add_geo(command)
    command.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: %(default)s")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain the connection on standard output."""
    from ..attribution.policies import compile_policies
    from ..policy.explanation import explain

    known = load(arguments)
    dialled = _dialled(arguments, known.snapshot)
    objects, epochs = known.as_of(dialled.at)
    policies = compile_policies(objects, known.snapshot)
    explanation = explain(objects, known.snapshot, policies, dialled, epochs)
    if arguments.geo:
        explanation = _with_places(explanation, arguments.geo, dialled, known.snapshot)
    if arguments.output == "json":
        print(json.dumps(dataclasses.asdict(explanation), indent=2))
    else:
        print("\n".join(lines(explanation)))
    return 1 if known.refused else 0


def _dialled(arguments: argparse.Namespace, cluster: Snapshot) -> Dialled:
    """The connection that is asked about. Raises ConfigError where it is not told, or told twice."""
    import polars as pl

    from ..attribution import flowfile
    from ..attribution.offline import NOW
    from ..policy.explanation import Dialled
    from ..policy.naming import addresses_of
    from . import flow_input

    at = NOW if arguments.time is None else int(arguments.time.timestamp() * 1_000_000_000)
    named = (arguments.source, arguments.to, arguments.port, arguments.protocol, arguments.host, arguments.path)
    if arguments.flows is not None:
        if any(value is not None for value in named) or arguments.row is None:
            raise ConfigError(
                "--flows: give --row with it, and none of --from, --to, --port, --protocol, --host, --path"
            )
        read = flow_input.read(arguments.flows)
        if not 1 <= arguments.row <= read.rows.height:
            raise ConfigError(f"--row: {arguments.flows} has rows 1 to {read.rows.height}")
        row = read.rows.row(arguments.row - 1, named=True)
        number = flowfile.protocol_numbers(pl.Series([row["protocol"]]))[0]
        if arguments.time is None and row.get("time") is not None:
            at = flowfile.instants(read.rows["time"].slice(arguments.row - 1, 1))[0]
        head = {name: row.get(name) or "" for name in flowfile.HEAD}
        return Dialled(row["src_ip"], row["dst_ip"], row["dst_port"], number, at, **head)
    if any(value is None for value in named[:3]):
        raise ConfigError("give --from, --to and --port, or --flows and --row")
    if not 0 <= arguments.port <= 65535:
        raise ConfigError(f"--port: {arguments.port} is no port")
    protocol = flowfile.protocol_numbers(pl.Series([arguments.protocol or "TCP"]))[0]
    if protocol is None:
        raise ConfigError(f"--protocol: {arguments.protocol} is no protocol's name or number")
    sources = addresses_of(cluster, arguments.source, "--from", at)
    targets = addresses_of(cluster, arguments.to, "--to", at)
    pairs = [(src, dst) for dst in targets for src in sources if (":" in src) == (":" in dst)]
    if not pairs:
        raise ConfigError("--from, --to: they have no address of one family")
    if arguments.path is not None and arguments.host is None:
        raise ConfigError("--path: give --host with it")
    return Dialled(*pairs[0], arguments.port, protocol, at, arguments.host or "", arguments.path or "")


def _with_places(explanation: Explanation, files: Sequence[Path], dialled: Dialled, cluster: Snapshot) -> Explanation:
    """The explanation, and what MaxMind databases tell of the ends beyond the cluster."""
    import polars as pl

    from ..policy.look_ups import LookUp

    asked = {"src_ip": dialled.src_ip, "dst_ip": dialled.dst_ip, "dst_port": dialled.port, "protocol": dialled.protocol}
    told = [LookUp(*place) for place in places(files, pl.DataFrame([asked]), cluster)]
    return dataclasses.replace(explanation, look_ups=[*explanation.look_ups, *told])


def lines(explanation: Explanation) -> Iterator[str]:
    """The explanation as a person reads it."""
    yield "Look-ups"
    for look_up in explanation.look_ups:
        yield f"  {look_up.asked}: {look_up.answer}" + _since(look_up.since)
        for item in look_up.objects:
            yield f"    {_object(item)}"
    for judged in explanation.backends:
        yield ""
        yield from _backend(judged)
    yield ""
    yield f"Verdict: {explanation.verdict}"


def _object(item: Used) -> str:
    name = f"{item['namespace']}/{item['name']}" if item["namespace"] else item["name"]
    return ", ".join([f"{item['kind']} {name}", *_marks(item)])


def _marks(item: Used) -> list[str]:
    return [f"{key} {item[key]}" for key in ("uid", "version", "created") if item[key]]


def _since(instant: str) -> str:
    return f" [since {instant}]" if instant else ""


def _backend(judged: Judged) -> Iterator[str]:
    yield judged.connection
    if judged.alike:
        yield f"  and the same of: {'; '.join(judged.alike)}"
    for title, side in (("Egress of", judged.egress), ("Ingress of", judged.ingress)):
        yield f"  {title} {side.subject}"
        yield from _side(side)
        yield f"    so: {side.verdict}. {side.why[:1].upper()}{side.why[1:]}"


def _side(side: SideWalk) -> Iterator[str]:
    for step in side.steps:
        yield from _policy(step)
    if side.elsewhere:
        yield f"    policies of other namespaces, which cannot select it: {side.elsewhere}"


def _policy(step: PolicyStep) -> Iterator[str]:
    name = f"{step.kind} {f'{step.namespace}/' if step.namespace else ''}{step.name}"
    tier = f"{step.tier} tier: " if step.tier and step.tier != step.kind else ""
    if not step.selects.met:
        yield f"    {tier}{name} does not select it: {step.selects.why}"
        return
    effect = f" -> {step.effect}" if step.effect else " -> has no say"
    yield f"    {tier}{name} selects it ({step.selects.why}){effect}" + _since(step.since)
    for marks in filter(None, map(_marks, step.objects)):
        yield f"      as of {', '.join(marks)}"
    if not step.rules and step.effect != "not judged":
        yield "      it has no rules in this direction"
    for rule in step.rules:
        yield f"      {_rule(rule)}"


def _rule(rule: RuleStep) -> str:
    from ..policy.walk import came_near

    if rule.met:
        said = f"matches; peer: {rule.peer.why}; port: {rule.port.why}"
    else:
        said = came_near(rule) or f"neither fits; peer: {rule.peer.why}; port: {rule.port.why}"
    return f"rule {rule.label} ({rule.action}): {said}"
