"""`flowatlas completion`: a script by which bash, zsh or fish completes the command line, made from its parsers."""

from __future__ import annotations

import argparse

from . import Subparsers, demo
from .shells import SHELLS


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "completion",
        help="a script that completes this command line in a shell",
        description="Write the script for a shell: commands, flags, the values of flags that have a fixed set, and "
        "files. It is made from this version's commands, so write it again after an upgrade.",
        epilog="examples: flowatlas completion bash > /etc/bash_completion.d/flowatlas; "
        "flowatlas completion zsh > ~/.zfunc/_flowatlas; "
        "flowatlas completion fish > ~/.config/fish/completions/flowatlas.fish",
    )
    command.add_argument("shell", choices=tuple(SHELLS))
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from .main import parser

    print(SHELLS[arguments.shell](with_demo(parser())), end="")
    return 0


def with_demo(whole: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser with the demo's own options in place of what the demo is handed unread."""
    own = demo.own_parser()
    for action in whole._actions:
        if own is not None and isinstance(action, argparse._SubParsersAction):
            action.choices["demo"] = own
    return whole
