"""TLS and basic authentication of an HTTP endpoint: the `--web.config.file` format that Prometheus's exporters share.

Pure but for the reading of the files that it names. The invariant: a config that exists is valid, and a key that is
known to the format and that Python's TLS cannot do is refused, never passed over.

Source: github.com/prometheus/exporter-toolkit, docs/web-configuration.md.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from .errors import ConfigError
from .handwritten import RepeatedKeyError, decode_yaml

_VERSIONS: Final = {
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENTS: Final = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED: Final = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_CIPHERS: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Suites of TLS 1.2 that are still good; those of 1.3 are not chosen, as in Go."""
_HEADERS: Final = (
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
    "Content-Security-Policy",
)
_HASH: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}\Z")
_MOST_COST: Final = 15
"""Of a bcrypt hash: each step doubles the time of a check, and 15 takes seconds."""
_USER: Final = re.compile(r"[^:\x00-\x1f\x7f]{1,256}\Z")
_TLS_KEYS: Final = (
    *("cert_file", "key_file", "cert", "key", "client_auth_type", "client_ca_file", "client_ca"),
    *("client_allowed_sans", "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites"),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """What `tls_server_config` says."""

    cert_file: Path
    key_file: Path
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    client_ca_file: Path | None = None
    allowed_names: frozenset[str] = frozenset()
    """Subject alternative names of which a client's certificate needs one; none: any certificate of the CA will do."""
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: str = ""
    """As OpenSSL lists them; "" for its own choice."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it names."""
        return (self.cert_file, self.key_file, *([self.client_ca_file] if self.client_ca_file else []))

    def context(self) -> ssl.SSLContext:
        """A server's context of the files as they are now. Raises ConfigError that names the file at fault."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.min_version, self.max_version
        try:
            if self.ciphers:
                context.set_ciphers(self.ciphers)
            # else OpenSSL would ask for a passphrase on the terminal
            context.load_cert_chain(self.cert_file, self.key_file, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"cert_file {self.cert_file}, key_file {self.key_file}: {_reason(error)}") from None
        if self.client_ca_file is not None:
            try:
                context.load_verify_locations(self.client_ca_file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"client_ca_file {self.client_ca_file}: {_reason(error)}") from None
        context.verify_mode = self.client_auth
        return context


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What one web config file says."""

    tls: Tls | None = None
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Name to bcrypt hash; none: everybody may ask."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to every answer."""


def load_web_config(path: Path) -> WebConfig:
    """Read a web config file. Raises ConfigError that names file and key; the content of a secret is in no message."""
    try:
        content = decode_yaml(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except RepeatedKeyError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(f"{path}: no YAML{f' at line {mark.line + 1}' if mark else ''}") from None
    try:
        return _web_config(content, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _web_config(content: Any, folder: Path) -> WebConfig:
    parts = _mapping(content, "the file", ("tls_server_config", "http_server_config", "basic_auth_users"))
    for key, value in (parts or {"the file": None}).items():
        if value is None:  # as in a file of which the rest is still being written
            raise ConfigError(f"{key}: says nothing")
    http = _mapping(parts.get("http_server_config"), "http_server_config", ("http2", "headers"))
    headers = _mapping(http.get("headers"), "http_server_config.headers", _HEADERS)
    for name, value in headers.items():
        if not isinstance(value, str) or not value.isprintable():
            raise ConfigError(f"http_server_config.headers.{name}: one line of text is wanted")
    tls = parts.get("tls_server_config")
    return WebConfig(
        tls=_tls(_mapping(tls, "tls_server_config", _TLS_KEYS), folder) if tls is not None else None,
        users=_users(_mapping(parts.get("basic_auth_users"), "basic_auth_users")),
        headers=headers,
    )


def _tls(keys: Mapping[str, Any], folder: Path) -> Tls:
    for key in ("cert", "key", "client_ca"):
        if keys.get(key):
            raise ConfigError(f"tls_server_config.{key}: secrets belong into files of their own: {key}_file")
    if keys.get("client_auth_type") in _UNVERIFIED:
        raise ConfigError(
            f"tls_server_config.client_auth_type: {keys['client_auth_type']} asks for a certificate and checks none; "
            "RequireAndVerifyClientCert does"
        )
    client_auth = _one_of(keys, "client_auth_type", _CLIENTS, "")
    ca, names = keys.get("client_ca_file"), keys.get("client_allowed_sans") or []
    if (client_auth == ssl.CERT_NONE) != (not ca):
        raise ConfigError("tls_server_config.client_ca_file: wanted where client_auth_type verifies, and only there")
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ConfigError("tls_server_config.client_allowed_sans: a list of names is wanted")
    if names and client_auth != ssl.CERT_REQUIRED:
        raise ConfigError("tls_server_config.client_allowed_sans: needs RequireAndVerifyClientCert")
    suites = keys.get("cipher_suites") or []
    if not isinstance(suites, list) or any(suite not in _CIPHERS for suite in suites):
        raise ConfigError(f"tls_server_config.cipher_suites: a list of {', '.join(_CIPHERS)} is wanted")
    least, most = (
        _one_of(keys, f"{end}_version", _VERSIONS, f"TLS1{minor}") for end, minor in (("min", 2), ("max", 3))
    )
    if least > most:
        raise ConfigError("tls_server_config.min_version: above max_version")
    return Tls(
        cert_file=_file(keys, "cert_file", folder),
        key_file=_file(keys, "key_file", folder),
        client_auth=client_auth,
        client_ca_file=_file(keys, "client_ca_file", folder) if ca else None,
        allowed_names=frozenset(names),
        min_version=least,
        max_version=most,
        ciphers=":".join(_CIPHERS[suite] for suite in suites),
    )


def _users(users: Mapping[str, Any]) -> dict[str, bytes]:
    for name, hashed in users.items():
        match = _HASH.match(hashed) if isinstance(hashed, str) else None
        if not _USER.match(name):
            raise ConfigError(f"basic_auth_users: {name!r} is no user name")
        if match is None:
            raise ConfigError(f"basic_auth_users.{name}: no bcrypt hash; `htpasswd -nBC 10 {name}` makes one")
        if int(match[1]) > _MOST_COST:
            raise ConfigError(f"basic_auth_users.{name}: cost {match[1]} is above {_MOST_COST}: a check takes seconds")
    return {name: hashed.encode() for name, hashed in users.items()}


def _mapping(value: Any, where: str, known: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{where}: keys and values are wanted")
    for key in value:
        if known is not None and key not in known:
            raise ConfigError(f"{where}: {key!r} is not one of {', '.join(known)}")
    return value


def _one_of(keys: Mapping[str, Any], key: str, known: Mapping[str, Any], default: str) -> Any:
    value = keys.get(key) or default
    if value not in known:
        raise ConfigError(f"tls_server_config.{key}: {value!r} is not one of {', '.join(filter(None, known))}")
    return known[value]


def _file(keys: Mapping[str, Any], key: str, folder: Path) -> Path:
    """A file that a key names, seen from the config's folder."""
    name = keys.get(key)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"tls_server_config.{key}: a file is wanted")
    return folder / name


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
