"""The lab itself: brings the cluster of `manifests/` up, drives traffic through it, and takes it down.

`with Lab(run_dir) as lab: lab.traffic(30); lab.truth()`. Needs root on Linux. The driver is whatever process holds the
`Lab`; all namespaces end with it (see `namespaces`). Files are in `run_dir`, and the next run removes what a killed one
left there.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from . import journals, programs, scenarios, services, sidecars, topology
from .files import Files
from .misdeeds import Misdeed
from .namespaces import Holder, NamespaceError, Room, configure, wait_listening
from .needs import require
from .objects import Cluster, Pod, load

MANIFESTS: Final = Path(__file__).parent / "manifests"
POLICIES: Final = Path(__file__).parent / "enforcement" / "policies.nft"

Enforce = Literal["nftables", "none"]
Progress = Callable[[float, int], None]


@dataclass(frozen=True, slots=True)
class LabNode:
    """A node that is up. `pid` is its first process, `netns` and `proc` its network namespace and its own /proc."""

    name: str
    pid: int
    netns: Path
    proc: Path


@dataclass(frozen=True, slots=True)
class LabPod:
    """A pod that is up. `pid` holds its namespaces; of a hostNetwork pod that is the node's first process."""

    pid: int
    ip: str
    node: str
    netns: Path


