"""`flowatlas flows`: the one-way flows of a capture file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import Subparsers
from .arguments import add_output
from .progress import progress

if TYPE_CHECKING:
    import polars as pl

    from collector.packets.flows import Flows
    from collector.sources.pcap import Contents

WORDS: Final[Mapping[str | None, str]] = {"six_in_four": "6in4", "four_in_six": "4in6", "six_in_six": "6in6"}


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "flows",
        help="list the one-way flows of a pcap or pcapng file",
        description="Sum a capture's packets and bytes by addresses, ports and protocol, one row a direction, in the "
        "order in which the flows began. Bytes are those of the IP packets. Fragments are not put together: later "
        "ones count under ports 0. What is no flow is counted by reason on standard error. The exit code is 1 where "
        "the file is damaged or cut short, after the flows before that point.",
        epilog="Flows in tunnels have `tunnel` (vxlan, geneve, gre, ipip, ...), `vni` and `overhead_bytes`, which are "
        "the headers around them; those whose inside cannot be read have `opaque` (esp, wireguard). Columns that no "
        "flow has are left out. example: flowatlas flows --layer outer capture.pcap -o table",
    )
    command.add_argument("capture", type=Path, metavar="CAPTURE", help="pcap or pcapng, whatever its name ends in")
    command.add_argument(
        "--layer",
        choices=("inner", "outer"),
        default="inner",
        help="of tunnelled packets, the innermost IP header or the outermost (default: %(default)s)",
    )
    add_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the capture's flows to standard output, and what is none to standard error."""
    from collector.sources import pcap

    from . import output

    with progress(f"reading {arguments.capture}"):
        contents = pcap.read(arguments.capture)
        flows = contents.inner if arguments.layer == "inner" else contents.outer
        found = rows(flows)
    output.write(found, arguments.output)
    for line in remarks(contents, unsized=int(flows.unsized.sum())):
        print(f"flowatlas flows: {arguments.capture}: {line}", file=sys.stderr)
    if contents.damage is None:
        return 0
    print(f"flowatlas flows: {contents.damage}", file=sys.stderr)
    return 1


def rows(flows: Flows) -> pl.DataFrame:
    """The flows as people write them."""
    import polars as pl

    from ..inventory.addresses import text_of

    frame = pl.DataFrame(
        {
            "src_ip": text_of(pl.Series(flows.src_hi), pl.Series(flows.src_lo)),
            "dst_ip": text_of(pl.Series(flows.dst_hi), pl.Series(flows.dst_lo)),
            "src_port": flows.src_port,
            "dst_port": flows.dst_port,
            "protocol": flows.protocol,
            "packets": flows.packets,
            "bytes": flows.bytes,
        }
    )
    return frame.with_columns(carried(flows))


def carried(flows: Flows) -> list[pl.Series]:
    """What is known of the tunnels around flows and in them; columns that would be empty are left out."""
    import polars as pl

    from collector.packets.kinds import Opaque, Tunnel

    is_tunnelled = pl.Series(flows.tunnel != Tunnel.NONE)
    columns = (
        pl.Series("tunnel", [WORDS.get(name, name) for name in map(_word, map(Tunnel, flows.tunnel.tolist()))]),
        pl.Series("vni", flows.vni).set(pl.Series(flows.vni < 0), None),
        pl.Series("overhead_bytes", flows.overhead).set(~is_tunnelled, None),
        pl.Series("opaque", list(map(_word, map(Opaque, flows.opaque.tolist())))),
    )
    return [column for column in columns if column.null_count() < len(column)]


def _word(member: IntEnum) -> str | None:
    return member.name.lower() if member else None


def remarks(contents: Contents, *, unsized: int) -> list[str]:
    """What a reader of the flows must know of the packets that are not, or not wholly, in them."""
    said = {
        "are in no flow": contents.no_flow,
        "are in a flow, but were not read to their end": contents.unread,
        "do not say how long they are and add no bytes": {"length_0": unsized} if unsized else {},
    }
    return [
        f"{sum(numbers.values())} of {contents.packets} packets {what}: {_listed(numbers)}"
        for what, numbers in said.items()
        if numbers
    ]


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {number}" for reason, number in sorted(numbers.items()))
