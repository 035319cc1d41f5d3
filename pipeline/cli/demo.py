"""`flowatlas demo`: find the checkout that holds the lab and run the demo from there."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from ..errors import ConfigError
from . import Subparsers

CHECKOUT = Path(__file__).resolve().parents[2]


def add(commands: Subparsers) -> None:
    """Add the sub-command; its options are the demo's own, so that they are described in one place."""
    command = commands.add_parser(
        "demo",
        help="the whole path on real traffic, checked against the truth",
        description="Bring up a miniature cluster on this machine, run collectors and the pipeline on its traffic, "
        "and compare what was counted with what the programs say they did. As root on Linux; otherwise a recording "
        "of the same is replayed. Runs from a checkout of the project.",
        add_help=False,
        prefix_chars="\0",
    )
    command.add_argument("options", nargs="*", help="see: flowatlas demo --help")
    command.set_defaults(run=run)


def own_parser() -> argparse.ArgumentParser | None:
    """The parser of the demo's own options; None where this is no checkout."""
    if not (CHECKOUT / "deploy" / "demo").is_dir():
        return None
    try:
        parser: argparse.ArgumentParser = import_module("deploy.demo.__main__").parser()
    except ImportError:  # started from elsewhere, or without what the demo needs
        return None
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Hand over to `python -m deploy.demo` in the checkout."""
    if not (CHECKOUT / "deploy" / "demo").is_dir():
        raise ConfigError("the demo runs from a checkout of the project: clone it and call `make demo` there")
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "deploy.demo", *arguments.options]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": path})  # noqa: S606 - our own interpreter
