"""The lab's truth against its kernels: a second witness reads each node's connection tracking by conntrack(8).

Run with and without enforcement. Needs root.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.lab import needs, topology
from deploy.lab.cluster import Enforce, Lab
from deploy.lab.objects import Cluster

REASONS = needs.missing()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(REASONS), reason="; ".join(REASONS))]

Key = tuple[int, str, int, str, int]
TUPLE = re.compile(r"src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)(?: packets=(\d+) bytes=(\d+))?")
OVERLAY_PORT = 8472
NETLINK_NETFILTER = "12"  # include/uapi/linux/netlink.h
FAMILIES = ("ipv4", "ipv6")
HEADERS = (40, 80)
IPV6_LONGER = 20


@dataclass(frozen=True)
class Entry:
    """One line of conntrack(8): both tuples as (src, sport, dst, dport), and (packets, bytes) of each where counted."""

    protocol: int
    original: tuple[str, int, str, int]
    reply: tuple[str, int, str, int]
    counted: tuple[tuple[int, int], tuple[int, int]]

    @property
    def key(self) -> Key:
        return (self.protocol, *self.original)


@dataclass(frozen=True)
class Run:
    """What one run of the lab left behind."""

    enforce: Enforce
    cluster: Cluster
    truth: list[dict[str, Any]]
    begun: dict[str, list[Entry]]  # by node: connections as they were confirmed
    table: dict[str, list[Entry]]  # by node: what was there at the end
    denials: dict[str, int]  # packets by the hand-written rules' counters, both nodes together


def parse(text: str) -> list[Entry]:
    entries = []
    for line in text.splitlines():
        protocol = re.search(r"\b(?:tcp|udp)\s+(6|17)\b", line)
        if protocol is None:
            continue
        sides = [
            ((s, int(sp), d, int(dp)), (int(packets or 0), int(size or 0)))
            for s, d, sp, dp, packets, size in TUPLE.findall(line)
        ]
        (original, sent), (reply, received) = sides
        entries.append(Entry(int(protocol[1]), original, reply, (sent, received)))
    return [e for e in entries if not (e.protocol == 17 and e.original[3] == OVERLAY_PORT)]


def inside(netns: Path, *command: str) -> list[str]:
    return ["nsenter", f"--net={netns}", *command]


def await_listeners(pid: int, count: int) -> None:
    """Wait until so many sockets of a process's network namespace have joined a group of the kernel's netfilter."""
    deadline = time.monotonic() + 60
    while True:
        rows = [line.split() for line in Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]]
        if sum(row[1] == NETLINK_NETFILTER and int(row[3], 16) > 0 for row in rows) >= count:
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module", params=["nftables", "none"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("lab")
    with Lab(folder, enforce=request.param) as lab:
        watchers = {}
        for node in lab.nodes:
            for family in FAMILIES:
                with (folder / f"{node.name}.{family}").open("w") as file:
                    command = inside(node.netns, "conntrack", "-E", "-e", "NEW", "-b", "8388608", "-f", family)
                    watcher = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
                    watchers[node.name, family] = watcher
        for node in lab.nodes:
            await_listeners(node.pid, len(FAMILIES))
        lab.traffic(6)
        begun: dict[str, list[Entry]] = {}
        for (name, family), watcher in watchers.items():
            watcher.terminate()
            watcher.wait()
            begun.setdefault(name, []).extend(parse((folder / f"{name}.{family}").read_text()))
        table, denials = {}, Counter[str]()
        for node in lab.nodes:
            dumps = [
                subprocess.run(
                    inside(node.netns, "conntrack", "-L", "-f", family), capture_output=True, text=True, check=True
                )
                for family in FAMILIES
            ]
            table[node.name] = [entry for dump in dumps for entry in parse(dump.stdout)]
            rules = subprocess.run(
                inside(node.netns, "nft", "list", "counters"), capture_output=True, text=True, check=True
            )
            for counter, packets in re.findall(r"counter (\S+) \{\s+packets (\d+)", rules.stdout):
                denials[counter] += int(packets)
        yield Run(request.param, lab.cluster, lab.truth(), begun, table, dict(denials))


def key(row: dict[str, Any]) -> Key:
    return row["protocol"], row["src_ip"], row["src_port"], row["dst_ip"], row["dst_port"]


def entry_node(run: Run, row: dict[str, Any]) -> str:
    """The node where a connection enters the cluster: the client's, else the one dialled, else the outside's route."""
    if "pod" in row["client"]:
        return run.cluster.pods[row["client"]["namespace"], row["client"]["pod"]].node
    dialled = [node.name for node in run.cluster.nodes if node.address == row["dst_ip"]]
    return dialled[0] if dialled else run.cluster.nodes[0].name


def own_addresses(run: Run, node: str) -> set[str]:
    (itself,) = (n for n in run.cluster.nodes if n.name == node)
    pods = {pod.address for pod in run.cluster.pods.values() if pod.node == node}
    pods |= {pod.address_v6 for pod in run.cluster.pods.values() if pod.node == node and pod.address_v6}
    return pods | {itself.address, itself.overlay_address, itself.bridge_address, itself.bridge_address_v6}


def enters(run: Run, node: str, entry: Entry) -> bool:
    """Whether this node is where the connection enters the cluster, judged without the truth."""
    if entry.original[0] == topology.OUTSIDE_CLIENT:
        return node == run.cluster.nodes[0].name or entry.original[2] in own_addresses(run, node)
    return entry.original[0] in own_addresses(run, node)


def test_truth_is_what_the_kernels_confirmed(run: Run) -> None:
    """Each tracked row is one entry where it enters the cluster, nothing else is, and untracked rows are nowhere."""
    for node in run.begun:
        confirmed = Counter(e.key for e in run.begun[node] if enters(run, node, e))
        told = Counter(key(row) for row in run.truth if row["tracked"] and entry_node(run, row) == node)
        assert confirmed == told
    untracked = {key(row) for row in run.truth if not row["tracked"]}
    assert untracked
    assert not untracked & {e.key for entries in run.begun.values() for e in entries}


def test_backends_are_those_that_the_kernels_chose(run: Run) -> None:
    """Who answered by its own word is where the kernel's reply comes from."""
    chosen: dict[tuple[str, Key], set[tuple[str, int]]] = {}
    for node, entries in run.begun.items():
        for e in entries:
            chosen.setdefault((node, e.key), set()).add((e.reply[0], e.reply[1]))
    answered = [row for row in run.truth if row["backend"] and row["tracked"]]
    assert len(answered) > 100
    for row in answered:
        assert (row["backend"]["ip"], row["backend"]["port"]) in chosen[entry_node(run, row), key(row)], row


