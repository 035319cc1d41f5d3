"""The collector works under exactly what the chart's DaemonSet gives it, whichever its source, and has nothing more.

What a container runtime would do is done here by hand: the capabilities as the bounding set, no new privileges, the
user, a root file system that is read-only in a mount namespace of its own, and the folders of the node at their places.
Its seccomp profile, RuntimeDefault, is the runtime's own and not applied here.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from collector.schema import SCOPES, unpack_records
from deploy.render import objects, template
from pipeline.bus import Message
from pipeline.decode import decode
from tests.collector.network import Network, echo_all, serving, transfer
from tests.collector.network import connected as connection

pytestmark = [
    pytest.mark.root,
    pytest.mark.manifests,
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv"),
]

ROOT: Final = Path(__file__).resolve().parents[2]
PORT: Final = 9465
CAPABILITIES: Final = {"NET_ADMIN": 12, "NET_RAW": 13, "SYS_PTRACE": 19, "PERFMON": 38, "BPF": 39}
"""Their numbers in include/uapi/linux/capability.h."""


@dataclass(frozen=True)
class Given:
    """What the DaemonSet gives the container."""

    pod: dict[str, Any]
    container: dict[str, Any]

    @property
    def capabilities(self) -> list[str]:
        assert self.container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        return list(self.container["securityContext"]["capabilities"]["add"])

    @property
    def folders(self) -> dict[str, str]:
        return {volume["name"]: volume["hostPath"]["path"] for volume in self.pod["volumes"]}


def given(*values: str) -> Given:
    found = objects(template(*(f"--set{'-json' if '[' in value else ''}={value}" for value in values)))
    (workload,) = [o for o in found if o["kind"] == "DaemonSet"]
    pod = workload["spec"]["template"]["spec"]
    return Given(pod, pod["containers"][0])


def mounted(it: Given, node: Path, bus: Path) -> str:
    """Shell: a root that cannot be written to, the node's folders and the bus at their places. Nothing outlives it."""
    steps = ["mount --make-rprivate /", "mount -t tmpfs -o size=1m none /run"]
    if "pin" in it.folders:
        steps += [f"mount -t bpf bpf {node}/bpf", f"mkdir -p {node}/bpf/pin"]
    steps += ["mount -t tmpfs -o size=1m none /var/lib", "mount -t tmpfs -o size=1m none /mnt", "mkdir /mnt/bus"]
    steps += [f"mount --bind {bus} /mnt/bus"]
    for name, path in it.folders.items():
        source = f"{node}/bpf/pin" if name == "pin" else f"{node}/{name}"
        if name == "pin":  # sysfs has no room for folders: the node's bpffs is mounted where it is on nodes
            steps += ["mount -t tmpfs -o size=1m none /sys/fs/bpf"]
        steps += [f"mkdir -p {source} {path}", f"mount --bind {source} {path}"]
    for place in ("/", "/run", "/var/lib", "/mnt", *(["/sys/fs/bpf"] if "pin" in it.folders else [])):
        steps.append(f"mount -o remount,bind,ro {place}")
    return " && ".join(steps)


