"""`flowatlas dashboards`: write the Grafana dashboards, check them, or draw them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import Subparsers, dashboards_preview
from .terminal import counted


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "dashboards",
        help="build, check or draw the Grafana dashboards",
        description="`build` writes the dashboards as JSON that Grafana imports. `check` proves that every panel's "
        "query parses, names only metrics and labels that Flowatlas exposes, and has a unit, a title and a "
        "description; with --prometheus also that it returns data there. Exit code 1 where something is found. "
        "`preview` draws them without a Grafana.",
        epilog="example: flowatlas dashboards check --prometheus http://127.0.0.1:9090",
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build", help="write the JSON files", epilog="example: flowatlas dashboards build --out dashboards"
    )
    build.add_argument("--out", type=Path, metavar="DIR", help="default: the package's own dashboards/generated")
    build.set_defaults(run=_build)
    check = actions.add_parser(
        "check",
        help="check the JSON files",
        epilog="example: flowatlas dashboards check --prometheus http://127.0.0.1:9090",
    )
    check.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="default: as for build")
    check.add_argument("--prometheus", metavar="URL", help="ask every query there too")
    check.set_defaults(run=_check)
    dashboards_preview.add(actions)


def _build(arguments: argparse.Namespace) -> int:
    from dashboards import cluster
    from dashboards.build import GENERATED, build

    folder = arguments.out or GENERATED
    for path in (*build(folder), *cluster.write(folder)):
        print(path)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from dashboards.check import check

    findings = check(arguments.folder, arguments.prometheus)
    for finding in findings:
        print(finding, file=sys.stderr)
    print(counted(len(findings), "finding") if findings else "all dashboards are right")
    return 1 if findings else 0
