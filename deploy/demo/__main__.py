"""`flowatlas demo`: choose between the live run and the replay, print the outcome, exit by it."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType

from .processes import CHECKOUT, DemoError


def main() -> int:
    """Run the demo; 0 where everything agrees with the truth, 1 where not, 2 where it could not run."""
    arguments = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    output: Path = arguments.output.resolve()
    try:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowatlas demo",
        description="Bring up a miniature cluster on this machine, run collectors and the pipeline on its traffic, and "
        "compare what was counted with what the programs say they did. Without root, replay a recording of the same.",
    )
    parser.add_argument("--duration", type=float, default=30.0, metavar="SECONDS", help="of traffic (default: 30)")
    parser.add_argument("--keep", action="store_true", help="stay up afterwards, with traffic, until Ctrl-C")
    parser.add_argument("--bus", metavar="URL", help="kafka://HOST:PORT instead of the embedded file:// bus")
    parser.add_argument(
        "--enforce",
        choices=("nftables", "none"),
        default="nftables",
        help="enforce the NetworkPolicies (default) or not",
    )
    parser.add_argument(
        "--source",
        choices=("auto", "ebpf", "conntrack", "packets"),
        default="auto",
        help="where the collectors have flows from (default: the best that works here)",
    )
    parser.add_argument(
        "--output", type=Path, default=CHECKOUT / "demo-output", metavar="DIR", help="default: demo-output/ here"
    )
    parser.add_argument("--replay", action="store_true", help="replay the recording even as root")
    return parser


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
    from .live import Options, run

    options = Options(
        output=output,
        duration_s=arguments.duration,
        bus=arguments.bus,
        enforce=arguments.enforce,
        source=arguments.source,
        keep=arguments.keep,
    )
    outcome = run(options)
    if not options.keep:
        outcome.print(output)
    return outcome.ok


def _replay(output: Path) -> bool:
    from .replay import run

    outcome = run(output)
    outcome.print(output)
    return outcome.ok


def _clear(output: Path) -> None:
    """Remove what an earlier demo left in its output folder, and nothing that is not a demo's."""
    marker = output / ".flowatlas-demo"
    if output.exists() and any(output.iterdir()) and not marker.exists():
        raise DemoError(f"{output} is not empty and not of an earlier demo; choose another --output")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    marker.touch()


if __name__ == "__main__":
    sys.exit(main())
