"""Least-privilege NetworkPolicies from recorded connections: one policy a workload, one rule a peer.

A workload is known by its lasting labels, a peer by its namespace's name and its labels, nodes by their addresses, and
everything else by ranges of addresses. What a node masqueraded comes from the node too. The invariant: the same record
and objects give the same policies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from typing import Any, Final

import polars as pl

from ..attribution.flowfile import PROTOCOL_NUMBERS
from ..attribution.policies.identities import NAMESPACE_NAME
from ..inventory.addresses import NODE_LOCALS, text_of
from ..inventory.models import Pod, namespace_of
from ..inventory.parts import Network
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END
from .blocks import cover
from .ends import pods_now
from .selectors import Labels, shared

Peer = tuple[str, str, Labels] | tuple[str, str]
"""("pods", namespace, labels), ("nodes", ""), or ("addresses", "")."""

DNS_PORT: Final = 53
DNS_NAMESPACE: Final = "kube-system"
DNS_LABEL: Final = ("k8s-app", "kube-dns")
_NAMES: Final = {number: name for name, number in PROTOCOL_NUMBERS.items()}
_LONGEST_NAME: Final = 63
_NODE_LOCALS: Final = frozenset(str(address) for address in NODE_LOCALS)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a rule rests on."""

    connections: int
    last_seen: datetime | None
    callers: tuple[str, ...]
    """The workloads, nodes or addresses that were seen, some of them."""


@dataclass(frozen=True, slots=True)
class SuggestedRule:
    """One rule as it is written in a manifest, and its evidence."""

    body: Mapping[str, Any]
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class SuggestedPolicy:
    """One NetworkPolicy."""

    namespace: str
    name: str
    labels: Labels
    workloads: tuple[str, ...]
    ingress: Sequence[SuggestedRule]
    egress: Sequence[SuggestedRule]

    @property
    def manifest(self) -> dict[str, Any]:
        """The object, in the order in which people write it."""
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "podSelector": {"matchLabels": dict(self.labels)} if self.labels else {},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [rule.body for rule in self.ingress],
                "egress": [rule.body for rule in self.egress],
            },
        }


class _Cluster:
    """What of the cluster the rules are written with."""

    def __init__(self, snapshot: Snapshot, cluster_ranges: Sequence[Network]) -> None:
        self._subjects = snapshot.subjects
        self._pods: defaultdict[tuple[str, str, str], list[Pod]] = defaultdict(list)
        for row in pods_now(snapshot).iter_rows(named=True):
            pod = self._pod(row["id"])
            if pod is not None and not pod.spec.host_network:
                self._pods[row["namespace"], row["workload_kind"], row["workload"]].append(pod)
        nodes = snapshot.endpoints.filter(pl.col("kind") == "Node").select("id")
        held = snapshot.addresses.filter(pl.col("until") == END).join(
            nodes, left_on="endpoint_id", right_on="id", how="semi"
        )
        self.node_ips = text_of(held["addr_hi"], held["addr_lo"]).to_list()
        self.ranges = cluster_ranges

    @property
    def resolvers(self) -> list[Peer]:
        """The pods that resolve names, as kubeadm and everybody after it labels them."""
        found = {key: self.labels(key) for key in self._pods if key[0] == DNS_NAMESPACE}
        return sorted({("pods", DNS_NAMESPACE, labels) for labels in found.values() if DNS_LABEL in labels})

    def workloads(self, namespace: str) -> list[tuple[str, str, str]]:
        """The workloads of a namespace that policies can select, in order."""
        return sorted(key for key in self._pods if key[0] == namespace)

    def labels(self, workload: tuple[str, str, str]) -> Labels:
        """What the pods of a workload share."""
        return shared(self._pods[workload])

    def is_selectable(self, endpoint_id: int) -> bool:
        """Whether it is a pod that policies can select."""
        pod = self._pod(endpoint_id)
        return pod is not None and not pod.spec.host_network

    def port(self, namespace: str, labels: Labels, protocol: int, port: int) -> dict[str, Any]:
        """A port of a rule: by name where every pod with the labels declares that name for the number."""
        name = _NAMES[protocol]
        pods = [
            pod
            for key, members in self._pods.items()
            if key[0] == namespace
            for pod in members
            if set(labels) <= set((pod.metadata.labels or {}).items())
        ]
        declared = [_port_names(pod, name, port) for pod in pods]
        common = set.intersection(*declared) if declared else set()
        return {"protocol": name, "port": min(common) if common else port}

    def _pod(self, endpoint_id: int) -> Pod | None:
        subject = self._subjects[endpoint_id] if endpoint_id < len(self._subjects) else None
        return subject if isinstance(subject, Pod) else None