class Lab:
    """One miniature cluster. Constructing is inert; `start` and `stop`, or `with`.

    `rules` is a ruleset of nftables that every node loads too, for policies that the manifests do not hold.
    """

    def __init__(self, run_dir: Path, enforce: Enforce = "nftables", seed: int = 1, rules: str = "") -> None:
        self.manifests = MANIFESTS
        self.enforce: Enforce = enforce
        self.cluster: Cluster = load(MANIFESTS)
        self._files = Files(run_dir.resolve())
        self._seed = seed
        self._rules = rules
        self._misdeeds: tuple[Misdeed, ...] = ()
        self._runs = 0
        self._room = Room()
        self._machines: dict[str, Holder] = {}
        self._sandboxes: dict[tuple[str, str], Holder] = {}

    @property
    def nodes(self) -> tuple[LabNode, ...]:
        """The nodes that are up, in the manifests' order."""
        held = [(node.name, self._machines[node.name]) for node in self.cluster.nodes]
        return tuple(LabNode(name, h.pid, h.netns, Path("/proc", str(h.pid), "root", "proc")) for name, h in held)

    @property
    def pods(self) -> Mapping[tuple[str, str], LabPod]:
        """The pods that are up, by (namespace, name)."""
        held = {key: self._holder(pod) for key, pod in self.cluster.pods.items()}
        return {
            k: LabPod(h.pid, self.cluster.pods[k].address, self.cluster.pods[k].node, h.netns) for k, h in held.items()
        }

    @property
    def outside(self) -> LabNode:
        """The machine outside the cluster: its client and its API."""
        holder = self._machines["outside"]
        return LabNode("outside", holder.pid, holder.netns, Path("/proc", str(holder.pid), "root", "proc"))

    def start(self) -> None:
        """Bring everything up. Raises NeedsError naming what is missing, FilesError or NamespaceError."""
        require()
        self._files.take()
        try:
            self._prepare()
            self._room.start()
            self._start_machines()
            self._start_sandboxes()
            self._start_rules()
            self._start_programs()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Take everything down and wait until it is gone; safe to call twice. The run's files stay."""
        self._room.stop()
        self._machines.clear()
        self._sandboxes.clear()
        self._files.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def traffic(
        self, duration_s: float, progress: Progress | None = None, more: Sequence[scenarios.Theme] = ()
    ) -> None:
        """Run all generators for `duration_s` and return when every connection is closed and in the truth.

        `more` are themes besides the ordinary ones. `progress` is called about twice a second with the seconds passed
        and the connections finished so far. May be called again: the truth then holds the connections of all calls.
        Raises NamespaceError where a generator met what its plan does not foresee.
        """
        self._runs += 1
        is_enforced = self.enforce == "nftables" and not any(misdeed.ends_enforcement for misdeed in self._misdeeds)
        themes = [*more, *(misdeed.traffic for misdeed in self._misdeeds)]
        plan = scenarios.plan(self.cluster, duration_s, self._seed + self._runs, self._runs, is_enforced, themes)
        begin = time.monotonic()
        clients = [self._start_client(name, job) for name, job in plan.items()]
        outputs = [self._files.client(self._runs, name) for name in plan]
        while any(client.poll() is None for client in clients):
            time.sleep(0.1 if progress is None else 0.5)
            if progress is not None:
                progress(time.monotonic() - begin, sum(path.read_bytes().count(b"\n") for path in outputs))
        failed = [name for name, client in zip(plan, clients, strict=True) if client.returncode]
        if failed:
            raise NamespaceError("unforeseen: " + "".join(self._files.log(f"client-{n}").read_text() for n in failed))
        journals.wait_settled(self._files)
        truth = journals.collect(self.cluster, self._files)
        self._files.truth.write_text("".join(json.dumps(row) + "\n" for row in truth))

    def misbehave(self, misdeeds: Sequence[Misdeed]) -> None:
        """Do these to the nodes and pods; from now on `traffic` has theirs too. What meets them is not in the truth as
        it ended: the truth tells what a plan foresees.

        Raises NamespaceError where a deed fails.
        """
        self._misdeeds = (*self._misdeeds, *misdeeds)
        for misdeed in misdeeds:
            for deed in misdeed.deeds(self.cluster):
                namespace, slash, name = deed.where.partition("/")
                holder = self._holder(self.cluster.pods[namespace, name]) if slash else self._machines[namespace]
                configure(holder, deed.command, deed.text)

    def truth(self) -> list[dict[str, Any]]:
        """The connections generated so far, in the order they began; see `journals` for the keys."""
        return [json.loads(line) for line in self._files.truth.read_text().splitlines()]

    def _prepare(self) -> None:
        hosts = [*dict.fromkeys(route.host for route in self.cluster.routes), programs.API_HOST]
        self._files.make_certificate([*hosts, scenarios.API_SERVER_HOST])
        self._files.names.write_text(programs.names(self.cluster))
        self._files.aliases.write_text(programs.aliases(self.cluster))
        for namespace in {pod.namespace for pod in self.cluster.pods.values()}:
            self._files.resolv_conf(namespace).write_text(programs.resolv_conf(self.cluster, namespace))

    def _start_machines(self) -> None:
        self._machines = {name: self._room.machine(name) for name in [*(n.name for n in self.cluster.nodes), "outside"]}
        for holder in self._machines.values():
            holder.wait()
        configure(self._room.holder, topology.sysctl(topology.QUIET))
        pids = {name: holder.pid for name, holder in self._machines.items()}
        configure(self._room.holder, ["ip", "-batch", "-"], topology.underlay(pids))
        configure(self._machines["outside"], topology.sysctl(topology.QUIET))
        configure(self._machines["outside"], ["ip", "-batch", "-"], topology.outside(self.cluster))

    def _start_sandboxes(self) -> None:
        networked = [pod for pod in self.cluster.pods.values() if not pod.host_network]
        self._sandboxes = {
            pod.key: self._room.sandbox(self._machines[pod.node], pod.name, self._files.resolv_conf(pod.namespace))
            for pod in networked
        }
        for holder in self._sandboxes.values():
            holder.wait()
        for node in self.cluster.nodes:
            machine = self._machines[node.name]
            own = [pod for pod in networked if pod.node == node.name]
            others = [other for other in self.cluster.nodes if other is not node]
            dual = [pod for pod in own if pod.address_v6]
            veths = [(pod, self._sandboxes[pod.key].pid) for pod in own]
            configure(machine, topology.sysctl(topology.NODE_SYSCTLS))
            configure(machine, ["ip", "-batch", "-"], topology.node(node, others, veths))
            configure(machine, ["bridge", "-batch", "-"], topology.forwarding(others))
            configure(machine, topology.sysctl(topology.NODE_V6_SYSCTLS))
            configure(machine, ["ip", "-batch", "-"], topology.node_v6(node, others, dual))
            for pod in own:
                sandbox = self._sandboxes[pod.key]
                configure(sandbox, topology.sysctl(topology.QUIET))
                configure(sandbox, ["ip", "-batch", "-"], topology.pod(pod.address, node))
            for pod in dual:
                sandbox = self._sandboxes[pod.key]
                configure(sandbox, topology.sysctl(topology.POD_V6_SYSCTLS))
                neighbours = [other for other in dual if other is not pod]
                configure(sandbox, ["ip", "-batch", "-"], topology.pod_v6(pod, node, neighbours))

    def _start_rules(self) -> None:
        for node in self.cluster.nodes:
            configure(self._machines[node.name], ["nft", "-f", "-"], services.render(self.cluster, node))
            if self.enforce == "nftables":
                configure(self._machines[node.name], ["nft", "-f", "-"], POLICIES.read_text())
            if self._rules:
                configure(self._machines[node.name], ["nft", "-f", "-"], self._rules)
            configure(self._machines[node.name], topology.sysctl(topology.TRACKING_SYSCTLS))

    def _start_programs(self) -> None:
        for pod in self.cluster.pods.values():
            if pod.image.endswith("/ingress-nginx"):
                self._files.nginx.write_text(programs.nginx(self.cluster, pod, self._files))
            argv = programs.command(pod, self._files)
            if argv:
                self._start_program(self._holder(pod), f"{pod.namespace}/{pod.name}", argv)
        meshed = [pod for pod in self.cluster.pods.values() if pod.has_sidecar]
        for pod in meshed:
            self._start_sidecar(pod)
        api = programs.server("external-api", ("https:443",), self._files, topology.OUTSIDE_API)
        self._start_program(self._machines["outside"], "external-api", api)
        for pod in self.cluster.pods.values():
            wait_listening(self._holder(pod), pod.ports, f"{pod.namespace}/{pod.name}")
        for pod in meshed:
            wait_listening(self._holder(pod), sidecars.ports(pod), f"the sidecar of {pod.namespace}/{pod.name}")
        wait_listening(self._machines["outside"], [(6, 443)], "external-api")

    def _start_sidecar(self, pod: Pod) -> None:
        name = f"{pod.namespace}/{pod.name}"
        config = self._files.sidecar_config(name)
        config.write_text(sidecars.nginx(self.cluster, pod, self._files))
        configure(self._holder(pod), ["nft", "-f", "-"], sidecars.rules(pod))
        log = self._files.log(f"sidecar-{name}")
        self._start_program(self._holder(pod), f"sidecar-{name}", ["nginx", "-e", str(log), "-c", str(config)])

    def _start_program(self, holder: Holder, name: str, argv: list[str]) -> None:
        with self._files.log(name).open("ab") as log:
            self._room.spawn(holder, argv, stdout=log, stderr=log, env=programs.environment())

    def _start_client(self, name: str, job: dict[str, Any]) -> subprocess.Popen[bytes]:
        namespace, _, pod = name.partition("/")
        holder = self._holder(self.cluster.pods[namespace, pod]) if pod else self._machines["outside"]
        job = {**job, "certificate": str(self._files.certificate)}
        output = self._files.client(self._runs, name)
        task = output.with_suffix(".plan.json")
        task.write_text(json.dumps(job))
        argv, env = programs.python("client"), programs.environment()
        with (
            task.open("rb") as stdin,
            output.open("wb") as stdout,
            self._files.log(f"client-{name}").open("ab") as stderr,
        ):
            return self._room.spawn(holder, argv, stdin=stdin, stdout=stdout, stderr=stderr, env=env)

    def _holder(self, pod: Pod) -> Holder:
        return self._machines[pod.node] if pod.host_network else self._sandboxes[pod.key]