def test_answers_are_complete(run: Run) -> None:
    """Whatever ended in order was answered by somebody who said so."""
    assert [row for row in run.truth if row["outcome"] == "closed" and row["backend"] is None] == []


def test_bytes_are_payload_and_headers(run: Run) -> None:
    """In both directions the kernel's bytes are the payload, what TCP sent of it again, and 40 to 80 bytes a packet, 20
    more over IPv6."""
    once = Counter(key(row) for row in run.truth)
    table = {(node, e.key): e for node, entries in run.table.items() for e in entries}
    checked = 0
    for row in run.truth:
        entry = table.get((entry_node(run, row), key(row)))
        if entry is None or row["protocol"] != 6 or row["outcome"] != "closed" or once[key(row)] > 1:
            continue
        least, most = (size + (IPV6_LONGER if ":" in row["src_ip"] else 0) for size in HEADERS)
        for way, (packets, size) in zip(("sent", "received"), entry.counted, strict=True):
            payload, again = row[f"{way}_bytes"], row[f"{way}_again_bytes"]
            assert payload + least * packets <= size, row
            assert again is None or size <= payload + again + most * packets, row
        checked += 1
    assert checked > 60


def test_masquerade(run: Run) -> None:
    """What is dialled from outside or at an external address is masqueraded; between pods nothing is.

    A routed pod address is as flannel has it: masqueraded where the pod is on another node than the one it enters by.
    """
    kinds = {"node-port": True, "outside-to-cluster-ip": True, "ingress": True, "load-balancer-from-pod": True}
    kinds |= {"external": True, "cluster-ip": False, "database": False, "mesh": False, "ipv6-pod": False}
    tables = {(node, e.key): e for node, entries in run.begun.items() for e in entries}
    seen = set()
    for row in run.truth:
        if row["scenario"] in kinds and row["outcome"] == "closed":
            entry = tables[entry_node(run, row), key(row)]
            masqueraded = entry.reply[2] != row["src_ip"]
            assert masqueraded == kinds[row["scenario"]], row
            assert not masqueraded or entry.reply[2] in own_addresses(run, entry_node(run, row))
            seen.add(row["scenario"])
    assert seen == set(kinds)
    routed = [row for row in run.truth if row["scenario"] == "outside-to-pod"]
    entered = [tables[entry_node(run, row), key(row)].reply[2] != row["src_ip"] for row in routed]
    elsewhere = [
        run.cluster.pods[r["backend"]["namespace"], r["backend"]["pod"]].node != entry_node(run, r) for r in routed
    ]
    assert entered == elsewhere
    assert set(elsewhere) == {True, False}