def suggest(
    snapshot: Snapshot,
    pairs: pl.DataFrame,
    namespace: str,
    workload: str | None = None,
    cluster_ranges: Sequence[Network] = (),
) -> list[SuggestedPolicy]:
    """Policies of a namespace for the legitimate pairs (`legitimate.sorted_out`), by name.

    A workload of which nothing is recorded gets no policy. Workloads that cannot be told apart by their labels share
    one. `cluster_ranges` are never taken into a range of addresses outside.
    """
    cluster = _Cluster(snapshot, cluster_ranges)
    legitimate = pairs.filter(pl.col("left_out").is_null())
    groups: defaultdict[Labels, list[tuple[str, str, str]]] = defaultdict(list)
    for key in cluster.workloads(namespace):
        if workload is None or key[2] == workload:
            groups[cluster.labels(key)].append(key)
    suggested: list[SuggestedPolicy] = []
    for labels, members in sorted(groups.items()):
        ingress = _rules(cluster, _of(legitimate, members, "destination"), "ingress", (namespace, labels))
        egress = _rules(cluster, _of(legitimate, members, "source"), "egress", (namespace, labels))
        if ingress or egress:
            names = tuple(f"{kind} {name}" for _, kind, name in members)
            name = _name(members, {policy.name for policy in suggested})
            suggested.append(SuggestedPolicy(namespace, name, labels, names, ingress, egress))
    return suggested


def _of(pairs: pl.DataFrame, members: Sequence[tuple[str, str, str]], side: str) -> list[dict[str, Any]]:
    """The pairs of these workloads on one side.

    A pod that reached itself did so through a Service, which may lead to another pod of its workload the next time.
    """
    keys = [f"{side}_{field}" for field in ("namespace", "workload_kind", "workload")]
    wanted = pl.DataFrame(members, schema=dict.fromkeys(keys, pl.String), orient="row")
    mine = pairs.filter(pl.col(f"{side}_kind") == "Pod")
    return mine.join(wanted, on=keys, how="semi", maintain_order="left").to_dicts()


def _rules(
    cluster: _Cluster, pairs: Iterable[dict[str, Any]], direction: str, subject: tuple[str, Labels]
) -> list[SuggestedRule]:
    """One rule a peer and set of ports. With any way out, name resolution is a way out over TCP too."""
    peer_side, peer_id = ("source", "src_id") if direction == "ingress" else ("destination", "dst_id")
    by_peer: defaultdict[Peer, list[dict[str, Any]]] = defaultdict(list)
    for pair in pairs:
        by_peer[_peer(cluster, pair, peer_side, peer_id)].append(pair)
        if direction == "ingress":
            for ip in pair["masqueraded_as"]:
                by_peer["nodes", ""].append({**pair, "source_seen_ip": ip})
    rules: list[SuggestedRule] = []
    for peer, seen in sorted(by_peer.items()):
        ports_of: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
        for pair in seen:
            whom = pair[f"{peer_side}_seen_ip"] if peer[0] == "addresses" else ""
            ports_of[whom].add((pair["protocol"], pair["port"]))
        by_ports: defaultdict[tuple[tuple[int, int], ...], set[str]] = defaultdict(set)
        for whom, ports in ports_of.items():
            by_ports[tuple(sorted(ports))].add(whom)
        for numbers, whoms in sorted(by_ports.items()):
            mine = [p for p in seen if peer[0] != "addresses" or p[f"{peer_side}_seen_ip"] in whoms]
            rules.append(_rule(cluster, direction, subject, peer, numbers, mine, peer_side))
    if direction == "egress" and rules and not any(is_resolution(rule) for rule in rules):
        rules += [
            _rule(cluster, direction, subject, peer, [(17, DNS_PORT)], [], peer_side) for peer in cluster.resolvers
        ]
    return rules


