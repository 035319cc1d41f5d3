"""The kernel's names of its drop reasons, from its own type information (enum skb_drop_reason of BTF).

Their numbers change from one kernel to the next; their names are what people look up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from . import libbpf
from .loaded import HookError

_ENUM: Final = 6  # BTF_KIND_ENUM
_HEAD_WORDS: Final = 3  # struct btf_type: name, info, size; after it (name, value) of each of info & 0xffff members
_PREFIXES: Final = ("SKB_DROP_REASON_", "SKB_")

HARMLESS: Final = frozenset(
    {
        "not_dropped_yet",
        "consumed",
        "not_specified",  # old code that frees packets which have done their work, too
        "otherhost",  # flooded by a switch
        "unicast_in_l2_multicast",
        "ipv6_ndisc_ns_otherhost",
        "unix_disconnect",
        "unix_skip_oob",
        "tcp_ofomerge",  # its bytes are kept
        "tcp_reset",  # a reset that was taken note of
        "queue_purge",
    }
)
"""Reasons for which a packet is freed without a loss."""


def read_reasons() -> Mapping[int, str]:
    """Names by number: lower case, without the common prefix. Raises HookError where the kernel tells none."""
    library = libbpf.library()
    types = library.btf__load_vmlinux_btf()
    if not types:
        raise HookError("kernel", "the kernel has no type information (BTF)")
    try:
        number = library.btf__find_by_name_kind(types, b"skb_drop_reason", _ENUM)
        if number < 0:
            raise HookError("kernel", "the kernel tells no drop reasons, 5.17 and later do")
        words = library.btf__type_by_id(types, number)
        names = {}
        for member in range(words[1] & 0xFFFF):
            at = _HEAD_WORDS + 2 * member
            names[int(words[at + 1])] = reason_of(library.btf__name_by_offset(types, words[at]).decode())
    finally:
        library.btf__free(types)
    return names


def reason_of(constant: str) -> str:
    """`netfilter_drop` of SKB_DROP_REASON_NETFILTER_DROP."""
    for prefix in _PREFIXES:
        if constant.startswith(prefix):
            return constant.removeprefix(prefix).lower()
    return constant.lower()