def test_affinity(run: Run) -> None:
    """Each client of the sticky Service is answered by one pod on each node that it comes through."""
    pods: dict[tuple[str, str], set[str]] = {}
    for row in run.truth:
        if row["scenario"] == "sticky":
            pods.setdefault((row["src_ip"], entry_node(run, row)), set()).add(row["backend"]["pod"])
    assert len(pods) == 3
    assert all(len(answered) == 1 for answered in pods.values())


def test_denials(run: Run) -> None:
    """Enforced, the denied get no reply and the rules have counted them; else all of them succeed."""
    attempts = [row for row in run.truth if row["scenario"].startswith("denied-")]
    if run.enforce == "nftables":
        assert {row["outcome"] for row in attempts} == {"no_reply"}
        assert {row["denied_by"] for row in attempts} == {row["denied_by"] for row in run.truth} - {None}
        assert {row["tracked"] for row in attempts} == {True, False}
        dropped = {name for name, packets in run.denials.items() if packets}
        assert dropped == {"deny-all-egress", "database-ingress", "web-netpol-egress", "web-netpol-ingress"}
    else:
        assert {row["outcome"] for row in attempts} == {"closed"}
        assert run.denials == {}


def test_outcomes(run: Run) -> None:
    """Each way of failing ends as it should, and what is no failure ends in order."""
    expected = {
        "closed-port": {"refused"},
        "ipv6-closed-port": {"refused"},
        "port-scan": {"refused", "closed"},
        "no-endpoints": {"refused"},
        "no-such-service-port": {"refused"},
        "unused-address": {"no_reply"},
        "one-way-datagrams": {"no_reply"},
        "reset-by-client": {"reset"},
        "reset-by-server": {"reset"},
    }
    found: dict[str, set[str]] = {}
    for row in run.truth:
        if not row["scenario"].startswith("denied-"):
            found.setdefault(row["scenario"], set()).add(row["outcome"])
    assert {scenario: expected.get(scenario, {"closed"}) for scenario in found} == found
    assert expected.keys() <= found.keys()


def test_names_that_do_not_exist(run: Run) -> None:
    answers = [row["answer"] for row in run.truth if row["scenario"] == "no-such-name"]
    assert answers
    assert set(answers) == {"NXDOMAIN"}


def test_ingress_has_a_leg_to_its_backends(run: Run) -> None:
    """For every answered request at the entrance, nginx opened one connection to the Service of its path."""
    legs = [row for row in run.truth if row["scenario"] == "ingress-leg"]
    fronts = [row for row in run.truth if row["scenario"] in ("ingress", "load-balancer-from-pod")]
    assert len(legs) == len(fronts)
    assert {row["service"]["name"] for row in legs} == {"frontend-service", "api-service", "web-nodeport"}
    assert {row["client"]["namespace"] for row in legs} == {"ingress-nginx"}
