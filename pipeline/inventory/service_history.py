"""Services and EndpointSlices over time: Service ports, where they are dialled and who answers for them.

A Service whose ports change gets new Service ports from that instant on. Backends come from EndpointSlices alone: a
watched cluster has them for every Service with a selector. The invariant: a Service port's row never changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import lifetimes
from .addresses import Address
from .backends import BACKENDS, sliced
from .claims import Strength, service_claims
from .endpoints import service_row
from .holders import Claim, Holders
from .models import Resource, Service, ServicePort, namespace_of
from .rows import Register, Row, Spans
from .services import DIALLED, NODE_PORTS, PROTOCOLS, SERVICES, dials, port_row
from .slice_models import EndpointSlice
from .spans import END

Key = tuple[str, str]


class _Service:
    """What is known of one Service."""

    __slots__ = ("claims", "dialled", "endpoint", "node_ports", "ports", "service")

    def __init__(self, endpoint: int, service: Service) -> None:
        self.endpoint = endpoint
        self.service = service
        self.ports: dict[Row, tuple[int, ServicePort]] = {}
        """Each Service port's row, its number and the port."""
        self.claims: dict[Address, Claim] = {}
        self.dialled: frozenset[Row] = frozenset()
        self.node_ports: frozenset[Row] = frozenset()


class _Slice:
    """What is known of one EndpointSlice."""

    __slots__ = ("backends", "part", "service")

    def __init__(self, part: EndpointSlice, service: Key) -> None:
        self.part = part
        self.service = service
        self.backends: frozenset[Row] = frozenset()


class _Freed(NamedTuple):
    """When a Service gave up a place to dial."""

    by: Key
    until: int
    lost: int
    """Since when that may have been so, where nobody watched."""

    def since(self, by: Key) -> int:
        """From when on a Service can have the place. One that was made anew follows itself."""
        return self.until if by == self.by else min(self.until, self.lost)


