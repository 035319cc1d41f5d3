"""A real kube-apiserver over a real etcd on this machine, on free loopback ports, without a cluster behind it.

etcd is Debian's, the API server is what `make apiserver` built. Whoever has a token or a client certificate may do all.
The invariant: when the context ends, or when the process that opened it dies in whatever way, both processes are gone.

    with KubeApiServer() as server:
        server.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})
"""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import yaml

from tests.kafka_broker import free_ports

BINARY: Final = Path(__file__).resolve().parent.parent / ".cache" / "kube-apiserver"
TOKEN: Final = "for-tests"  # noqa: S105  # opens a server that lives as long as a test
SERVICES: Final = "10.96.0.0/16"


class KubeApiServer:
    """A server that lives as long as its `with` block; `stop` and `start` inside it are an outage: data stay."""

    def __init__(self, flags: Sequence[str] = ()) -> None:
        self._flags = list(flags)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> KubeApiServer:
        self.folder = Path(tempfile.mkdtemp(prefix="flowatlas-apiserver-"))
        self._etcd, self._peer, self._port = free_ports(3)
        try:
            self._certificates()
            (self.folder / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
            self._run(
                "etcd",
                f"--data-dir={self.folder}/etcd",
                f"--listen-client-urls=http://127.0.0.1:{self._etcd}",
                f"--advertise-client-urls=http://127.0.0.1:{self._etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{self._peer}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{self._peer}",
                f"--initial-cluster=default=http://127.0.0.1:{self._peer}",
                "--unsafe-no-fsync",
            )
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._processes):
            self._end(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def share(self, other: KubeApiServer) -> None:
        """Be a second server over the other's etcd, with its certificates and tokens, on a port of one's own."""
        self.folder, self._etcd = other.folder, other._etcd
        (self._port,) = free_ports(1)

    @property
    def url(self) -> str:
        """`https://127.0.0.1:PORT`."""
        return f"https://127.0.0.1:{self._port}"

    def start(self, timeout_s: float = 300.0) -> None:
        """Start the API server and wait until it is ready."""
        self._run(
            str(BINARY),
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--service-cluster-ip-range={SERVICES}",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={self.folder}/server.crt",
            f"--tls-private-key-file={self.folder}/server.key",
            f"--client-ca-file={self.folder}/ca.crt",
            f"--service-account-issuer={self.url}",
            f"--service-account-key-file={self.folder}/server.crt",
            f"--service-account-signing-key-file={self.folder}/server.key",
            f"--token-auth-file={self.folder}/tokens.csv",
            "--authorization-mode=AlwaysAllow",
            "--disable-admission-plugins=ServiceAccount",
            "--etcd-compaction-interval=0",
            "--shutdown-delay-duration=0s",
            *self._flags,
        )
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            if self._processes["kube-apiserver"].poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "kube-apiserver.log").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"the API server did not start: {said}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the API server at once; etcd goes on."""
        self._end("kube-apiserver")

    def compact(self) -> None:
        """Make etcd forget every version but the newest, as it does by itself every five minutes."""
        header = self._etcd_says("range", {"key": "AA=="})["header"]
        self._etcd_says("compaction", {"revision": header["revision"], "physical": True})

    def kubeconfig(self, user: dict[str, Any] | None = None) -> Path:
        """A kubeconfig file for a user; by default the one of the token."""
        path = self.folder / f"kubeconfig-{len(list(self.folder.glob('kubeconfig-*')))}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority": "ca.crt"}}],
            "users": [{"name": "test", "user": user or {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def get(self, path: str) -> dict[str, Any]:
        """The object or list at a path."""
        return self._ask("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object."""
        return self._ask("POST", path, body)

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Replace an object or its status."""
        return self._ask("PUT", path, body)

    def delete(self, path: str) -> dict[str, Any]:
        """Delete an object at once."""
        return self._ask("DELETE", path, {"gracePeriodSeconds": 0})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  # our own address
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as response:  # noqa: S310
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"{method} {path}: {error.code}: {error.read().decode()[:500]}") from None
        return answer

    def _etcd_says(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._etcd}/v3/kv/{call}"
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def _is_ready(self) -> bool:
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        headers = {"Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(f"{self.url}/readyz", headers=headers)  # noqa: S310  # our own address
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as response:  # noqa: S310
                return bool(response.status == 200)
        except OSError:
            return False

    def _run(self, program: str, *flags: str) -> None:
        name = Path(program).name
        command = [program, *flags]
        if shutil.which("setpriv"):  # the kernel ends it when we die, even by SIGKILL
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def _certificates(self) -> None:
        """An authority, the server's certificate for 127.0.0.1, and a client's."""
        self._openssl("req", "-x509", "-newkey", *_KEY, "-nodes", "-days", "2", "-subj", "/CN=test-ca",
                      "-keyout", "ca.key", "-out", "ca.crt")  # fmt: skip
        (self.folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
        for name, subject in (("server", "/CN=server"), ("client", "/O=system:masters/CN=client")):
            self._openssl("req", "-newkey", *_KEY, "-nodes", "-subj", subject,
                          "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
            self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                          "-CAcreateserial", "-days", "2", "-extfile", "san", "-out", f"{name}.crt")  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, check=True)


_KEY: Final = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
