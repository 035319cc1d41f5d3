"""`flowatlas dashboards preview`: the dashboards as one page, without a Grafana."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..config import parse_address
from ..errors import ConfigError

if TYPE_CHECKING:
    from dashboards.preview import Preview

_UNITS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action."""
    command = actions.add_parser(
        "preview",
        help="draw the dashboards as one HTML page",
        description="Ask a Prometheus what each panel asks, with All chosen everywhere, and draw the dashboards in "
        "Grafana's grid into one HTML file that loads nothing and runs no script; or serve it, drawn anew at each "
        "reload. Needs no Grafana.",
        epilog="example: flowatlas dashboards preview --prometheus http://127.0.0.1:9090 --output dashboards.html",
    )
    command.add_argument(
        "--prometheus",
        metavar="URL",
        default="http://127.0.0.1:9090",
        help="what to ask (default: http://127.0.0.1:9090)",
    )
    command.add_argument(
        "--last", type=_seconds, default=900.0, metavar="DURATION", help="as 90s, 15m, 6h or 2d (default: 15m)"
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--output",
        type=Path,
        default=Path("flowatlas-dashboards.html"),
        metavar="FILE",
        help="default: flowatlas-dashboards.html",
    )
    where.add_argument("--serve", metavar="HOST:PORT", help="serve the page there until Ctrl-C, and write no file")
    command.set_defaults(run=_preview)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration as 90s, 15m, 6h or 2d")
    return int(match[1]) * _UNITS_S[match[2]]


def _preview(arguments: argparse.Namespace) -> int:
    from dashboards.build import documents
    from dashboards.preview import Preview
    from dashboards.prometheus import Prometheus, PrometheusError

    try:
        preview = Preview(documents(), Prometheus(arguments.prometheus), arguments.last)
        if arguments.serve:
            return _serve(preview, parse_address(arguments.serve, "--serve"))
        page = preview.render(time.time())
    except PrometheusError as error:
        print(f"flowatlas: no preview: {error}", file=sys.stderr)
        return 1
    try:
        arguments.output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output: {error}") from error
    print(f"{arguments.output.resolve().as_uri()}")
    return 0


def _serve(preview: Preview, address: tuple[str, int]) -> int:
    from dashboards.preview.serving import PreviewServer

    try:
        server = PreviewServer(address, preview)
    except OSError as error:
        raise ConfigError(f"--serve: {error}") from error
    with server:
        host, port = server.server_address[:2]
        print(f"http://{host!s}:{port}/ until Ctrl-C", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
