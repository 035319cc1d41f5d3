"""Entry point: parse the command line, run one sub-command, turn errors into exit codes.

Exit codes: 0 fine, 1 the check failed, 2 wrong use or input, or an output that cannot be written; and as of other
programs 130 after Ctrl-C, 141 where whoever reads the output left before its end, for then nobody knows what was asked.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Final, cast

from collector.errors import ConfigError as CollectorConfigError

from ..errors import ConfigError, PermanentError, TransientError
from . import (
    attribute,
    collect,
    completion,
    configuration,
    dashboards,
    demo,
    doctor,
    explain,
    flows,
    keys,
    lake,
    metrics,
    observe,
    policy,
    quarantine,
    rules,
    serve,
    status,
    top,
    topics,
    watch,
)
from .command_parser import CommandParser
from .logs import start_log
from .terminal import one_line

SERVICES: Final = ("collect", "watch", "pipeline", "demo")
"""Commands that go on until they are stopped."""
log: Final = logging.getLogger(__name__)
_GONE: Final = (
    "the care of a history may have merged and deleted it since this command began: then it has an answer when it is "
    "asked again; if not, `flowatlas lake info` says what it lacks"
)
_DAMAGED: Final = "`flowatlas lake info` names files of a history that are cut short"
_READER_LEFT: Final = 128 + signal.SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `flowatlas` command with `argv` (default: the process's own) and return its exit code."""
    _fill_gaps()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal of few letters has no arrow, and somebody's path has one
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _give_up_output()
        return _READER_LEFT
    except OSError as error:
        log.debug("what the system refused", exc_info=True)
        print(f"flowatlas: {error}", file=sys.stderr)
        _give_up_output()
        return 2
    except KeyboardInterrupt:
        return 130


def _run(argv: Sequence[str] | None) -> int:
    arguments = parser().parse_args(argv)
    start_log(arguments.log_level, is_service=arguments.command in SERVICES)
    run = cast("Callable[[argparse.Namespace], int]", arguments.run)
    try:
        return run(arguments)
    except (ConfigError, CollectorConfigError) as error:
        print(f"flowatlas {arguments.command}: {error}", file=sys.stderr)
        return 2
    except (TransientError, PermanentError) as error:
        print(f"flowatlas {arguments.command}: {one_line(str(error))}", file=sys.stderr)
        return 2
    except Exception as error:
        if not _is_of_a_damaged_file(error):
            raise
        log.debug("what could not be read", exc_info=True)
        told = _GONE if isinstance(error, FileNotFoundError) else _DAMAGED
        print(f"flowatlas {arguments.command}: {one_line(str(error))}; {told}", file=sys.stderr)
        return 2


def _fill_gaps() -> None:
    """Take the places of streams that were closed before we began, before a file of ours gets one of their numbers:
    what is written to such an output is refused as by one that is full, and nobody hears of errors."""
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _is_of_a_damaged_file(error: Exception) -> bool:
    """Whether it is what Polars says of Parquet that is none, or not there: a history is read when it is asked."""
    polars = sys.modules.get("polars")
    if polars is None or "parquet" not in str(error).lower():
        return False
    return isinstance(error, (polars.exceptions.ComputeError, FileNotFoundError))


def _give_up_output() -> None:
    """Let go of what could not be written: when the process ends it would be tried again, in vain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """The whole command line; building it imports nothing heavy."""
    whole = CommandParser(
        prog="flowatlas",
        description="Who talks to whom in a cluster, through which Service: flows and interface counters from the "
        "nodes' kernels, attributed, counted once, as Prometheus metrics and Grafana dashboards.",
        epilog="examples: flowatlas demo; flowatlas COMMAND --help",
    )
    whole.add_argument("--version", action="version", version=f"flowatlas {metadata.version('flowatlas')}")
    whole.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="default: %(default)s"
    )
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (
        collect,
        watch,
        serve,
        observe,
        top,
        flows,
        attribute,
        explain,
        policy,
        doctor,
        status,
        metrics,
        lake,
        dashboards,
        rules,
        configuration,
        topics,
        keys,
        quarantine,
        demo,
        completion,
    ):
        module.add(commands)
    return whole


if __name__ == "__main__":
    sys.exit(main())
