"""`flowatlas rules`: write the Prometheus rules (alerts, recordings, shims), or check them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import Subparsers
from .terminal import counted


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "rules",
        help="build or check the Prometheus rules",
        description="`build` writes the alerts, with the recordings that they read, as a rule file that Prometheus "
        "loads (`rule_files`), and beside it `shims.yaml`, which gives series the names that NetObserv and Hubble "
        "have; load that where dashboards want them. `check` proves that every rule's expression parses, names only "
        "metrics and labels that Flowatlas exposes, and that alerts' annotations are there and tell only labels that "
        "the result has. Exit code 1 where something is found.",
        epilog="example: flowatlas rules build --out /etc/prometheus/flowatlas.yaml",
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        help="write the rule files",
        epilog="example: flowatlas rules build --out /etc/prometheus/flowatlas.yaml",
    )
    build.add_argument(
        "--out", type=Path, metavar="FILE", help="default: the package's own dashboards/generated/alerts.yaml"
    )
    build.set_defaults(run=_build)
    check = actions.add_parser(
        "check", help="check a rule file", epilog="example: flowatlas rules check /etc/prometheus/flowatlas.yaml"
    )
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help="default: as for build")
    check.set_defaults(run=_check)


def _build(arguments: argparse.Namespace) -> int:
    from dashboards import cluster
    from dashboards.rules import RULES, build

    for path in build(arguments.out or RULES):
        print(path)
    if arguments.out is None:
        cluster.write(RULES.parent)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from dashboards.rules import RULES, check

    findings = check(arguments.file or RULES)
    for finding in findings:
        print(finding, file=sys.stderr)
    print(counted(len(findings), "finding") if findings else "all rules are right")
    return 1 if findings else 0
