"""A real Apache Kafka on this machine: one KRaft node (broker and controller in one) on free loopback ports.

The jars come by Maven coordinates into `.cache/kafka/VERSION/`, once. It is for tests and the demo, not for production:
one replica, no authentication, data in a temporary folder. The invariant: when the context ends, or when the process
that opened it dies in whatever way, the broker's process is gone.

    with KafkaBroker() as broker:
        bus = f"kafka://{broker.bootstrap}"
"""

from __future__ import annotations

import os
import pwd
import random
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

VERSION: Final = "4.3.1"
COORDINATES: Final = ("org.apache.kafka", "kafka_2.13", VERSION)
CACHE: Final = Path(__file__).resolve().parent.parent / ".cache" / "kafka"
JVM_OPTIONS: Final = ("-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

POM: Final = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>flowatlas</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>
  </dependency></dependencies>
</project>
"""

# One node holds everything, so every internal topic has one replica and one partition; groups start without a delay.
SETTINGS: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "true",
    "num.partitions": "3",
    "default.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "1",
    "num.io.threads": "2",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",  # a killed broker may come back after this
}
START_SECONDS: Final = 180.0
"""It takes two on a quiet machine, and more than a minute on one that has twenty times as much to do as it can."""


class KafkaUnavailableError(RuntimeError):
    """This machine cannot run a broker; the message names what is missing."""


def jars(cache: Path = CACHE) -> Path:
    """The folder of Kafka's jars, filled by Maven on the first call. Raises KafkaUnavailableError."""
    libs = cache / VERSION / "libs"
    if libs.is_dir():
        return libs
    if shutil.which("mvn") is None:
        raise KafkaUnavailableError("Maven (mvn) is not installed, and the Kafka jars are not cached yet")
    libs.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=libs.parent, prefix="fetch-") as folder:
        pom = Path(folder, "pom.xml")
        pom.write_text(POM.format(*COORDINATES))
        fetched = Path(folder, "libs")
        command = ["mvn", "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
        if not os.access(pwd.getpwuid(os.getuid()).pw_dir, os.W_OK):  # Maven keeps what it fetches at home
            command.append(f"-Dmaven.repo.local={cache / 'repository'}")
        result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if result.returncode != 0 or not fetched.is_dir():
            said = re.findall(r"ERROR\S* (.+)", result.stdout + result.stderr) or [f"exit code {result.returncode}"]
            raise KafkaUnavailableError(f"Maven did not get the Kafka jars: {said[0]}")
        try:
            fetched.rename(libs)
        except OSError:
            if not libs.is_dir():  # a rival run that came first has filled it with the same
                raise
    return libs


class KafkaBroker:
    """A broker that lives as long as its `with` block; `stop` and `start` inside it are an outage: ports and data stay.

    `settings` override the server's properties, `cache` is where the jars are kept, `protocols` (SSL, SASL_SSL) get
    a listener each beside the plain one, `format_options` go to the tool that formats the storage. `quorum` is for
    `kafka_cluster`: this node's id, the cluster's, and the controllers' ports by node id.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        cache: Path = CACHE,
        protocols: Sequence[str] = (),
        format_options: Sequence[str] = (),
        quorum: tuple[int, str, Mapping[int, int]] | None = None,
    ) -> None:
        self._quorum = quorum
        self._settings = {**SETTINGS, **(settings or {})}
        self._protocols = protocols
        self._format_options = format_options
        self._more_ports: dict[str, int] = {}
        self._cache = cache
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self._port}"

    def address(self, protocol: str) -> str:
        """`127.0.0.1:PORT` of the listener of one of `protocols`."""
        return f"127.0.0.1:{self._more_ports[protocol]}"

    @property
    def pid(self) -> int | None:
        """The broker's process id while it runs."""
        return self._process.pid if self._process else None

    def __enter__(self) -> KafkaBroker:
        self.prepare()
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def prepare(self) -> None:
        """Make the folder and format the storage in it."""
        if shutil.which("java") is None:
            raise KafkaUnavailableError("Java is not installed")
        libs = jars(self._cache)
        self._classes = libs.with_name("classes.jsa")
        self._java = ["java", *JVM_OPTIONS, "-cp", f"{libs}/*"]
        if shutil.which("setpriv"):  # the kernel ends the broker when we die, even by SIGKILL
            self._java = ["setpriv", "--pdeathsig", "KILL", *self._java]
        self._folder = Path(tempfile.mkdtemp(prefix="flowatlas-kafka-"))
        try:
            self._format(self._folder)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(graceful=False)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def start(self, timeout_s: float = START_SECONDS) -> None:
        """Start the process and wait until it answers. Raises KafkaUnavailableError with the end of its log."""
        self.launch()
        self.await_answer(timeout_s)

    def launch(self) -> None:
        """Start the process."""
        if self._process is not None or self._folder is None:
            raise RuntimeError("the broker runs already, or its `with` block has not begun")
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java, *self._mapped, "kafka.Kafka", str(self._folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def await_answer(self, timeout_s: float = START_SECONDS) -> None:
        """Wait until the broker answers. Raises KafkaUnavailableError with the end of its log."""
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            ended = self._process is None or self._process.poll() is not None
            if self._folder is not None and (ended or time.monotonic() > deadline):
                self.stop(graceful=False)
                end = (self._folder / "broker.log").read_text(errors="replace")[-2000:]
                raise KafkaUnavailableError(f"the broker did not start: {end}")
            time.sleep(0.1)

    def stop(self, *, graceful: bool = True) -> None:
        """End the process, in order or by SIGKILL; safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        if graceful:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        else:
            process.kill()
        process.wait()

    def cut(self, topic: str, partition: int, end: int) -> None:
        """Let a broker that was killed have lost what is behind an offset, as one does that lost power."""
        assert self._process is None
        assert self._folder is not None
        path = self._folder / "data" / f"{topic}-{partition}" / f"{0:020d}.log"
        log, at = path.read_bytes(), 0
        while at < len(log):
            first, size = struct.unpack_from(">qi", log, at)
            if first >= end:
                break
            at += struct.calcsize(">qi") + size
        os.truncate(path, at)

    def _format(self, folder: Path) -> None:
        self._port, controller, *more = free_ports(2 + len(self._protocols))
        node, cluster, controllers = self._quorum or (1, new_cluster_id(), {1: controller})
        controller = controllers[node]
        self._more_ports = dict(zip(self._protocols, more, strict=True))
        listeners = f"PLAINTEXT://127.0.0.1:{self._port}"
        listeners += "".join(f",{name}://127.0.0.1:{port}" for name, port in self._more_ports.items())
        protocols = ",".join(f"{name}:{name}" for name in ("PLAINTEXT", *self._protocols))
        properties = {
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,{protocols}",
            "node.id": str(node),
            "controller.quorum.voters": ",".join(f"{of}@127.0.0.1:{port}" for of, port in controllers.items()),
            "log.dirs": str(folder / "data"),
            **self._settings,
        }
        path = folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        # an id may begin with a dash, so it is one word with its option
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(path), *self._format_options]
        made = self._classes.with_name(f"{uuid.uuid4()}.part")
        archiving = self._mapped or [f"-XX:ArchiveClassesAtExit={made}"]
        command = [*self._java, *archiving, *tool]
        result = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        if result.returncode != 0:
            raise KafkaUnavailableError(f"storage was not formatted: {(result.stdout + result.stderr)[-2000:]}")
        with suppress(FileNotFoundError):  # there was one, or this JVM makes none
            made.rename(self._classes)

    @property
    def _mapped(self) -> list[str]:
        """What the first run has read and checked of classes, later ones map: they start at two thirds of the cost."""
        return [f"-XX:SharedArchiveFile={self._classes}"] if self._classes.exists() else []

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=2000)
        except (OSError, KafkaError):
            return False
        try:
            return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False
        finally:
            admin.close()


def new_cluster_id() -> str:
    """An id as Kafka's storage tool wants one."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def free_ports(count: int) -> list[int]:
    """Ports below those that the kernel lends to clients: a client that dials a stopped broker could be lent its
    port, connect to itself and keep the broker from coming back.
    """
    with ExitStack() as stack:
        free: list[int] = []
        for port in random.sample(range(15_000, 30_000), 1000):
            with suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                free.append(port)
            if len(free) == count:
                return free
    raise KafkaUnavailableError("no free port between 15000 and 30000")
