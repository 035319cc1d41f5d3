"""`flowatlas rules`: write the Prometheus alert rules, or check them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import Subparsers


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "rules",
        help="build or check the Prometheus alert rules",
        description="`build` writes the alerts as a rule file that Prometheus loads (`rule_files`). `check` proves "
        "that every alert's expression parses, names only metrics and labels that Flowatlas exposes, and that its "
        "annotations are there and tell only labels that its result has. Exit code 1 where something is found.",
        epilog="example: flowatlas rules build --out /etc/prometheus/flowatlas.yaml",
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="write the rule file")
    build.add_argument(
        "--out", type=Path, metavar="FILE", help="default: the package's own dashboards/generated/alerts.yaml"
    )
    build.set_defaults(run=_build)
    check = actions.add_parser("check", help="check a rule file")
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help="default: as for build")
    check.set_defaults(run=_check)


def _build(arguments: argparse.Namespace) -> int:
    from dashboards.rules import RULES, build

    print(build(arguments.out or RULES))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from dashboards.rules import RULES, check

    findings = check(arguments.file or RULES)
    for finding in findings:
        print(finding, file=sys.stderr)
    print(f"{len(findings)} findings" if findings else "all alerts are right")
    return 1 if findings else 0
