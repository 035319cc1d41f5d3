"""Decode many packets at once: a step reads one header of every packet that has one left.

The packets that stand at the same kind of header are read together, so the cost of Python is paid once for a kind and
step, not for a packet. The number of steps is bounded, so the work is too, whatever the bytes say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from . import ip, link, tunnels
from .frames import Carriage, Frames, Headers, Packets
from .kinds import TUNNELS, Kind, Reason
from .octets import Octets, Positions

MAX_STEPS: Final = 64
"""Headers that are followed in one packet. VXLAN in VXLAN in VXLAN has 12."""

HANDLERS: Final[Mapping[Kind, Callable[[Frames, Packets], None]]] = {
    Kind.UNKNOWN_LINK: link.unknown_link,
    Kind.ETHERNET: link.ethernet,
    Kind.LLC: link.llc,
    Kind.VLAN: link.vlan,
    Kind.VNTAG: link.vntag,
    Kind.BACKBONE: link.backbone,
    Kind.SLL: link.sll,
    Kind.SLL2: link.sll2,
    Kind.LOOPBACK: link.loopback,
    Kind.NFLOG: link.nflog,
    Kind.NFLOG_ATTRIBUTE: link.nflog_attribute,
    Kind.CISCO_HDLC: link.cisco_hdlc,
    Kind.RADIOTAP: link.radiotap,
    Kind.WLAN: link.wlan,
    Kind.PPP: link.ppp,
    Kind.PPPOE: link.pppoe,
    Kind.MPLS: link.mpls,
    Kind.LABELLED: link.labelled,
    Kind.IP: ip.ip,
    Kind.IPV4: ip.ipv4,
    Kind.IPV6: ip.ipv6,
    Kind.EXTENSION: ip.extension,
    Kind.FRAGMENT: ip.fragment,
    Kind.AUTHENTICATION: ip.authentication,
    Kind.PORTS: ip.ports,
    Kind.UDP: ip.udp,
    Kind.GRE: tunnels.gre,
    Kind.ERSPAN_II: tunnels.erspan_ii,
    Kind.ERSPAN_III: tunnels.erspan_iii,
    Kind.WCCP: tunnels.wccp,
    Kind.ETHERIP: tunnels.etherip,
    Kind.VXLAN: tunnels.vxlan,
    Kind.VXLAN_GPE: tunnels.vxlan_gpe,
    Kind.GENEVE: tunnels.geneve,
    Kind.GTP: tunnels.gtp,
    Kind.GTP_EXTENSION: tunnels.gtp_extension,
    Kind.TEREDO: tunnels.teredo,
    Kind.L2TP: tunnels.l2tp,
    Kind.AYIYA: tunnels.ayiya,
    Kind.PIM: tunnels.pim,
    Kind.ESP: tunnels.esp,
    Kind.ESP_IN_UDP: tunnels.esp_in_udp,
    Kind.WIREGUARD: tunnels.wireguard,
}

_OPENS: Final = np.zeros(len(Kind), np.bool_)
"""The kinds that lead to a further IP header, where they come after one."""
_OPENS[[*TUNNELS, Kind.IP, Kind.IPV4, Kind.IPV6]] = True
_BROKEN: Final = (Reason.IP_CUT, Reason.IP_VERSION, Reason.IP_LENGTH)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the packets hold. `outer` and `inner` have a row for each packet with an IP header, in the packets' order.

    They are the same where there is no tunnel. `no_flow` counts the packets without one by the reason, ARP and the
    like under `not_ip`; `unread` counts those of the others that were not read to their end.
    """

    packets: int
    outer: Headers
    inner: Headers
    carriage: Carriage
    """How the inner headers are carried; equally long."""
    no_flow: Mapping[str, int]
    unread: Mapping[str, int]
    broken: Packets
    """Which packets are without a flow although IP should come next: what comes is none, or is cut short."""
    broken_bytes: Positions
    """Captured bytes of each of these, from where its IP header should be."""
    rows: Packets
    """Which packet each row is of."""
    network: Positions
    """Where each row's innermost IP header begins."""
    at: Positions
    """Where the reading of each row's packet ended: after its ports, or at what the innermost IP header carries."""
    is_later: npt.NDArray[np.bool_]
    """Whether each row's innermost IP header is that of a fragment other than the first."""


def decode(
    octets: Octets,
    start: Positions,
    end: Positions,
    kind: npt.NDArray[np.uint8],
    sealed: npt.NDArray[np.bool_] | None = None,
) -> Decoded:
    """Decode the packets whose captured bytes are `octets[start:end]` and which begin with a header of `kind`.

    `start <= end` and both lie inside the buffer; the bytes between them may be anything. Tunnels in packets
    that are `sealed` are not opened: the first IP header is the innermost.
    """
    frames = Frames(octets, start, end, kind)
    for _ in range(MAX_STEPS):
        open_packets = np.flatnonzero(frames.kind)
        if not len(open_packets):
            break
        kinds = frames.kind[open_packets]
        if sealed is not None:
            is_end = sealed[open_packets] & (frames.depth[open_packets] > 0) & _OPENS[kinds]
            frames.kind[open_packets[is_end]] = Kind.PAYLOAD
            open_packets, kinds = open_packets[~is_end], kinds[~is_end]
        for present in np.flatnonzero(np.bincount(kinds)).tolist():
            who = open_packets[kinds == present]
            if present in TUNNELS:
                frames.entered[who] = TUNNELS[Kind(present)]
            HANDLERS[Kind(present)](frames, who)
    else:
        frames.stop(np.flatnonzero(frames.kind), Reason.TOO_DEEP)
    has_flow = frames.depth > 0
    rows = np.flatnonzero(has_flow)
    unread = frames.reason[rows]
    broken = np.flatnonzero(~has_flow & np.isin(frames.reason, _BROKEN))
    return Decoded(
        packets=frames.count,
        outer=frames.outer(),
        inner=frames.inner(),
        carriage=frames.carriage(),
        no_flow=_by_reason(frames.reason[~has_flow]),
        unread=_by_reason(unread[unread != Reason.NOT_IP]),
        broken=broken,
        broken_bytes=frames.end[broken] - frames.at[broken],
        rows=rows,
        network=frames.network[rows],
        at=frames.at[rows],
        is_later=frames.is_later[rows],
    )


def _by_reason(reasons: npt.NDArray[np.uint8]) -> dict[str, int]:
    numbers = np.bincount(reasons, minlength=len(Reason))
    return {reason.name.lower(): int(numbers[reason]) for reason in Reason if numbers[reason]}
