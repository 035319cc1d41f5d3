"""One exposition text of what several workers of one machine expose, each series with the label `worker`.

What every worker knows alike, the cluster's state, is there once and without the label: a sum over workers would double
it. The invariant: a family has one header, and no two series are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

ALIKE: Final = frozenset(
    {
        "flowatlas_build_info",
        "flowatlas_mesh_max_connections",
        "flowatlas_mesh_subset_configured_ratio",
        "flowatlas_policy_coverage_pods",
        "flowatlas_policy_default_deny",
        "flowatlas_policy_not_judged_objects",
        "flowatlas_state_objects",
        "flowatlas_state_refused_objects",
    }
)
"""Families that say what the cluster is, which each worker follows itself."""

_EOF: Final = b"# EOF\n"
_HISTOGRAM: Final = (b"_bucket", b"_sum", b"_count")
_OTHERS: Final = (b"", b"_total")
"""What series are named behind their family: OpenMetrics names counters' families without `_total`."""


def merged(texts: Mapping[str, bytes], own: bytes = b"") -> Iterator[bytes]:
    """The texts of all workers, by the worker's name, and last `own` of their parent, with families that no worker has,
    as one, some at a time; all of the text format or all of OpenMetrics."""
    families: dict[bytes, list[tuple[str, _Family]]] = {}
    for worker, text in texts.items():
        for family in _families(text):
            families.setdefault(family.name, []).append((worker, family))
    for name, told in families.items():
        yield told[0][1].header
        is_alike = name.decode() in ALIKE
        for worker, family in told[:1] if is_alike else told:
            rows = texts[worker][family.begin : family.end]
            yield rows if is_alike else _labelled(rows, family, b'worker="' + worker.encode() + b'"')
    yield own.removesuffix(_EOF)
    if any(text.endswith(_EOF) for text in (own, *texts.values())):
        yield _EOF


@dataclass(frozen=True, slots=True)
class _Family:
    """A family of a text: its name, its header (HELP and TYPE in their order), and where in the text its series are."""

    name: bytes
    header: bytes
    begin: int
    end: int


def _families(text: bytes) -> Iterator[_Family]:
    """All of a text. Labels hold no line ends, so what follows one and looks like a header is one."""
    at, end = 0, len(text) - len(_EOF) if text.endswith(_EOF) else len(text)
    while at < end:
        headers: dict[bytes, bytes] = {}
        while at < end and text.startswith(b"# ", at):
            after = text.index(b"\n", at) + 1
            name = text[at:after].split(None, 3)[2]
            headers[name] = headers.get(name, b"") + text[at:after]
            at = after
        found = text.find(b"\n# ", at, end) + 1
        until = found or end
        for place, (name, header) in enumerate(headers.items(), 1):  # families before the last one have no series
            yield _Family(name, header, at if place == len(headers) else until, until)
        at = until


def _labelled(rows: bytes, family: _Family, label: bytes) -> bytes:
    """Rows of a family with one more label. What begins a line is looked for as it is, which is a third of the work of
    a pattern."""
    lines = b"\n" + rows
    for suffix in _HISTOGRAM if b" histogram\n" in family.header else _OTHERS:
        line = b"\n" + family.name + suffix
        lines = lines.replace(line + b"{", line + b"{" + label + b",").replace(line + b" ", line + b"{" + label + b"} ")
    return lines[1:]
