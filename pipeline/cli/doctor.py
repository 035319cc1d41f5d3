"""`flowatlas doctor`: the classic questions to a cluster's network, each answer with evidence and the next command."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from . import Subparsers, cluster_state
from .arguments import add_findings_output, add_lake, add_since
from .command_parser import meant
from .following import DEFAULT_SERVER
from .progress import progress

if TYPE_CHECKING:
    import polars as pl

    from ..diagnosis.checks import Diagnosis
    from ..diagnosis.evidence import Cluster, Evidence, Name, Source
    from ..diagnosis.scrape import Scrape
    from ..inventory.models import Resource

_LAKE_SPAN: Final = timedelta(hours=1)
_FLAGS: Final[Mapping[Source, str]] = {"state": "--state", "history": "--lake", "metrics": "--server"}


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "doctor",
        help="what is the matter: Services, ports, routes, DNS, policies, nodes",
        description="Look for what goes wrong in clusters: Services without ready endpoints, target ports that pods "
        "do not have, load balancers without an address, routes to nowhere, Service addresses that a node does not "
        "translate, uneven Services, DNS that fails or is passed by, scans, denials, MTUs that do not fit, "
        "interfaces that drop packets, traffic that is not seen. Each finding has its evidence and the next command. "
        "It reads what it is given: the objects, the history, a pipeline's metrics; "
        "what it could not look for is said. Exit code 1 where something is broken.",
        epilog="examples: flowatlas doctor --state state.yaml --lake lake; "
        "flowatlas doctor --state state.yaml --lake lake --pod shop/web-1; "
        "flowatlas doctor --state bus --bus file:///var/lib/flowatlas/bus --service shop/postgres -o json",
    )
    cluster_state.add_state(command, required=False)
    add_lake(command)
    add_since(command, "its last hour")
    command.add_argument(
        "--server", metavar="URL", help=f"a running pipeline (default: {DEFAULT_SERVER}, where it answers)"
    )
    command.add_argument("--pod", type=_name, metavar="NS/POD", help="only what concerns this pod, and its policies")
    command.add_argument("--service", type=_name, metavar="NS/SERVICE", help="only what concerns this Service")
    add_findings_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 where one of them is an error."""
    from ..diagnosis.checks import diagnose

    evidence = _evidence(arguments)
    with progress("looking"):
        diagnosis = diagnose(evidence)
    if arguments.output == "json":
        print(json.dumps(_document(diagnosis), indent=2))
    else:
        _print(diagnosis, _wanting(arguments))
    return 1 if any(finding.severity == "error" for finding in diagnosis.findings) else 0


def _evidence(arguments: argparse.Namespace) -> Evidence:
    """All that the arguments name. Raises ConfigError where they name nothing, or what is not there."""
    from ..diagnosis.evidence import Cluster, Evidence

    known: set[Source] = set()
    parts: dict[str, Cluster | pl.LazyFrame | Scrape] = {}
    if arguments.state is not None:
        parts["cluster"] = cluster = Cluster(_objects(arguments))
        _there(arguments, cluster)
        known.add("state")
    elif arguments.bus is not None or arguments.pod is not None or arguments.service is not None:
        raise ConfigError("--state: it is wanted with --bus, --pod and --service")
    if arguments.lake is not None:
        if (flows := _history(arguments.lake, arguments.since)) is not None:
            parts["flows"] = flows
            known.add("history")
    elif arguments.since is not None:
        raise ConfigError("--since: of --lake only")
    metrics = _metrics(arguments.server)
    if metrics is not None:
        parts["scrape"] = metrics
        known.add("metrics")
    if not known:
        raise ConfigError(
            f"give --state, --lake or --server: no pipeline answers at {DEFAULT_SERVER}; {cluster_state.DUMP}"
        )
    asked = {"pod": arguments.pod, "service": arguments.service, "state": _state_words(arguments)}
    asked["lake"] = str(arguments.lake or "lake")
    return Evidence(frozenset(known), **parts, **asked)  # type: ignore[arg-type]  # each by its own key


def _objects(arguments: argparse.Namespace) -> Sequence[Resource]:
    from ..inventory.spans import END

    return cluster_state.load(arguments).as_of(END)[0]


def _state_words(arguments: argparse.Namespace) -> str:
    """Where the objects are from, as the next command names it."""
    if arguments.state is None:
        return "state.yaml"
    return f"{arguments.state}" + (f" --bus {arguments.bus}" if arguments.bus else "")


def _there(arguments: argparse.Namespace, cluster: Cluster) -> None:
    """Raise ConfigError where the pod or Service that is asked about does not exist."""
    if arguments.service is not None and arguments.service not in cluster.services:
        raise ConfigError(_missing("--service", arguments.service, cluster.services))
    pods = [(namespace, pod.metadata.name) for namespace, found in cluster.pods.items() for pod in found]
    if arguments.pod is not None and arguments.pod not in pods:
        raise ConfigError(_missing("--pod", arguments.pod, pods))


def _missing(flag: str, name: Name, there: Iterable[Name]) -> str:
    written = "/".join(name)
    return f"{flag}: the state has no {written}{meant(written, map('/'.join, there))}"


def _history(lake: str, since: datetime | None) -> pl.LazyFrame | None:
    """The flows since then, or of the last hour; None where there are none: nothing could be found among them."""
    from ..query import newest_time, scan_flows

    newest = newest_time(lake, datetime.now(UTC), since)
    return scan_flows(lake, since or newest - _LAKE_SPAN) if newest is not None else None


def _metrics(server: str | None) -> Scrape | None:
    """The pipeline's metrics; None where nobody said where, and none answers where it is by default."""
    from ..diagnosis.checks import NAMES
    from .metrics_page import scrape

    try:
        return scrape(server or DEFAULT_SERVER, NAMES)
    except ConfigError:
        if server is not None:
            raise
        return None


def _document(diagnosis: Diagnosis) -> dict[str, object]:
    return {
        "findings": [dataclasses.asdict(finding) for finding in diagnosis.findings],
        "looked_for": diagnosis.looked_for,
        "not_looked_for": [{"what": what, "lacks": lacks} for what, lacks in diagnosis.not_looked_for],
    }


def _wanting(arguments: argparse.Namespace) -> Mapping[Source, str]:
    """What a check lacks, by the source that it lacks."""
    if arguments.lake is None:
        return _FLAGS
    since = f" since {arguments.since:%Y-%m-%d %H:%M:%S} UTC" if arguments.since else ""
    return {**_FLAGS, "history": f"a flow in {arguments.lake}{since}"}


def _print(diagnosis: Diagnosis, wanting: Mapping[Source, str]) -> None:
    from collections import Counter

    from .finding_lines import lines
    from .terminal import counted, wrapped

    for line in lines(diagnosis.findings):
        print(line)
    counts = Counter(finding.severity for finding in diagnosis.findings)
    told = ", ".join(counted(count, severity) for severity, count in counts.items())
    print(f"{counted(len(diagnosis.looked_for), 'check')} ran: {told or 'nothing found'}")
    lacking: dict[str, list[str]] = {}
    for what, sources in diagnosis.not_looked_for:
        lacking.setdefault(" and ".join(wanting[source] for source in sources), []).append(what)
    for flags, checks in lacking.items():
        print(wrapped(f"not looked for without {flags}: {'; '.join(checks)}"))


def _name(text: str) -> Name:
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAMESPACE/NAME")
    return namespace, name
