"""`python -m deploy.lab`: bring the lab up and keep it, drive traffic, say how to look around in it."""

from __future__ import annotations

import argparse
import collections
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from . import needs
from .cluster import Lab
from .files import FilesError
from .namespaces import NamespaceError

DEFAULT_FOLDER = Path("/run/flowatlas-lab")  # root alone can write there, unlike the usual folder for temporary files


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 fine, 1 the lab failed, 2 something that it needs is missing."""
    parser = argparse.ArgumentParser(prog="python -m deploy.lab", description="A miniature Kubernetes cluster.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="say what the lab needs and does not find")
    up = commands.add_parser("up", help="bring the lab up, until interrupted")
    up.add_argument(
        "--enforce", choices=("nftables", "none"), default="nftables", help="enforce NetworkPolicies or not"
    )
    up.add_argument("--duration", type=float, metavar="S", help="drive traffic for S seconds, then leave")
    up.add_argument("--dir", type=Path, default=DEFAULT_FOLDER, help="folder for files (%(default)s)")
    options = parser.parse_args(arguments)
    if missing := needs.missing():
        print("\n".join(missing), file=sys.stderr)
        return 2
    if options.command == "check":
        print("everything that the lab needs is here")
        return 0
    return _up(options.dir, options.enforce, options.duration)


def _up(folder: Path, enforce: str, duration_s: float | None) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Lab(folder, enforce="none" if enforce == "none" else "nftables") as lab:
            _introduce(lab)
            if duration_s is None:
                print("up; interrupt to take it down")
                while True:  # bounded waits: a signal just before an unbounded one would be noticed too late
                    time.sleep(0.5)
            else:
                lab.traffic(duration_s, _progress)
                _summarise(lab, folder)
    except KeyboardInterrupt:
        print("\ntaken down")
    except (FilesError, NamespaceError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _progress(elapsed_s: float, connections: int) -> None:
    print(f"\r{elapsed_s:5.0f} s  {connections} connections", end="", flush=True)


def _introduce(lab: Lab) -> None:
    for node in lab.nodes:
        print(f"{node.name:<6}", _shell(node.pid))
    for (namespace, name), pod in lab.pods.items():
        print(f"{pod.node:<6} {pod.ip:<12} {namespace}/{name}:", _shell(pod.pid))
    print("outside:", _shell(lab.outside.pid))


def _shell(pid: int) -> str:
    return f"nsenter --target {pid} --net --uts --mount --pid"


def _summarise(lab: Lab, folder: Path) -> None:
    rows = lab.truth()
    print()
    for (scenario, outcome), count in sorted(collections.Counter((r["scenario"], r["outcome"]) for r in rows).items()):
        print(f"{count:5}  {scenario}, {outcome}")
    print(f"{len(rows)} connections in {folder / 'truth.jsonl'}")


if __name__ == "__main__":
    sys.exit(main())
