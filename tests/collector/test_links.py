"""Which links carry a node's traffic, each packet in one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collector.links import Link, passed_on, scope_of

UP = 0x1


def link(ifindex: int, kind: str = "", *, flags: int = UP, master: int = 0, crosses: bool = False) -> Link:
    return Link(ifindex, f"if{ifindex}", kind, flags, master, crosses, (0,) * 8)


BRIDGE, BOND = link(50, "bridge"), link(51, "bond")
LINKS = {50: BRIDGE, 51: BOND}


@pytest.mark.parametrize(
    ("candidate", "addressed", "expected"),
    [
        (link(2), {2}, "node"),
        (link(2, master=50), set(), "node"),  # a bridged uplink: the bridge itself is left out
        (link(2, master=51), set(), ""),  # a bond's member: the bond counts
        (BOND, set(), "node"),
        (BRIDGE, {50}, ""),
        (link(2, flags=0), {2}, ""),
        (link(1, flags=UP | 0x8), {1}, ""),
        (link(3, "vxlan"), {3}, "overlay"),
        (link(3, "geneve"), set(), "overlay"),
        (link(3, "wireguard"), {3}, "overlay"),
        (link(3, "ipip", flags=0), set(), ""),
        (link(4, "veth", crosses=True), set(), ""),  # a pod's, routed
        (link(4, "veth", crosses=True, master=50), {4}, ""),  # a pod's, bridged
        (link(4, "veth", crosses=True), {4}, "node"),  # the uplink of a node in a container
        (link(4, "veth"), {4}, ""),  # both ends on the node
        (link(5, "dummy"), {5}, ""),
        (link(5, "vlan"), {5}, ""),
    ],
)
def test_scope(candidate: Link, addressed: set[int], expected: str) -> None:
    assert scope_of(candidate, LINKS, addressed) == expected


def test_what_comes_in_behind_an_interface_that_is_captured_at_has_passed_there() -> None:
    links = {
        one.ifindex: one
        for one in (
            link(2),
            link(3, "veth", crosses=True, master=50),
            link(4, "veth", crosses=True),
            BRIDGE,
            replace(link(6, "vlan"), parent=2),
            replace(link(7, "vlan"), parent=60),
            replace(link(8, "vxlan"), port=8472),
            replace(link(9, "vxlan"), port=14789),  # not opened at the uplink
            replace(link(10, "geneve"), port=6081),
            link(11, "ipip"),
            link(12, "wireguard"),
            link(13, "dummy"),
            link(60),
            link(61, "bridge"),  # of a machine that is no pod
            link(62, "tun", master=61),
            link(63, "bridge"),  # empty
        )
    }
    assert passed_on(links, {2: "node", 3: "pod", 4: "pod"}) == {BRIDGE.ifindex, 6, 8, 10, 11}
