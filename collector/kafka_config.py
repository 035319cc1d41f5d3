"""Who we are to Kafka and whom we trust there, for every part of Flowatlas that speaks it. No client is imported here.

The invariant: no value of these settings that is a secret is ever in a repr, and of files only the paths are held:
whoever connects reads them then (`collector.sinks.kafka_client`), so what is rotated is used at the next connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from .errors import ConfigError

PASSWORD_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """Settings of the connections to Kafka. Raises ConfigError that names the first key that is wrong."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How brokers are spoken to, in Kafka's words; SSL is TLS 1.2 or later, and the broker's name is always checked."""
    ca_file: Path | None = None
    """PEM file of the authorities that sign brokers' certificates; none: those that the system trusts."""
    cert_file: Path | None = None
    """PEM file of the certificate by which we are known (mTLS), with what is between it and its authority."""
    key_file: Path | None = None
    """PEM file of its key, not encrypted; none: it is in `cert_file`."""
    mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = ""
    """SASL: by what we prove who we are."""
    username: str = ""
    """SASL PLAIN and SCRAM: the name."""
    password_file: Path | None = None
    """SASL PLAIN and SCRAM: file of the password; white space around it does not count."""
    password: str = field(default="", repr=False)
    """The password itself, best from the environment (FLOWATLAS_KAFKA_PASSWORD); `password_file` can be rotated."""
    token_file: Path | None = None
    """SASL OAUTHBEARER: file of the token, like a service account's that the kubelet renews."""

    def __post_init__(self) -> None:
        is_tls, is_sasl = self.is_tls, self.is_sasl
        for key in ("ca_file", "cert_file", "key_file"):
            if getattr(self, key) is not None and not is_tls:
                raise ConfigError(f"kafka.{key}: security_protocol {self.security_protocol} has no use for it")
        if self.key_file is not None and self.cert_file is None:
            raise ConfigError("kafka.key_file: needs cert_file")
        given = [key for key in ("username", "password_file", "password", "token_file") if getattr(self, key)]
        if not is_sasl:
            for key in ("mechanism", *given):
                if getattr(self, key):
                    raise ConfigError(f"kafka.{key}: security_protocol {self.security_protocol} has no use for it")
            return
        if not self.mechanism:
            raise ConfigError(f"kafka.mechanism: {self.security_protocol} needs one")
        if self.mechanism in PASSWORD_MECHANISMS:
            if not self.username or "\0" in self.username:
                raise ConfigError(f"kafka.username: {self.mechanism} needs one")
            if bool(self.password_file) == bool(self.password):
                raise ConfigError(f"kafka.password_file: {self.mechanism} needs it or password, and not both")
            unused = "token_file"
        else:
            if self.token_file is None:
                raise ConfigError(f"kafka.token_file: {self.mechanism} needs it")
            unused = next((key for key in given if key != "token_file"), "")
        if unused and getattr(self, unused):
            raise ConfigError(f"kafka.{unused}: {self.mechanism} has no use for it")

    @property
    def is_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def is_sasl(self) -> bool:
        """Whether we say by SASL who we are."""
        return self.security_protocol.startswith("SASL_")
