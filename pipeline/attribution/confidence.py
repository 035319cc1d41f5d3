"""How sure an attribution is, and why it is not simply exact: the reason codes and what they mean.

The invariant: a reason has one certainty, and a row the worst reason that applies to it: `REASONS` is in that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

CERTAINTY: Final[pl.Enum] = pl.Enum(["exact", "inferred", "ambiguous", "unknown"])


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row is not simply exact."""

    code: str
    attribution: str
    meaning: str


EXACT: Final = Reason("", "exact", "Both ends and the Service follow from the row and the cluster's state alone.")
REASONS: Final = (
    Reason(
        "unknown_source",
        "unknown",
        "Nothing held the source's address when the connection began, and it is one of the cluster's own.",
    ),
    Reason(
        "unknown_destination",
        "unknown",
        "Nothing held the answering address when the connection began, and it is one of the cluster's own.",
    ),
    Reason(
        "ambiguous_service",
        "ambiguous",
        "Several Service ports have the address, port and protocol; `service_candidates` lists them.",
    ),
    Reason(
        "ambiguous_route",
        "ambiguous",
        "Several routes of the Ingress or Gateway lead to the Service; `ingress_candidates` lists them.",
    ),
    Reason("ambiguous_address", "ambiguous", "Several objects held an end's address with equally good claims."),
    Reason(
        "ambiguous_host_port",
        "ambiguous",
        "Several pods of the node declare the port that answered; the destination is the node.",
    ),
    Reason(
        "before_status",
        "inferred",
        "The connection began before the pod's status named its address; nobody else held it in between.",
    ),
    Reason(
        "backend_only",
        "inferred",
        "The Service is told by the backend's address and port; what was dialled was not seen.",
    ),
    Reason(
        "headless",
        "inferred",
        "An endpoint of a headless Service was dialled; whoever found the pod in another way looks the same.",
    ),
    Reason(
        "head",
        "inferred",
        "Several routes lead to the Service; the host and path of the first request that was seen tell which it is.",
    ),
    Reason(
        "dns_alias",
        "inferred",
        "The Service is told by the name that DNS gave the client for an address beyond the cluster.",
    ),
    Reason("host_port", "inferred", "The pod is told by the port of its node that it declares."),
    Reason(
        "no_backend",
        "exact",
        "A Service was dialled, and the row does not show who answered: the destination is the Service, or the node "
        "whose port was dialled.",
    ),
)
"""The worst first."""

REASON: Final[pl.Enum] = pl.Enum([EXACT.code, *(reason.code for reason in REASONS)])

_CERTAINTIES: Final = pl.Series([reason.attribution for reason in (EXACT, *REASONS)], dtype=CERTAINTY)
_PLACES: Final = {reason.code: np.uint8(place) for place, reason in enumerate(REASONS, start=1)}


def worsen(reasons: NDArray[np.uint8], rows: NDArray[np.integer], code: str) -> None:
    """Give rows the reason `code` where they have none yet that is worse; `reasons` are codes of REASON."""
    if rows.size:
        place, told = _PLACES[code], reasons.take(rows)
        reasons[rows] = np.where((told == 0) | (told > place), place, told)


def or_worse(reason_column: str, code: str) -> pl.Expr:
    """The reason `code`, or the one in the column where that is worse."""
    told = pl.col(reason_column)
    place = int(_PLACES[code])
    return pl.when(told.to_physical().is_between(1, place)).then(told).otherwise(pl.lit(code, dtype=REASON))


def certainties(reasons: NDArray[np.uint8]) -> pl.Series:
    """The certainty (Enum CERTAINTY) that each reason, a code of REASON, stands for."""
    return _CERTAINTIES[reasons]


def attribution(reason_column: str) -> pl.Expr:
    """The certainty (Enum CERTAINTY) that a reason stands for."""
    return pl.lit(_CERTAINTIES).gather(pl.col(reason_column).to_physical())
