"""One exposition text of what several workers of one machine expose, each series with the label `worker`.

What every worker knows alike, the cluster's state, is there once and without the label: a sum over workers would double
it. The invariant: a family has one header, and no two series are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
_HEADER: Final = re.compile(rb"^(?:# .*\n)+", re.MULTILINE)
_SERIES: Final = re.compile(rb"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?", re.MULTILINE)


def merged(texts: Mapping[str, bytes], own: bytes = b"") -> bytes:
    """The texts of all workers, by the worker's name, and last `own` of their parent, with families that no worker has,
    as one; all of the text format or all of OpenMetrics."""
    headers: dict[bytes, bytes] = {}
    series: dict[bytes, list[bytes]] = {}
    is_open = own.endswith(_EOF)
    for worker, text in texts.items():
        is_open |= text.endswith(_EOF)
        label = b'worker="' + worker.encode() + b'"'
        for name, header, rows in _families(text.removesuffix(_EOF)):
            is_first = headers.setdefault(name, header) is header
            if name.decode() not in ALIKE:
                series.setdefault(name, []).append(_labelled(rows, label))
            elif is_first:
                series.setdefault(name, []).append(rows)
    whole = b"".join(headers[name] + b"".join(series[name]) for name in headers) + own.removesuffix(_EOF)
    return whole + _EOF if is_open else whole


def _families(text: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, header (HELP and TYPE in their order) and series of each family, all with their line ends."""
    found = list(_HEADER.finditer(text))
    for index, match in enumerate(found):
        end = found[index + 1].start() if index + 1 < len(found) else len(text)
        parts: dict[bytes, bytes] = {}
        for line in match[0].splitlines(keepends=True):
            name = line.split(None, 3)[2]
            parts[name] = parts.get(name, b"") + line
        for place, (name, header) in enumerate(parts.items(), 1):  # families before the last one have no series
            yield name, header, text[match.end() : end] if place == len(parts) else b""


def _labelled(rows: bytes, label: bytes) -> bytes:
    def with_label(found: re.Match[bytes]) -> bytes:
        name, brace = found.group(1, 2)
        return name + b"{" + label + (b"," if brace else b"}")

    return _SERIES.sub(with_label, rows)