class ServiceHistory:
    """Takes changes of Services and EndpointSlices, and keeps `register`, `holders` and its own frames."""

    def __init__(self, register: Register[Resource], holders: Holders) -> None:
        self.services: Register[Resource] = Register(SERVICES)
        self.dialled = Spans(DIALLED)
        self.node_ports = Spans(NODE_PORTS)
        self.backends = Spans(BACKENDS)
        self._register = register
        self._holders = holders
        self._known: dict[Key, _Service] = {}
        self._slices: dict[Key, _Slice] = {}
        self._slices_of: defaultdict[Key, set[Key]] = defaultdict(set)
        self._freed: dict[Row, _Freed] = {}
        """Places to dial that a Service has given up: another can have them from then on only."""

    def put_service(self, time_ns: int, service: Service, *, is_first: bool) -> None:
        """A Service is, or has become, this."""
        key = (namespace_of(service), service.metadata.name)
        state = self._known.get(key)
        if state is not None and state.service.metadata.uid != service.metadata.uid:
            self.delete_service(time_ns, state.service)
            state = None
        born = lifetimes.born(service, time_ns, is_first=is_first) if state is None else time_ns
        if state is None:
            state = self._known[key] = _Service(self._register.add(service_row(service), service), service)
        state.service = service
        self._register.subjects[state.endpoint] = service
        self._claim(state, time_ns, born)
        rows = {port_row(service, port): port for port in service.spec.ports or []}
        has_new_ports = rows.keys() != state.ports.keys()
        state.ports = {
            row: (state.ports[row][0] if row in state.ports else self._number(state, row), port)
            for row, port in rows.items()
        }
        self._open(state, time_ns, born)
        if has_new_ports:
            for name in self._slices_of.get(key, ()):
                self._answer(self._slices[name], time_ns, born)

    def delete_service(self, time_ns: int, service: Service, lost_ns: int = END) -> None:
        """A Service is gone; `lost_ns` is since when that may be so, where nobody watched: a place to dial that another
        has since then may have been either's."""
        key = (namespace_of(service), service.metadata.name)
        state = self._known.pop(key)
        for claim in state.claims.values():
            claim.until = time_ns
            claim.lost = min(claim.lost, lost_ns)
        self._holders.touch(state.claims)
        state.ports = {}
        self._open(state, time_ns, time_ns, lost_ns)
        for name in self._slices_of.get(key, ()):
            self._answer(self._slices[name], time_ns, time_ns)

    def put_slice(self, time_ns: int, part: EndpointSlice, *, is_first: bool) -> None:
        """An EndpointSlice is, or has become, this."""
        key = (namespace_of(part), part.metadata.name)
        service = (key[0], part.service)
        state = self._slices.get(key)
        if state is not None and state.service != service:
            self.delete_slice(time_ns, state.part)
            state = None
        if state is None:
            state = self._slices[key] = _Slice(part, service)
            self._slices_of[service].add(key)
        state.part = part
        self._answer(state, time_ns, lifetimes.born(part, time_ns, is_first=is_first) if is_first else time_ns)

    def delete_slice(self, time_ns: int, part: EndpointSlice) -> None:
        """An EndpointSlice is gone."""
        key = (namespace_of(part), part.metadata.name)
        state = self._slices.pop(key)
        for backend in state.backends:
            self.backends.end(backend, time_ns)
        self._slices_of[state.service].discard(key)
        if not self._slices_of[state.service]:
            del self._slices_of[state.service]

    def forget(self, before_ns: int) -> None:
        """Drop what ended before an instant."""
        for spans in (self.dialled, self.node_ports, self.backends):
            spans.forget(before_ns)
        self._freed = {place: freed for place, freed in self._freed.items() if freed.until > before_ns}

    def remap(self, mapping: NDArray[np.uint32]) -> None:
        """Endpoints have new numbers."""
        self.services.rewrite(0, mapping)
        for state in self._known.values():
            state.endpoint = int(mapping[state.endpoint])

    def used(self) -> list[int]:
        """The endpoints that are spoken of."""
        return [*self.services.values(0), *(state.endpoint for state in self._known.values())]

    def renumber(self) -> None:
        """Drop Service ports that nothing speaks of any more."""
        current = [number for state in self._known.values() for number, _ in state.ports.values()]
        spans = ((self.dialled, 4), (self.node_ports, 2), (self.backends, 4))
        mapping = self.services.keep(
            np.concatenate([*(frame.used("service_id") for frame, _ in spans), np.array(current, np.uint32)])
        )
        for frame, at in spans:
            frame.remap("service_id", mapping, at)
        for state in self._known.values():
            state.ports = {row: (int(mapping[number]), port) for row, (number, port) in state.ports.items()}
            state.dialled = frozenset((*row[:4], int(mapping[row[4]]), row[5]) for row in state.dialled)
            state.node_ports = frozenset((*row[:2], int(mapping[row[2]])) for row in state.node_ports)
        for part in self._slices.values():
            part.backends = frozenset((*row[:4], int(mapping[row[4]]), row[5]) for row in part.backends)

    def _claim(self, state: _Service, time_ns: int, born: int) -> None:
        """Claim the Service's addresses for its endpoint."""
        own = {address for address, _, _ in service_claims(state.service, state.endpoint)}
        for address in state.claims.keys() - own:
            state.claims.pop(address).until = time_ns
            self._holders.touch((address,))
        for address in own - state.claims.keys():
            state.claims[address] = claim = Claim(state.endpoint, Strength.SERVICE, born, time_ns)
            self._holders.add(address, claim)

    def _number(self, state: _Service, row: Row) -> int:
        return self.services.add((state.endpoint, *row), state.service)

    def _open(self, state: _Service, time_ns: int, born: int, lost_ns: int = END) -> None:
        """Note where the Service's ports are dialled now."""
        service, protocols = state.service, PROTOCOLS
        dialled = frozenset(
            (*address, port.port, protocols[port.protocol], number, via)
            for address, via in dials(service).items()
            for number, port in state.ports.values()
        )
        node_ports = frozenset(
            (port.node_port, protocols[port.protocol], number)
            for number, port in state.ports.values()
            if port.node_port
        )
        key = (namespace_of(service), service.metadata.name)
        for spans, width, before, now in (
            (self.dialled, 4, state.dialled, dialled),
            (self.node_ports, 2, state.node_ports, node_ports),
        ):
            for fact in before - now:
                self._freed[fact[:width]] = _Freed(key, spans.end(fact, time_ns), lost_ns)
            for fact in now - before:  # the first columns are the place to dial, which one Service has at a time
                freed = self._freed.get(fact[:width])
                spans.begin(fact, max(born, min(freed.since(key), time_ns)) if freed else born)
        state.dialled, state.node_ports = dialled, node_ports

    def _answer(self, state: _Slice, time_ns: int, born: int) -> None:
        """Note who answers by the slice now."""
        service = self._known.get(state.service)
        now = frozenset(_backends(state.part, service.ports.values()) if service else ())
        for backend in state.backends - now:
            self.backends.end(backend, time_ns)
        for backend in now - state.backends:
            self.backends.begin(backend, born)
        state.backends = now


def _backends(part: EndpointSlice, ports: Iterable[tuple[int, ServicePort]]) -> Iterator[Row]:
    for number, port in ports:
        for backend in sliced([part], port):
            yield (*backend.address, backend.port, PROTOCOLS[port.protocol], number, backend.is_ready)
