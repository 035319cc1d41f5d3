"""`flowatlas keys`: the keys by which a node's batches are known to be its own."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

from ..errors import ConfigError
from . import Subparsers


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "keys",
        help="make the keys that nodes sign their batches with",
        description="Without NODE a new root key, for pipeline.root_key. With NODE that node's own key, for its "
        "collector.node_key: derived of the first root key of the file, so that the same comes out each time.",
        epilog="examples: flowatlas keys > root.key; flowatlas keys --root root.key worker-1 > node.key",
    )
    command.add_argument("node", nargs="?", metavar="NODE", help="the node's name in the cluster")
    command.add_argument("--root", type=Path, metavar="FILE", help="the root key, which only the pipeline may have")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one key."""
    from collector.nodekeys import KEY_BYTES, KeyFile, derived
    from collector.schema import NODE_NAME

    from ..nodekeys import MOST_ROOTS

    if arguments.node is None and arguments.root is None:
        print(secrets.token_hex(KEY_BYTES))
        return 0
    if arguments.node is None or arguments.root is None:
        raise ConfigError("NODE and --root: a node's key wants both, a new root key neither")
    if not NODE_NAME.match(arguments.node):
        raise ConfigError(f"NODE: {arguments.node!r} is not an RFC 1123 name (lower case letters, digits, - and .)")
    print(derived(KeyFile(arguments.root, "--root", MOST_ROOTS).keys()[0], arguments.node).hex())
    return 0
