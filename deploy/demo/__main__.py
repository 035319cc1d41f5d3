"""`flowatlas demo`: choose between the live run and the replay, print the outcome, exit by it."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from pipeline.cli.command_parser import CommandParser, suggestion

from .misdeeds import TROUBLES
from .processes import CHECKOUT, DemoError

if TYPE_CHECKING:
    from .running import Options

DAY_S: Final = 86_400


def main() -> int:
    """Run the demo; 0 where everything agrees with the truth, 1 where not, 2 where it could not run."""
    arguments = parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    output: Path = arguments.output.resolve()
    try:
        if arguments.misdeed:
            return _misbehave(arguments, output)
        _clear(output)
        outcome = _live(arguments, output) if _may_run_live(arguments) else _replay(output)
    except DemoError as error:
        print(f"flowatlas demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if outcome else 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C ends: children stopped, the lab taken down."""
    raise KeyboardInterrupt


def parser() -> CommandParser:
    """The demo's own options."""
    whole = CommandParser(
        prog="flowatlas demo",
        description="Bring up a miniature cluster on this machine, run collectors and the pipeline on its traffic, and "
        "compare what was counted with what the programs say they did. Without root, replay a recording of the same.",
        epilog="examples: flowatlas demo --duration 60; flowatlas demo --misdeed dns-broken,skew; "
        "flowatlas demo --keep; flowatlas demo --replay --output first-look",
    )
    whole.add_argument("--duration", type=_duration, default=30.0, metavar="SECONDS", help="of traffic (default: 30)")
    whole.add_argument("--keep", action="store_true", help="stay up afterwards, with traffic, until Ctrl-C")
    whole.add_argument("--bus", metavar="URL", help="kafka://HOST:PORT instead of the embedded file:// bus")
    whole.add_argument(
        "--enforce",
        choices=("nftables", "none"),
        default="nftables",
        help="enforce the NetworkPolicies (default) or not",
    )
    whole.add_argument(
        "--source",
        choices=("auto", "ebpf", "conntrack", "packets"),
        default="auto",
        help="where the collectors have flows from (default: the best that works here)",
    )
    whole.add_argument(
        "--output", type=Path, default=CHECKOUT / "demo-output", metavar="DIR", help="default: demo-output/ here"
    )
    whole.add_argument(
        "--misdeed",
        type=_misdeeds,
        metavar="NAME[,NAME]",
        help="let things go wrong, and show which alert, panel and finding tells of it; `all`, or one or more of: "
        + ", ".join(TROUBLES),
    )
    whole.add_argument("--replay", action="store_true", help="replay the recording even as root")
    return whole


def _misdeeds(text: str) -> list[str]:
    names = list(TROUBLES) if text == "all" else [name for name in text.split(",") if name]
    for name in names:
        if name not in TROUBLES:
            raise argparse.ArgumentTypeError(f"there is no {name!r}{suggestion(name, TROUBLES)}")
    return names


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= DAY_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1 and {DAY_S} seconds")
    return seconds


def _misbehave(arguments: argparse.Namespace, output: Path) -> int:
    """Run with misdeeds; 0 where all are noticed."""
    from .trouble import run

    if arguments.replay or not _may_run_live(arguments):
        raise DemoError("--misdeed: the recording holds none; it needs the lab, as root on Linux")
    _clear(output)
    return 0 if all(notice.ok for notice in run(_options(arguments, output), arguments.misdeed)) else 1


def _may_run_live(arguments: argparse.Namespace) -> bool:
    if arguments.replay:
        return False
    if os.geteuid() != 0 or sys.platform != "linux":
        print("Not root on Linux: replaying what the lab recorded, instead of bringing the lab up.")
        return False
    from deploy.lab.needs import missing

    lacking = missing()
    if lacking:
        print("The lab cannot come up here, so what it recorded is replayed:", *lacking, sep="\n  ")
    return not lacking


def _live(arguments: argparse.Namespace, output: Path) -> bool:
    from .live import run

    options = _options(arguments, output)
    outcome = run(options)
    if not options.keep:
        outcome.print(output)
    return outcome.ok


def _options(arguments: argparse.Namespace, output: Path) -> Options:
    from .running import Options

    return Options(
        output=output,
        duration_s=arguments.duration,
        bus=arguments.bus,
        enforce=arguments.enforce,
        source=arguments.source,
        keep=arguments.keep,
    )


def _replay(output: Path) -> bool:
    from .replay import run

    outcome = run(output)
    outcome.print(output)
    return outcome.ok


def _clear(output: Path) -> None:
    """Remove what an earlier demo left in its output folder, and nothing that is not a demo's."""
    marker = output / ".flowatlas-demo"
    try:
        if output.exists() and any(output.iterdir()) and not marker.exists():
            raise DemoError(f"{output} is not empty and not of an earlier demo; choose another --output")
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        marker.touch()
    except OSError as error:
        raise DemoError(f"--output: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
