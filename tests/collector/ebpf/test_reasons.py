"""Drop reasons by the kernel's own names."""

from __future__ import annotations

import pytest

from collector.ebpf.reasons import HARMLESS, read_reasons, reason_of


@pytest.mark.parametrize(
    ("constant", "reason"),
    [
        ("SKB_DROP_REASON_NETFILTER_DROP", "netfilter_drop"),
        ("SKB_CONSUMED", "consumed"),
        ("SKB_NOT_DROPPED_YET", "not_dropped_yet"),
        ("SOMETHING_ELSE", "something_else"),
    ],
)
def test_a_reason_is_the_constant_without_its_prefix(constant: str, reason: str) -> None:
    assert reason_of(constant) == reason


@pytest.mark.root
def test_this_kernel_names_its_reasons() -> None:
    names = read_reasons()
    assert len(set(names.values())) == len(names)
    assert {"netfilter_drop", "no_socket", "tcp_csum", "not_specified"} <= set(names.values())
    assert names[0] == "not_dropped_yet"
    assert {"not_dropped_yet", "not_specified"} <= HARMLESS
