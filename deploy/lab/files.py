"""The files of one run: a folder that one lab at a time owns, with configurations, journals, logs and the truth.

Nothing in it outlives its use: what a killed run left is removed when the next one takes the folder.
"""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

FOLDERS: Final = ("journals", "clients", "logs", "sidecars")

CERTIFICATE_REQUEST: Final = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = flowatlas-lab
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = {names}
"""
"""Its own issuer, with all that strict verification (the default of newer Pythons) asks for."""


class FilesError(RuntimeError):
    """The folder cannot be used."""


class Files:
    """Where the lab's programs find and leave their files. Constructing is inert."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[str] | None = None

    def take(self) -> None:
        """Own the folder and empty it of what an earlier run left. Raises FilesError where another lab owns it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = (self.folder / "lab.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise FilesError(f"another lab runs in {self.folder}") from None
        self._lock = lock
        self.truth.unlink(missing_ok=True)
        for name in FOLDERS:
            (self.folder / name).mkdir(exist_ok=True)
            for path in (self.folder / name).iterdir():
                path.unlink()

    def release(self) -> None:
        """Leave the folder to others; safe to call twice."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def make_certificate(self, hosts: Sequence[str]) -> None:
        """A throw-away certificate for these names, with its key, good for two days. Raises FilesError."""
        request, key, issued = (self.certificate.with_suffix(suffix) for suffix in (".cnf", ".key", ".crt"))
        request.write_text(CERTIFICATE_REQUEST.format(names=", ".join(f"DNS:{host}" for host in hosts)))
        command = ["openssl", "req", "-x509", "-config", str(request), "-days", "2", "-nodes", "-newkey", "ec"]
        command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", str(key), "-out", str(issued)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise FilesError(f"openssl exited {made.returncode}: {made.stderr.strip()}")
        self.certificate.write_text(key.read_text() + issued.read_text())

    @property
    def truth(self) -> Path:
        """What was generated, one connection a line."""
        return self.folder / "truth.jsonl"

    @property
    def certificate(self) -> Path:
        """The throw-away certificate and its key."""
        return self.folder / "tls.pem"

    @property
    def names(self) -> Path:
        """The hosts file that the DNS pods serve."""
        return self.folder / "hosts"

    @property
    def aliases(self) -> Path:
        """The rest of the DNS pods' configuration."""
        return self.folder / "dnsmasq.conf"

    @property
    def nginx(self) -> Path:
        """nginx's configuration."""
        return self.folder / "nginx.conf"

    def resolv_conf(self, namespace: str) -> Path:
        """What pods of a namespace see as /etc/resolv.conf."""
        return self.folder / f"resolv.{namespace}.conf"

    def journal(self, name: str) -> Path:
        """The journal of one server."""
        return self.folder / "journals" / f"{name.replace('/', '_')}.jsonl"

    def log(self, name: str) -> Path:
        """What a program printed."""
        return self.folder / "logs" / f"{name.replace('/', '_')}.log"

    def sidecar(self, name: str) -> Path:
        """What a pod's sidecar wrote of the connections that came in."""
        return self.folder / "sidecars" / f"{name.replace('/', '_')}.jsonl"

    def sidecar_config(self, name: str) -> Path:
        """The configuration of a pod's sidecar."""
        return self.folder / "sidecars" / f"{name.replace('/', '_')}.conf"

    def sidecars(self) -> list[Path]:
        """What all sidecars wrote."""
        return sorted((self.folder / "sidecars").glob("*.jsonl"))

    def journals(self) -> list[Path]:
        """The journals of all servers."""
        return sorted((self.folder / "journals").iterdir())

    def client(self, run: int, name: str) -> Path:
        """What a client reported in a run."""
        return self.folder / "clients" / f"{run}.{name.replace('/', '_')}.jsonl"

    def clients(self) -> list[Path]:
        """What the clients of all runs reported."""
        return sorted((self.folder / "clients").glob("*.jsonl"))
