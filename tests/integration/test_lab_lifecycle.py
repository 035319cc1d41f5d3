"""The lab comes up beside others, touches nothing that it did not make, and leaves nothing, whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.lab import needs
from deploy.lab.cluster import Lab
from deploy.lab.files import FilesError
from deploy.lab.namespaces import NamespaceError, configure

ROOT = Path(__file__).parents[2]


def host_view() -> tuple[str, ...]:
    """What the host's own namespaces hold: links, addresses, routes, rules, named namespaces, forwarding."""
    commands = (["ip", "link"], ["ip", "addr"], ["ip", "route", "show", "table", "all"], ["nft", "list", "ruleset"])
    texts = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands]
    named = Path("/run/netns")
    sysctls = ("net/ipv4/ip_forward", "net/netfilter/nf_conntrack_acct", "net/ipv6/conf/all/disable_ipv6")
    texts += [str(sorted(named.iterdir())) if named.exists() else ""]
    return (*texts, *(Path("/proc/sys", name).read_text() for name in sysctls))


def processes_of(folder: Path) -> list[int]:
    """The processes of this machine that have this folder in their command line, open files or mounts."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes() + (entry / "mountinfo").read_bytes()
                words += b"".join(bytes(fd.readlink()) for fd in (entry / "fd").iterdir())
            except OSError:  # it has ended meanwhile
                continue
            if bytes(folder) in words:
                found.append(int(entry.name))
    return found


def net_namespaces() -> set[str]:
    """The network namespaces that some process lives in."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.add(str((entry / "ns/net").readlink()))
            except OSError:  # it has ended meanwhile
                continue
    return found


@pytest.mark.root
@pytest.mark.skipif(bool(needs.missing()), reason="; ".join(needs.missing()) or "can run")
class TestAsRoot:
    def test_host_is_untouched(self, tmp_path: Path) -> None:
        """While the lab is up and after it, the host's namespaces are as they were; sandboxes are the lab's alone."""
        before = host_view()
        with Lab(tmp_path) as lab:
            assert host_view() == before
            inodes = {str(pod.netns.readlink()) for pod in lab.pods.values()}
            assert len(inodes) == sum(not pod.host_network for pod in lab.cluster.pods.values()) + len(lab.nodes)
            assert processes_of(tmp_path)
        assert host_view() == before
        assert processes_of(tmp_path) == []
        assert not inodes & net_namespaces()

    def test_node_shows_its_own_processes(self, tmp_path: Path) -> None:
        """A node's /proc holds its pods and their interfaces, and not the other node's."""
        with Lab(tmp_path) as lab:
            for node in lab.nodes:
                inside = [entry for entry in node.proc.iterdir() if entry.name.isdigit()]
                spaces = {str((entry / "ns/net").readlink()) for entry in inside}
                assert spaces == {str(p.netns.readlink()) for p in lab.pods.values() if p.node == node.name}
                assert "flannel.1" in (node.proc / "1/net/dev").read_text()
                assert str((node.proc / "1/ns/net").readlink()) == str(node.netns.readlink())

    def test_pods_resolve_names_as_people_do(self, tmp_path: Path) -> None:
        """A shell in a pod finds Services by the short names of its own namespace, of both families."""
        with Lab(tmp_path) as lab:
            pid = lab.pods["app-namespace", "backend-74f9c6d85b-9nxlt"].pid
            command = ["nsenter", "--target", str(pid), "--net", "--uts", "--mount", "--pid"]
            asked = subprocess.run([*command, "getent", "ahosts", "backend-service"], capture_output=True, check=True)
            named = subprocess.run([*command, "hostname"], capture_output=True, check=True)
        assert {line.split()[0] for line in asked.stdout.splitlines()} == {b"10.96.0.100", b"fd00:10:96::64"}
        assert named.stdout == b"backend-74f9c6d85b-9nxlt\n"

    def test_killed_driver_leaves_nothing(self, tmp_path: Path) -> None:
        """After kill -9 in the middle of traffic: no process, no namespace, no device; and a second run is clean."""
        before = host_view()
        command = [sys.executable, "-m", "deploy.lab", "up", "--duration", "60", "--dir", str(tmp_path)]
        with (tmp_path / "driver.log").open("w") as log:
            driver = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + 90
        while not any(path.stat().st_size for path in tmp_path.glob("clients/*.jsonl")):
            assert time.monotonic() < deadline, (tmp_path / "driver.log").read_text()
            time.sleep(0.1)
        members = processes_of(tmp_path)
        spaces = {str((Path("/proc") / str(pid) / "ns/net").readlink()) for pid in members} & net_namespaces()
        spaces.discard(str(Path("/proc/self/ns/net").readlink()))
        assert len(spaces) > 10
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        deadline = time.monotonic() + 90
        while processes_of(tmp_path) or spaces & net_namespaces():
            assert time.monotonic() < deadline, processes_of(tmp_path)
            time.sleep(0.05)
        assert host_view() == before

        with Lab(tmp_path) as lab:
            assert not list((tmp_path / "clients").iterdir())
            lab.traffic(1)
            assert {row["id"].split("-")[0] for row in lab.truth()} == {"1", "leg", "sidecar"}

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_driver_leaves_in_order(self, tmp_path: Path, number: signal.Signals) -> None:
        command = [sys.executable, "-u", "-m", "deploy.lab", "up", "--dir", str(tmp_path)]
        driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert driver.stdout is not None
        while not driver.stdout.readline().startswith("up;"):
            assert driver.poll() is None
        driver.send_signal(number)
        printed, _ = driver.communicate(timeout=90)
        assert driver.returncode == 0
        assert "taken down" in printed
        assert processes_of(tmp_path) == []

    def test_two_labs_side_by_side(self, tmp_path: Path) -> None:
        """Labs in two folders do not see each other; a second one in the same folder is refused by name."""
        with Lab(tmp_path / "one") as one, Lab(tmp_path / "two") as two:
            ours, theirs = ({pod.netns.readlink() for pod in lab.pods.values()} for lab in (one, two))
            assert not ours & theirs
            with pytest.raises(FilesError, match="another lab runs in"):
                Lab(tmp_path / "one").start()
            assert "10.244.2.0/24" in configure(one._machines["node1"], ["ip", "route"])

    def test_failed_start_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the rules cannot be loaded, the error says so and everything made before is gone."""
        monkeypatch.setattr("deploy.lab.services.render", lambda cluster, node: "no such rule")
        with pytest.raises(NamespaceError, match="nft -f - exited 1"):
            Lab(tmp_path).start()
        assert processes_of(tmp_path) == []


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a tool and without root, the error names the tool, its Debian package, and the need for root."""
    monkeypatch.setattr("shutil.which", lambda tool: None if tool == "dnsmasq" else f"/usr/sbin/{tool}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert len(needs.missing()) == 2
    with pytest.raises(needs.NeedsError, match=r"dnsmasq is not installed \(Debian package dnsmasq-base\)\n.*root"):
        needs.require()
