"""Nodes and pods over time: their endpoints, the addresses that they held, the node ports that they listened on.

Each change of an object is compared with what the object said before. What is learnt late about who a pod is (its
ReplicaSet, its node's zone) holds for the past too: the pod gets a new endpoint in place of the old one. What changes
about it (its labels) does so at an instant. The invariant: an endpoint's row, labels and named ports never change.

A pod talks before its status tells its address, so it holds the address from its creation on, as far as nobody else
did; `holders` weighs that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from . import lifetimes
from .addresses import Address
from .backends import LISTENERS, listening
from .cilium_nodes import CiliumNode
from .claims import (
    TERMINAL_PHASES,
    Strength,
    cilium_claims,
    host_address,
    node_claims,
    pod_addresses,
    reported,
)
from .endpoint_states import NodeState, OwnerKey, PodKey, PodState
from .endpoints import node_row, pod_row
from .holders import Claim, Holders
from .models import Job, Node, Pod, ReplicaSet, Resource, namespace_of
from .owners import controller_of
from .parts import Owner
from .rows import Register, Spans
from .spans import END


class EndpointHistory:
    """Takes changes of Nodes, Pods and their owners, and keeps `register`, `holders` and `listeners`."""

    def __init__(self, register: Register[Resource], holders: Holders) -> None:
        self.listeners = Spans(LISTENERS)
        self._register = register
        self._holders = holders
        self._nodes: dict[str, NodeState] = {}
        self._pods: dict[PodKey, PodState] = {}
        self._owners: dict[OwnerKey, Owner | None] = {}
        self._gone_owners: set[OwnerKey] = set()
        self._owned: defaultdict[OwnerKey, set[PodKey]] = defaultdict(set)

    # --- owners ---

    def put_owner(self, owner: ReplicaSet | Job) -> None:
        """A ReplicaSet or Job is there: its pods belong to its own controller, and did before it was told."""
        key = (owner.kind, namespace_of(owner), owner.metadata.name)
        above = controller_of(owner.metadata)
        self._gone_owners.discard(key)
        if key not in self._owners or self._owners[key] != above:
            self._owners[key] = above
            self._rename(self._owned.get(key, ()))

    def delete_owner(self, owner: ReplicaSet | Job) -> None:
        """It is gone. What its remaining pods belong to stays."""
        key = (owner.kind, namespace_of(owner), owner.metadata.name)
        if self._owned.get(key):
            self._gone_owners.add(key)
        else:
            self._owners.pop(key, None)

    # --- nodes ---

    def put_node(self, time_ns: int, node: Node, *, is_first: bool) -> None:
        """A Node is, or has become, this."""
        name = node.metadata.name
        row = node_row(name, node)
        state = self._nodes.get(name)
        if state is None:
            state = self._nodes[name] = NodeState(self._register.add(row, node))
        before, state.node, state.is_there = state.node, node, True
        is_relabelled = before is not None and before.metadata.labels != node.metadata.labels
        if row != self._register.row(state.endpoint):
            state.endpoint = self._register.add(row, node)
            for claim, _ in state.claims.values():
                claim.endpoint = state.endpoint
            self._holders.touch(address for address, _ in state.claims)
            self._rename(state.pods, is_relabelled=is_relabelled)
        elif is_relabelled:
            self._relabel(state, node, time_ns)
        self._register.subjects[state.endpoint] = node
        own = frozenset((address, strength) for address, strength, _ in node_claims(node, state.endpoint))
        self._exchange(state, state.own, own, lifetimes.born(node, time_ns, is_first=is_first), time_ns)
        state.own = own
        if before is None or reported(before) != reported(node):
            for key in state.pods:
                self._listen(self._pods[key], time_ns, time_ns)

    def delete_node(self, time_ns: int, node: Node, lost_ns: int = END) -> None:
        """A Node is gone; `lost_ns` is since when that may be so, where nobody watched."""
        name = node.metadata.name
        state = self._nodes[name]
        state.is_there = False
        for what in state.own:
            self._withdraw(state, what, time_ns, lost_ns)
        state.own = frozenset()
        self._drop_if_unknown(name)

    def put_cilium_node(self, time_ns: int, noted: CiliumNode, *, is_first: bool) -> None:
        """Cilium notes, or has come to note, this of a node."""
        state = self._node(noted.metadata.name)
        told = frozenset((address, strength) for address, strength, _ in cilium_claims(noted, state.endpoint))
        self._exchange(state, state.noted, told, lifetimes.born(noted, time_ns, is_first=is_first), time_ns)
        state.noted = told

    def delete_cilium_node(self, time_ns: int, noted: CiliumNode, lost_ns: int = END) -> None:
        """Cilium notes nothing of a node any more; `lost_ns` is as `delete_node` has it."""
        state = self._node(noted.metadata.name)
        for what in state.noted:
            self._withdraw(state, what, time_ns, lost_ns)
        state.noted = frozenset()
        self._drop_if_unknown(noted.metadata.name)

    # --- pods ---

    def put_pod(self, time_ns: int, pod: Pod, *, is_first: bool) -> None:
        """A Pod is, or has become, this."""
        key = (namespace_of(pod), pod.metadata.name)
        born = lifetimes.born(pod, time_ns, is_first=is_first)
        state = self._pods.get(key)
        if state is not None and state.pod.metadata.uid != pod.metadata.uid:
            self._end(key, time_ns, born)
            state = None
        if state is None:
            state = self._enter(key, pod)
        self._identify(state, pod, time_ns)
        self._hold(state, time_ns, born, is_first=is_first)
        host = host_address(pod) if state.node else None
        if host != state.host:
            node = self._nodes.get(state.node)
            if node is not None and host is not None:
                self._support(node, (host, Strength.NODE), born, time_ns)
            if node is not None and state.host is not None:
                self._withdraw(node, (state.host, Strength.NODE), time_ns)
            state.host = host
        self._listen(state, born if is_first else time_ns, lifetimes.ended(pod, time_ns) or time_ns)
        state.told = time_ns

    def delete_pod(self, time_ns: int, pod: Pod, lost_ns: int = END) -> None:
        """A Pod is gone; `lost_ns` is since when that may be so, where nobody watched."""
        self._end((namespace_of(pod), pod.metadata.name), time_ns, lost_ns)

    def _enter(self, key: PodKey, pod: Pod) -> PodState:
        owner = controller_of(pod.metadata)
        owner_key = (owner.kind, key[0], owner.name) if owner and owner.kind in {"ReplicaSet", "Job"} else None
        if owner_key is not None:
            self._owned[owner_key].add(key)
        name = pod.spec.node_name or ""
        node = self._node(name).node if name else None
        state = PodState(self._register.add(pod_row(pod, self._owners, node), pod), pod, owner_key)
        self._pods[key] = state
        self._place(state, key, name)
        return state

    def _place(self, state: PodState, key: PodKey, name: str) -> None:
        """Note which node the pod is on."""
        if state.node:
            self._nodes[state.node].pods.discard(key)
        if name:
            self._node(name).pods.add(key)
        state.node = name

    def _identify(self, state: PodState, pod: Pod, time_ns: int) -> None:
        """Give the pod a new endpoint where who it is has become known, or what it is to policies has changed."""
        before, state.pod = state.pod, pod
        name = pod.spec.node_name or ""
        if name != state.node:
            self._place(state, (namespace_of(pod), pod.metadata.name), name)
        if self._renamed(state):
            return
        if before.metadata.labels == pod.metadata.labels and list(before.spec.ports) == list(pod.spec.ports):
            self._register.subjects[state.endpoint] = pod
            return
        self._become(state, time_ns)

    def _hold(self, state: PodState, time_ns: int, born: int, *, is_first: bool) -> None:
        """Claim the addresses that the pod holds, and give back those that it does not."""
        pod = state.pod
        is_over = pod.status.phase in TERMINAL_PHASES
        ended = lifetimes.ended(pod, time_ns)
        finished = lifetimes.finished(pod)
        told = pod_addresses(pod)
        own = [] if is_over else told
        for address in [address for address in state.claims if address not in own]:
            claim = state.claims.pop(address)
            claim.closing = min(claim.closing, finished)
            claim.until = ended if is_over and ended is not None and ended > claim.since else time_ns
            self._holders.touch((address,))
        since = state.told if state.had_address else max(born, lifetimes.ran(pod))
        for address in own:
            if address not in state.claims:
                state.claims[address] = claim = Claim(state.endpoint, Strength.POD, since, time_ns)
                self._holders.add(address, claim)
        if is_over and not state.had_address and (ended is not None or not is_first):
            for address in told:  # it came and went before it was told of
                claim = Claim(state.endpoint, Strength.POD, since, time_ns)
                claim.until = time_ns if ended is None else ended
                self._holders.add(address, claim)
        state.had_address |= bool(told)
        if pod.metadata.deletion_timestamp:
            for claim in state.claims.values():
                claim.leaving = min(claim.leaving, time_ns)
                claim.closing = min(claim.closing, finished)
                claim.lost = claim.lost if ended is None else min(claim.lost, ended)
            self._holders.touch(state.claims)

    def _listen(self, state: PodState, since: int, until: int) -> None:
        """Note where the pod listens now: new places since one instant, places left until another."""
        node = self._nodes.get(state.node)
        places = {
            (*address, port, protocol, state.endpoint): None
            for address, port, protocol in listening(state.pod, node.node if node else None)
        }
        for place in [place for place in state.listeners if place not in places]:
            del state.listeners[place]
            self.listeners.end(place, until)
        for place in places:
            if place not in state.listeners:
                state.listeners[place] = since
                self.listeners.begin(place, since)

    def _end(self, key: PodKey, time_ns: int, lost_ns: int) -> None:
        state = self._pods.pop(key)
        for claim in state.claims.values():
            claim.until = time_ns
            claim.lost = min(claim.lost, lost_ns)
        self._holders.touch(state.claims)
        for place in state.listeners:
            self.listeners.end(place, time_ns)
        node = self._nodes.get(state.node)
        if node is not None:
            if state.host is not None:
                self._withdraw(node, (state.host, Strength.NODE), time_ns)
            node.pods.discard(key)
            self._drop_if_unknown(state.node)
        if state.owner is not None:
            owned = self._owned[state.owner]
            owned.discard(key)
            if not owned:
                del self._owned[state.owner]
                if state.owner in self._gone_owners:
                    self._gone_owners.discard(state.owner)
                    self._owners.pop(state.owner, None)

    # --- both ---

    def _relabel(self, state: NodeState, node: Node, time_ns: int) -> None:
        """A node has other labels from an instant on, and with it the pods on its network, which are it to policies."""
        state.endpoint, state.since = self._register.add(self._register.row(state.endpoint), node), time_ns
        for what, (claim, count) in state.claims.items():
            state.claims[what] = self._follow(what[0], claim, state.endpoint, time_ns), count
        for pod in (self._pods[key] for key in state.pods):
            if pod.pod.spec.host_network:
                self._become(pod, time_ns)
                self._listen(pod, time_ns, time_ns)

    def _become(self, state: PodState, time_ns: int) -> None:
        """A pod is another endpoint, alike but for what it is to policies, from an instant on."""
        state.endpoint = self._register.add(self._register.row(state.endpoint), state.pod)
        for address, claim in state.claims.items():
            state.claims[address] = self._follow(address, claim, state.endpoint, time_ns)

    def _follow(self, address: Address, claim: Claim, endpoint: int, time_ns: int) -> Claim:
        """The claim of another endpoint in place of one's, from an instant on."""
        claim.until = time_ns
        again = Claim(endpoint, claim.strength, time_ns, time_ns)
        again.leaving, again.closing, again.lost = claim.leaving, claim.closing, claim.lost
        self._holders.add(address, again)
        return again

    def used(self) -> list[int]:
        """The endpoints that are spoken of."""
        nodes = [state.endpoint for state in self._nodes.values()]
        pods = [state.endpoint for state in self._pods.values()]
        return [*nodes, *pods, *self.listeners.used("endpoint_id").tolist()]

    def remap(self, mapping: NDArray[np.uint32]) -> None:
        """Endpoints have new numbers."""
        self.listeners.remap("endpoint_id", mapping, 4)
        for node in self._nodes.values():
            node.endpoint = int(mapping[node.endpoint])
        for pod in self._pods.values():
            pod.endpoint = int(mapping[pod.endpoint])
            pod.listeners = {(*place[:4], int(mapping[place[4]])): since for place, since in pod.listeners.items()}

    def _rename(self, pods: Iterable[PodKey], *, is_relabelled: bool = False) -> None:
        """What the pods' rows are made of has become known; `is_relabelled`: their node's labels are others too."""
        for key in pods:
            state = self._pods[key]
            self._renamed(state, is_other=is_relabelled and bool(state.pod.spec.host_network))

    def _renamed(self, state: PodState, *, is_other: bool = False) -> bool:
        """Whether the pod is another endpoint now; it was from the beginning, as far as its spans are open."""
        node = self._nodes.get(state.node)
        row = pod_row(state.pod, self._owners, node.node if node else None)
        if row == self._register.row(state.endpoint) and not is_other:
            return False
        state.endpoint = self._register.add(row, state.pod)
        for claim in state.claims.values():
            claim.endpoint = state.endpoint
        self._holders.touch(state.claims)
        before, state.listeners = state.listeners, {}
        for place, since in before.items():
            self.listeners.end(place, since)
            again = (*place[:-1], state.endpoint)
            state.listeners[again] = since
            self.listeners.begin(again, since)
        return True

    def _node(self, name: str) -> NodeState:
        state = self._nodes.get(name)
        if state is None:
            state = self._nodes[name] = NodeState(self._register.add(node_row(name, None), None))
        return state

    def _drop_if_unknown(self, name: str) -> None:
        state = self._nodes[name]
        if not state.is_there and not state.pods and not state.noted:
            del self._nodes[name]

    def _exchange(
        self,
        state: NodeState,
        before: frozenset[tuple[Address, Strength]],
        now: frozenset[tuple[Address, Strength]],
        since: int,
        time_ns: int,
    ) -> None:
        """What an object claims for a node is another now; what is new holds since an instant."""
        for what in now - before:
            self._support(state, what, since, time_ns)
        for what in before - now:
            self._withdraw(state, what, time_ns)

    def _support(self, state: NodeState, what: tuple[Address, Strength], since: int, time_ns: int) -> None:
        since = max(since, state.since)
        if what in state.claims:
            claim, count = state.claims[what]
            state.claims[what] = (claim, count + 1)
            if since < claim.since:
                claim.since = since
                self._holders.touch((what[0],))
            return
        claim = Claim(state.endpoint, what[1], since, time_ns)
        state.claims[what] = (claim, 1)
        self._holders.add(what[0], claim)

    def _withdraw(self, state: NodeState, what: tuple[Address, Strength], time_ns: int, lost_ns: int = END) -> None:
        claim, count = state.claims[what]
        if count > 1:
            state.claims[what] = (claim, count - 1)
            return
        del state.claims[what]
        claim.until = time_ns
        claim.lost = min(claim.lost, lost_ns)
        self._holders.touch((what[0],))
