"""NetworkPolicies as rules of nftables for the lab's nodes: a second reading of the API, for proofs.

It shares nothing with the pipeline: the objects are read as YAML, one pod and one rule at a time. Only what the lab's
policies have is understood; anything else is an error. Traffic is judged where policies.nft judges it: on its way out
of a pod where the pod lives (in from cni0), on its way in where the pod lives (out to cni0), and never within a pod.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

EVERYWHERE = {"ip": "0.0.0.0/0", "ip6": "::/0"}
"""All addresses, by the family's name in nftables."""


def objects(folder: Path) -> list[Object]:
    """Every object of the manifests of a folder."""
    texts = (path.read_text() for path in sorted(folder.glob("*.yaml")))
    return [item for text in texts for item in yaml.safe_load_all(text) if item]


def ruleset(policies: Sequence[Object], cluster: Sequence[Object]) -> str:
    """The rules of these policies for the pods of the cluster, of both address families."""
    return "".join(_table(ip, policies, cluster) for ip in EVERYWHERE)


def _table(ip: str, policies: Sequence[Object], cluster: Sequence[Object]) -> str:
    reading = _Reading(cluster, ip)
    jumps: list[str] = []
    chains: list[str] = []
    for number, pod in enumerate(reading.pods):
        for direction, interface, end in (("Egress", "iifname", "saddr"), ("Ingress", "oifname", "daddr")):
            mine = [policy for policy in policies if _isolates(policy, pod, direction)]
            if mine:
                name = f"{direction.lower()}-{number}"
                other = "daddr" if end == "saddr" else "saddr"
                address = reading.address(pod)
                lines = [f"{ip} {other} {address} return"]
                lines += [line for policy in mine for line in reading.allowing(policy, pod, direction)]
                chains.append(f"chain {name} {{\n" + "".join(f"  {line}\n" for line in (*lines, "drop")) + "}")
                jumps.append(f"{interface} cni0 {ip} {end} {address} jump {name}")
    forward = ["type filter hook forward priority filter + 10", "ct state established,related accept", *jumps]
    chains.append("chain forward {\n" + "".join(f"  {line}\n" for line in forward) + "}")
    return f"table {ip} proof {{\n" + "\n".join(chains) + "\n}\n"


class _Reading:
    """The cluster's pods as far as they have addresses of one family, `ip` or `ip6`."""

    def __init__(self, cluster: Sequence[Object], ip: str) -> None:
        pods = [item for item in cluster if item["kind"] == "Pod" and item["status"]["phase"] == "Running"]
        self._ip = ip
        self.pods = [pod for pod in pods if not pod["spec"].get("hostNetwork") and self.address(pod)]
        self._namespaces = {
            item["metadata"]["name"]: {
                **item["metadata"].get("labels", {}),
                "kubernetes.io/metadata.name": item["metadata"]["name"],
            }
            for item in cluster
            if item["kind"] == "Namespace"
        }

    def address(self, pod: Object) -> str | None:
        """The pod's address of the family."""
        addresses: list[str] = [entry["ip"] for entry in pod["status"]["podIPs"]]
        return next((address for address in addresses if _is_of(address, self._ip)), None)

    def allowing(self, policy: Object, pod: Object, direction: str) -> Iterator[str]:
        """A line for every address and port that a policy allows."""
        side, peers, end = ("ingress", "from", "saddr") if direction == "Ingress" else ("egress", "to", "daddr")
        for rule in policy["spec"].get(side) or ():
            for address, other in self._addresses(rule.get(peers), policy["metadata"]["namespace"]):
                destination = pod if direction == "Ingress" else other
                for port in _ports(rule.get("ports"), destination):
                    yield f"{self._ip} {end} {address} {port} return"

    def _addresses(self, peers: Sequence[Object] | None, namespace: str) -> Iterator[tuple[str, Object | None]]:
        if not peers:
            yield EVERYWHERE[self._ip], None
        for peer in peers or ():
            if "ipBlock" in peer:
                assert "except" not in peer["ipBlock"]
                if _is_of(peer["ipBlock"]["cidr"], self._ip):
                    yield peer["ipBlock"]["cidr"], None
                continue
            for pod in self.pods:
                where = pod["metadata"]["namespace"]
                inside = (
                    _meets(peer["namespaceSelector"], self._namespaces[where])
                    if "namespaceSelector" in peer
                    else where == namespace
                )
                if inside and _meets(peer.get("podSelector", {}), pod["metadata"].get("labels", {})):
                    yield str(self.address(pod)), pod


def _is_of(address: str, ip: str) -> bool:
    return (":" in address) == (ip == "ip6")


def _isolates(policy: Object, pod: Object, direction: str) -> bool:
    return (
        policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and direction in policy["spec"]["policyTypes"]
        and _meets(policy["spec"]["podSelector"], pod["metadata"].get("labels", {}))
    )


def _meets(selector: Object, labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}
    return set(selector.get("matchLabels", {}).items()) <= set(labels.items())


def _ports(ports: Sequence[Object] | None, destination: Object | None) -> Iterator[str]:
    if not ports:
        yield ""
    for port in ports or ():
        protocol, number = port["protocol"].lower(), port["port"]
        if isinstance(number, int):
            yield f"{protocol} dport {number}"
            continue
        assert destination is not None
        for container in destination["spec"]["containers"]:
            for declared in container.get("ports", ()):
                if declared.get("name") == number and declared["protocol"] == port["protocol"]:
                    yield f"{protocol} dport {declared['containerPort']}"
