"""Certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """A certificate authority in a folder: `ca.pem`, and NAME.pem with NAME.key for each that it certifies."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder, self._name = folder, name
        self._run("req", "-x509", *_key(name), "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")

    def certify(self, name: str, alternative_names: str = "DNS:localhost,IP:127.0.0.1") -> None:
        """Make a key and a certificate of it."""
        self._run("req", *_key(name), "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (self._folder / f"{name}.ext").write_text(f"subjectAltName={alternative_names}\n")
        signed_by = ("-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key", "-CAcreateserial")
        self._run(
            *("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext"),
            *signed_by,
        )

    def _run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)


def _key(name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")
