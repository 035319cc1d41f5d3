"""The words in which a person asks for flows: kinds of conditions as data, one a flag of `observe` and `top`.

What they mean in columns is `pipeline.flowfilter`'s; this module imports nothing heavy, so that a command line can be
built from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MISMATCHES: Final = ("established_denied", "dropped_allowed")
VERDICTS: Final = ("allowed", "denied", *MISMATCHES)
OUTCOMES: Final = ("open", "closed", "refused", "reset", "no_reply")
ATTRIBUTIONS: Final = ("exact", "inferred", "ambiguous", "unknown")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of condition."""

    test: str
    """How a value is compared: a key of `flowfilter.TESTS`."""
    columns: tuple[str, ...]
    """Of the history, that are compared; for objects pairs of namespace and name. Any of them may match."""
    metavar: str
    help: str
    values: tuple[str, ...] = ()
    """The values that there are, where they are few."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A kind by its name in KINDS, and a value as written."""

    kind: str
    value: str
    is_negated: bool = False


_ENDS: Final = {
    "from-": ("who connects", ("source",), ("src_ip", "nat_src_ip"), ("src_port",)),
    "to-": ("who answers", ("destination",), ("dst_ip", "backend_ip"), ("dst_port", "backend_port")),
    "": (
        "either end",
        ("source", "destination"),
        ("src_ip", "nat_src_ip", "dst_ip", "backend_ip"),
        ("dst_port", "backend_port"),
    ),
}


def _of_ends() -> dict[str, Kind]:
    """Kinds that ask for one end, or for either."""
    kinds: dict[str, Kind] = {}
    for prefix, (end, sides, addresses, ports) in _ENDS.items():
        port = "the opener's port" if prefix == "from-" else "the port that was dialled, or the one that answers"
        kinds |= {
            f"{prefix}pod": Kind("pod", sides, "[NS/]POD", f"{end} is a pod whose name begins so"),
            f"{prefix}workload": Kind("object", _pairs(sides, "workload"), "[NS/]NAME", f"{end} is of this workload"),
            f"{prefix}namespace": Kind(
                "equal", tuple(f"{side}_namespace" for side in sides), "NS", f"{end} is in this namespace"
            ),
            f"{prefix}ip": Kind("address", addresses, "IP|CIDR", f"{end} has this address, before or after NAT"),
            f"{prefix}port": Kind("port", ports, "PORT[-LAST]", port),
            f"{prefix}zone": Kind("equal", tuple(f"{side}_zone" for side in sides), "ZONE", f"{end} is in this zone"),
        }
    return kinds


def _pairs(sides: tuple[str, ...], field: str) -> tuple[str, ...]:
    return tuple(name for side in sides for name in (f"{side}_namespace", f"{side}_{field}"))


def _choice(column: str, metavar: str, about: str, values: tuple[str, ...]) -> Kind:
    return Kind("choice", (column,), metavar, f"{about}: {', '.join(values)}", values)


KINDS: Final[Mapping[str, Kind]] = {
    **_of_ends(),
    "to-service": Kind("object", ("service_namespace", "service"), "[NS/]NAME", "the Service that was dialled"),
    "to-fqdn": Kind("name", ("dns_name",), "NAME", "the DNS name that the client dialled; *.NAME: any below it"),
    "host": Kind(
        "name", ("server_name", "route_host"), "NAME", "the host asked for, by TLS or HTTP; *.NAME: any below"
    ),
    "path": Kind("prefix", ("path", "route_path"), "PATH", "the HTTP path asked for begins so"),
    "route": Kind("object", ("route_namespace", "route"), "[NS/]NAME", "the Ingress or Gateway route"),
    "protocol": Kind("protocol", ("protocol",), "NAME", "tcp, udp, sctp, icmp, ..., or a number"),
    "verdict": Kind("verdict", ("verdict", "mismatch"), "VERDICT", f"of policies: {', '.join(VERDICTS)}", VERDICTS),
    "outcome": _choice("outcome", "OUTCOME", "how it went", OUTCOMES),
    "attribution": _choice("attribution", "HOW", "how sure the names are", ATTRIBUTIONS),
    "node": Kind("equal", ("node",), "NODE", "the node that saw it"),
}
"""Kinds of conditions by name."""