@contextlib.contextmanager
def confined(it: Given, network: Network, node: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The collector as the DaemonSet runs it, on the network's node, over a bus of files."""
    bus = node / "bus"
    bus.mkdir(exist_ok=True)
    context = it.container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    kept = ",".join(["-all", *(f"+{name.lower()}" for name in it.capabilities)])
    confine = ["setpriv", f"--reuid={context['runAsUser']}", f"--bounding-set={kept}", f"--inh-caps={kept}"]
    if context["allowPrivilegeEscalation"] is False:
        confine.append("--no-new-privs")
    told = {v["name"]: v["value"] for v in it.container["env"] if "value" in v and "_KAFKA_" not in v["name"]}
    told |= {"FLOWATLAS_COLLECTOR_BUS": "file:///mnt/bus", "FLOWATLAS_COLLECTOR_INTERVAL_S": "0.2"}
    arguments = [a.replace("$(NODE_NAME)", "node").replace("$(HOST_IP)", "127.0.0.1") for a in it.container["args"]]
    run = shlex.join([*confine, "--", sys.executable, "-m", "pipeline.cli.main", *arguments])
    command = ["nsenter", f"--net={network.netns('node')}", "unshare", "--mount", "sh", "-c"]
    log = (node / "log").open("ab")
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **told}
    with log:
        process = subprocess.Popen(
            [*command, f"{mounted(it, node, bus)} && exec {run}"], cwd=ROOT, stdout=log, stderr=log, env=environment
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ask(network: Network, path: str) -> tuple[int, str]:
    """An answer of the collector's; 0 where none listens."""
    from collector.netlink import in_namespace

    def dial() -> tuple[int, str]:
        it = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        it.connect()
        return it  # type: ignore[return-value] # a socket stays in the namespace in which it was made

    try:
        it: Any = in_namespace(network.netns("node"), dial)
    except OSError:
        return 0, ""
    try:
        it.request("GET", path)
        answer = it.getresponse()
        return answer.status, answer.read().decode()
    finally:
        it.close()


def until_ready(network: Network, process: subprocess.Popen[bytes], node: Path) -> None:
    deadline = time.monotonic() + 60
    while ask(network, "/readyz")[0] != 200:
        assert process.poll() is None, (node / "log").read_text()
        assert time.monotonic() < deadline, (node / "log").read_text()
        time.sleep(0.1)


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def shipped(node: Path, table: str, scope: str = "") -> int:
    """How many rows of a table, of counters those of a scope, are on the bus."""
    topic = f"flowatlas.{table}.v1"
    rows = 0
    for number, path in enumerate(sorted((node / "bus" / topic / "node").glob("*.seg"))):
        for headers, value in unpack_records(path.read_bytes()):
            frame = decode(Message(topic, "node", number, b"node", headers, value)).frame
            rows += frame.height if not scope else frame.filter(pl.col("scope") == SCOPES.index(scope)).height
    return rows


def talk(network: Network) -> None:
    with serving(network, "10.2.0.2", echo_all), connection(network, "10.96.0.10", 80) as sock:
        transfer(sock, 1000)


@pytest.mark.parametrize("source", ["ebpf", "conntrack", "packets", "auto"])
def test_the_collector_ships_under_the_daemonsets_security_context(
    network: Network, tmp_path: Path, source: str
) -> None:
    it = given(f"collector.source={source}")
    (tmp_path / "bpf").mkdir()
    with confined(it, network, tmp_path) as process:
        until_ready(network, process, tmp_path)
        talk(network)
        expected = sum(1 << CAPABILITIES[name] for name in it.capabilities)
        now = status(process.pid)
        assert {key: int(now[key], 16) for key in ("CapEff", "CapPrm", "CapBnd")} == dict.fromkeys(
            ("CapEff", "CapPrm", "CapBnd"), expected
        )
        assert (now["NoNewPrivs"], now["Uid"].split()[1]) == ("1", str(it.container["securityContext"]["runAsUser"]))
        mounts = Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
        options = {line.split()[4]: line.split()[5].split(",")[0] for line in mounts}
        assert {options[place] for place in ("/", "/run", "/var/lib")} == {"ro"}
        assert {options[path] for path in it.folders.values()} <= {"rw"}
        kept = {name for name, path in it.folders.items() if any(Path(f"/proc/{process.pid}/root{path}").iterdir())}
        assert kept == it.folders.keys() - {"spool"}, "a bus of files needs no spool"
        deadline = time.monotonic() + 90
        while not (shipped(tmp_path, "flows") and shipped(tmp_path, "counters")):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            talk(network)
            time.sleep(0.3)
        assert ask(network, "/healthz")[0] == 200
        chosen = "ebpf" if source == "auto" else source
        assert f'flowatlas_collector_source_info{{reason="",source="{chosen}"}} 1.0' in ask(network, "/metrics")[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0, (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    assert "not used" not in said, said
    assert "needs CAP" not in said, said


@pytest.mark.parametrize(
    ("source", "without"),
    [("ebpf", "BPF"), ("ebpf", "NET_ADMIN"), ("ebpf", "PERFMON"), ("conntrack", "NET_ADMIN"), ("packets", "NET_RAW")],
)
def test_with_one_capability_less_the_source_refuses_to_start(
    network: Network, tmp_path: Path, source: str, without: str
) -> None:
    it = given(f"collector.source={source}", "collector.also=[]", "collector.tcpHealth=false")
    it.container["securityContext"]["capabilities"]["add"].remove(without)
    (tmp_path / "bpf").mkdir()
    with confined(it, network, tmp_path) as process:
        assert process.wait(60) == 2, (tmp_path / "log").read_text()
    assert "sources: " in (tmp_path / "log").read_text()


@pytest.mark.parametrize("is_given", [True, False])
def test_pods_interfaces_are_read_with_sys_ptrace_and_not_without(
    network: Network, tmp_path: Path, *, is_given: bool
) -> None:
    it = given("collector.source=conntrack", 'collector.also=["counters"]', "collector.tcpHealth=false")
    assert it.pod["hostPID"] is True
    capabilities = it.container["securityContext"]["capabilities"]["add"]
    assert capabilities == ["NET_ADMIN", "SYS_PTRACE"]
    if not is_given:
        capabilities.remove("SYS_PTRACE")
    with confined(it, network, tmp_path) as process:
        until_ready(network, process, tmp_path)
        deadline = time.monotonic() + 90
        while not shipped(tmp_path, "counters"):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        process.terminate()
        assert process.wait(90) == 0
    assert (shipped(tmp_path, "counters", "pod") > 0) is is_given
