"""Flags that pick flows, alike for `observe` and `top`: one for each kind of `pipeline.flowfilter`, and `--not`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..conditions import KINDS, Condition
from ..errors import ConfigError

GRAMMAR = (
    "A flag given twice asks for either value; different flags all hold; --not before a flag leaves out what it "
    "matches."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """One flag a kind; the conditions are gathered in `conditions`."""
    group = command.add_argument_group("which flows", GRAMMAR)
    command.set_defaults(conditions=[], is_negated=False)
    group.add_argument("--not", action=_Negate, nargs=0, dest="is_negated", help="leave out what the next flag matches")
    for name, kind in KINDS.items():
        flags = ("-n", f"--{name}") if name == "namespace" else (f"--{name}",)
        group.add_argument(
            *flags,
            action=_Gather,
            dest="conditions",
            metavar=kind.metavar,
            help=kind.help,
            choices=tuple(kind.values) or None,
        )


def check(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for a `--not` after which no condition came."""
    if arguments.is_negated:
        raise ConfigError("--not: it goes before the flag whose flows are left out, and none follows")


class _Negate(argparse.Action):
    def __call__(self, parser: Any, namespace: argparse.Namespace, *_: Any) -> None:
        """Remember for the next condition."""
        namespace.is_negated = True


class _Gather(argparse.Action):
    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: str | Sequence[Any] | None, option: str | None = None
    ) -> None:
        """Add a condition. The parser refuses a value that cannot be meant."""
        from ..flowfilter import matching

        kind = "namespace" if option == "-n" else (option or "").removeprefix("--")
        condition = Condition(kind, str(values), namespace.is_negated)
        try:
            matching([condition])
        except ConfigError as error:
            raise argparse.ArgumentError(self, str(error).partition(": ")[2]) from None
        namespace.conditions = [*namespace.conditions, condition]
        namespace.is_negated = False
