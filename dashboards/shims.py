"""Series under the names that NetObserv and Hubble give theirs, for dashboards that people have already.

A shim is there only where the meaning holds; docs/how-to/other-names.md says where it differs and what has none. It
keeps every series apart and adds labels, since a sum of counters would jump where one of them begins anew. They are
opt-in, in a file of their own: each costs as many series as what it reads.
"""

from __future__ import annotations

from typing import Final

from pipeline.catalog import BY_NAME

from .queries import OF_THE_CLUSTER, select
from .recordings import Recording

GROUP: Final = "flowatlas-shims"

_ENDS: Final = ("source", "destination")
_K8S: Final = {"namespace": "K8S_Namespace", "workload": "K8S_OwnerName", "workload_kind": "K8S_OwnerType"}


def _relabelled(selector: str, names: dict[str, str]) -> str:
    """The series of `selector` with the value of each label under another name too."""
    for label, name in names.items():
        selector = f'label_replace({selector}, "{name}", "$1", "{label}", "(.*)")'
    return selector


def _ends(sender: str, receiver: str) -> dict[str, str]:
    """Our labels of who sent and who received, and NetObserv's names for them."""
    sides = ((sender, "Src"), (receiver, "Dst"))
    return {f"{end}_{label}": f"{side}{name}" for end, side in sides for label, name in _K8S.items()}


def _sent(metric: str, direction: str) -> str:
    """What either end sent to the other: requests go from source to destination, replies the other way.

    In NetObserv what is received is told where it is received and what is sent where it is sent: in the cluster.
    """
    parts = []
    for way, sender, receiver in (("request", *_ENDS), ("reply", *reversed(_ENDS))):
        teller = receiver if direction == "ingress" else sender
        inside = (
            {f"{teller}_namespace": ".+"},
            {f"{teller}_namespace": "", f"{teller}_workload_kind": OF_THE_CLUSTER},
        )
        selectors = [select(metric, {"flow_direction": way, **end}) for end in inside]
        parts += [_relabelled(selector, _ends(sender, receiver)) for selector in selectors]
    return " or ".join(parts)


def _labels(metric: str, *more: str) -> tuple[str, ...]:
    return (*BY_NAME[metric].labels, *more)


_SRC_DST: Final = tuple(_ends(*_ENDS).values())

SHIMS: Final = (
    *(
        Recording(
            f"netobserv_workload_{direction}_{what}_total",
            _labels(f"flowatlas_flow_{what}_total", *_SRC_DST),
            _sent(f"flowatlas_flow_{what}_total", direction),
        )
        for direction in ("ingress", "egress")
        for what in ("bytes", "packets")
    ),
    *(
        Recording(
            f"netobserv_workload_drop_{what}_total",
            _labels(metric, *_SRC_DST, "PktDropLatestDropCause"),
            _relabelled(metric, {**_ends(*_ENDS), "reason": "PktDropLatestDropCause"}),
        )
        for what, metric in (("packets", "flowatlas_drops_total"), ("bytes", "flowatlas_dropped_bytes_total"))
    ),
    Recording("hubble_drop_total", _labels("flowatlas_drops_total"), "flowatlas_drops_total"),
    Recording(
        "hubble_dns_queries_total",
        _labels("flowatlas_dns_queries_total", "qtypes"),
        _relabelled("flowatlas_dns_queries_total", {"type": "qtypes"}),
    ),
    Recording(
        "hubble_dns_responses_total",
        _labels("flowatlas_dns_queries_total", "qtypes"),
        _relabelled('flowatlas_dns_queries_total{rcode!="no_answer"}', {"type": "qtypes"}),
    ),
)