def is_resolution(rule: SuggestedRule) -> bool:
    """Whether a rule lets names be resolved."""
    return any(port["port"] in {DNS_PORT, "dns"} for port in rule.body["ports"])


def _peer(cluster: _Cluster, pair: Mapping[str, Any], side: str, id_column: str) -> Peer:
    if pair[f"{side}_kind"] == "Pod" and cluster.is_selectable(pair[id_column]):
        workload = (pair[f"{side}_namespace"], pair[f"{side}_workload_kind"], pair[f"{side}_workload"])
        return ("pods", pair[f"{side}_namespace"], cluster.labels(workload))
    if pair[f"{side}_seen_ip"] in _NODE_LOCALS:
        return ("addresses", "")  # the same on every node
    return ("nodes", "") if pair[f"{side}_kind"] in {"Pod", "Node"} else ("addresses", "")


def _rule(
    cluster: _Cluster,
    direction: str,
    subject: tuple[str, Labels],
    peer: Peer,
    ports: Sequence[tuple[int, int]],
    seen: Sequence[Mapping[str, Any]],
    side: str,
) -> SuggestedRule:
    named_at = subject if direction == "ingress" else (peer[1], peer[2]) if len(peer) == 3 else None
    is_dns = direction == "egress" and any(port == DNS_PORT for _, port in ports)
    numbers = sorted({*ports, *((protocol, DNS_PORT) for protocol in (6, 17) if is_dns)})
    written = [
        cluster.port(*named_at, *number) if named_at else {"protocol": _NAMES[number[0]], "port": number[1]}
        for number in numbers
    ]
    lasts = [pair["last"] for pair in seen if pair["last"] is not None]
    callers = sorted({_caller(pair, side) for pair in seen})
    evidence = Evidence(sum(pair["counted"] for pair in seen), max(lasts, default=None), tuple(callers))
    peers = _peers(cluster, peer, {pair[f"{side}_seen_ip"] for pair in seen})
    return SuggestedRule({"from" if direction == "ingress" else "to": peers, "ports": written}, evidence)


def _peers(cluster: _Cluster, peer: Peer, ips: Iterable[str]) -> list[dict[str, Any]]:
    if len(peer) == 3:
        pods: dict[str, Any] = {"matchLabels": dict(peer[2])} if peer[2] else {}
        return [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: peer[1]}}, "podSelector": pods}]
    if peer[0] == "nodes":
        return [{"ipBlock": {"cidr": str(block)}} for block in cover({*cluster.node_ips, *ips}, most=1 << 16)]
    return [{"ipBlock": {"cidr": str(block)}} for block in cover(ips, cluster.ranges)]


def _caller(pair: Mapping[str, Any], side: str) -> str:
    if pair[f"{side}_kind"] == "Pod":
        return f"{pair[f'{side}_namespace']}/{pair[f'{side}_workload']}"
    if pair[f"{side}_kind"] == "Node":
        return f"Node {pair[f'{side}_name']}"
    return str(pair[f"{side}_seen_ip"])


def _port_names(pod: Pod, protocol: str, number: int) -> set[str]:
    """The names that a pod's containers have for a port; a name that means two ports is none."""
    ports = [port for port in pod.spec.ports if port.name]
    names = {port.name for port in ports if port.protocol == protocol and port.container_port == number}
    return {
        name
        for name in names
        if {(port.protocol, port.container_port) for port in ports if port.name == name} == {(protocol, number)}
    }


def _name(members: Sequence[tuple[str, str, str]], taken: Collection[str]) -> str:
    """A name that says what it is for, short enough for a label; numbered where workloads are called alike."""
    ends = chain([""], (f"-{number}" for number in count(2)))
    names = (f"allow-{members[0][2]}"[: _LONGEST_NAME - len(end)].rstrip("-.") + end for end in ends)
    return next(name for name in names if name not in taken)


def namespaces_with_pods(snapshot: Snapshot) -> list[str]:
    """The namespaces that have pods which policies can select."""
    pods = (item for item in snapshot.subjects if isinstance(item, Pod) and not item.spec.host_network)
    return sorted({namespace_of(pod) for pod in pods})
