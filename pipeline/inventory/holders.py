"""Who held each address, and when: claims that begin, weaken and end, and the spans that follow from them.

A claim is as strong as `claims.Strength` says, in phases: a pod holds its address before its status tells (`coming`),
and what was deleted while nobody watched may have given it back at any time since (`lost`). The strongest phase at an
instant wins; equal ones of different holders leave two answers, which is the unknown, and so does the second in which
one ended (`closing`) while another comes, and the first of one that comes where another was lost: objects have whole
seconds. The invariant: the spans of one address are disjoint, and they depend on its claims alone, not on the order in
which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .addresses import NO_ADDRESS, Address
from .claims import Strength
from .endpoints import ADDRESSES, UNKNOWN
from .rows import Table
from .spans import END

_SECOND: Final = 1_000_000_000
_STEP: Final = 10
_COMING: Final = 3
"""A coming claim yields to every one of its kind that is told."""
_LOST: Final = 6
"""A lost claim yields to the coming ones too."""


class Claim:
    """That an endpoint holds an address. Times are ns since the epoch, END where it has not come to that."""

    __slots__ = ("closing", "endpoint", "leaving", "lost", "seen", "since", "strength", "until")

    def __init__(self, endpoint: int, strength: Strength, since: int, seen: int) -> None:
        self.endpoint = endpoint
        self.strength = strength
        self.since = min(since, seen)
        self.seen = seen
        """When the cluster said so."""
        self.leaving = END
        """From here on, a pod's claim yields to that of another pod."""
        self.closing = END
        """The second that begins here is the pod's last."""
        self.lost = END
        """From here on it may have ended."""
        self.until = END

    def rank(self, instant: int) -> tuple[int, int, int]:
        """How strong it is at an instant of its span, smaller is stronger; of coming ones, the first told, and of lost
        ones the last, since who was told later had it after the other, and of those told together, who began later."""
        kind = Strength.LEAVING_POD if self.strength is Strength.POD else self.strength
        if instant >= self.lost:
            return kind * _STEP + _LOST, -self.seen, -self.since
        if self.is_coming(instant):
            return kind * _STEP + _COMING, self.seen, 0
        return (kind if instant >= self.leaving else self.strength) * _STEP, 0, 0

    def is_coming(self, instant: int) -> bool:
        """Whether nobody had told of it by then, though it holds."""
        return instant < self.seen and self.strength is not Strength.NODE

    def is_arriving(self, instant: int) -> bool:
        """Whether this is the second in which it came."""
        return self.is_coming(instant) and instant < self.since + _SECOND

    def is_missing(self, instant: int) -> bool:
        """Whether it may have ended or not, for all that is known: a pod is known to have where its containers have."""
        return self.lost <= instant and not self.closing + _SECOND <= instant

    def cuts(self) -> Iterator[int]:
        """The instants at which its rank may change."""
        yield self.since
        yield self.until
        yield from (
            time
            for time in (self.since + _SECOND, self.seen, self.leaving, self.closing, self.closing + _SECOND, self.lost)
            if self.since < time < self.until
        )


class Span(NamedTuple):
    """One row of ADDRESSES behind the address."""

    endpoint: int
    since: int
    until: int
    seen: int


def spans_of(claims: Sequence[Claim]) -> list[Span]:
    """Who held the address that these claims are about, in order of time."""
    if len(claims) == 1:
        (claim,) = claims
        return [Span(claim.endpoint, claim.since, claim.until, claim.seen)] if claim.since < claim.until else []
    cuts = sorted({cut for claim in claims if claim.since < claim.until for cut in claim.cuts()})
    spans: list[Span] = []
    for start, end in pairwise(cuts):
        ranks = [(claim.rank(start), claim) for claim in claims if claim.since <= start < claim.until]
        if not ranks:
            continue
        best = min(rank for rank, _ in ranks)
        standing = [claim for rank, claim in ranks if rank == best]
        holders = {claim.endpoint for claim in standing}
        if any(claim.closing <= start for claim in standing):
            holders |= {claim.endpoint for _, claim in ranks if claim.is_coming(start)}
        if any(claim.is_arriving(start) for claim in standing):
            holders |= {claim.endpoint for _, claim in ranks if claim.is_missing(start)}
        is_one = len(holders) == 1
        endpoint, seen = (standing[0].endpoint, min(c.seen for c in standing)) if is_one else (UNKNOWN, start)
        if spans and spans[-1].until == start and spans[-1].endpoint == endpoint:
            spans[-1] = spans[-1]._replace(until=end, seen=min(seen, spans[-1].seen))
        else:
            spans.append(Span(endpoint, start, end, seen))
    return spans


class Holders:
    """All claims that are kept, by address, and the frame of who held what."""

    def __init__(self) -> None:
        self._claims: dict[Address, list[Claim]] = {}
        self._rows: dict[Address, list[int]] = {}
        self._changed: set[Address] = set()
        self._table = Table(ADDRESSES)

    def add(self, address: Address, claim: Claim) -> None:
        """One claim more."""
        if address != NO_ADDRESS:
            self._claims.setdefault(address, []).append(claim)
            self._changed.add(address)

    def touch(self, addresses: Iterable[Address]) -> None:
        """Claims to these addresses have changed."""
        self._changed.update(addresses)

    def forget(self, before_ns: int) -> None:
        """Drop the claims that ended before an instant."""
        for address in [a for a, claims in self._claims.items() if any(c.until <= before_ns for c in claims)]:
            self._claims[address] = [claim for claim in self._claims[address] if claim.until > before_ns]
            self._changed.add(address)

    def used(self) -> NDArray[np.uint32]:
        """The endpoints that are spoken of."""
        ids = {claim.endpoint for claims in self._claims.values() for claim in claims}
        return np.fromiter(ids, np.uint32, len(ids))

    def remap(self, mapping: NDArray[np.uint32]) -> None:
        """Endpoints have new numbers."""
        self.frame()
        for claims in self._claims.values():
            for claim in claims:
                claim.endpoint = int(mapping[claim.endpoint])
        self._table.remap("endpoint_id", mapping)

    def frame(self) -> pl.DataFrame:
        """ADDRESSES; the same object while nothing changed."""
        for address in self._changed:
            claims = self._claims.get(address, [])
            for row in self._rows.pop(address, ()):
                self._table.free(row)
            if claims:
                self._rows[address] = [self._table.add((*address, *span)) for span in spans_of(claims)]
            else:
                self._claims.pop(address, None)
        self._changed.clear()
        return self._table.frame()
