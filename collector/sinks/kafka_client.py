"""From `kafka:` settings to the options of kafka-python's clients: producer, consumer and admin take the same.

What a connection needs is read from its file when that connection is made: certificates by the client itself,
passwords and tokens by the mechanisms here. The invariant: no secret is in a client's configuration, in its repr, or in
a log at any level; so debug logs of the client, which tell whole requests, end at `info` where SASL is used.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from kafka.net.sasl import register_sasl_mechanism
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.net.sasl.plain import SaslMechanismPlain
from kafka.net.sasl.scram import SaslMechanismScram

from ..kafka_config import PASSWORD_MECHANISMS, KafkaConfig

_MAX_SECRET_BYTES: Final = 64 * 1024


class Secret:
    """A password or a token that is read whenever it is needed."""

    def __init__(self, path: Path | None, text: str = "") -> None:
        self._path = path
        self._text = text

    def read(self) -> str:
        """The secret as it is now. Raises OSError where its file cannot be read, ValueError where it holds none."""
        if self._path is None:
            return self._text
        with self._path.open("rb") as file:
            content = file.read(_MAX_SECRET_BYTES + 1)
        try:
            text = content.decode().strip()
        except UnicodeDecodeError:
            text = ""
        if not text or len(content) > _MAX_SECRET_BYTES or any(ord(sign) < 32 for sign in text):
            raise ValueError(f"{self._path} does not hold one line of text")
        return text


class _Plain(SaslMechanismPlain):  # type: ignore[misc]  # kafka-python has no types
    """SASL PLAIN (RFC 4616) with the password as it is now."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**_revealed(config))


class _Scram(SaslMechanismScram):  # type: ignore[misc]
    """SASL SCRAM (RFC 5802) with the password as it is now."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**_revealed(config))


class _Token(AbstractTokenProvider):  # type: ignore[misc]
    """The bearer token (RFC 7628) as it is now."""

    def __init__(self, secret: Secret) -> None:
        super().__init__()
        self._secret = secret

    def token(self) -> str:
        """The token."""
        return self._secret.read()


def client_options(config: KafkaConfig) -> dict[str, Any]:
    """Options for KafkaProducer, KafkaConsumer and KafkaAdminClient. Reads no file yet."""
    options: dict[str, Any] = {"security_protocol": config.security_protocol, "reconnect_backoff_max_ms": 2_000}
    if config.is_tls:
        options["ssl_cafile"] = str(config.ca_file) if config.ca_file else None
        if config.cert_file:
            options["ssl_certfile"] = str(config.cert_file)
            options["ssl_keyfile"] = str(config.key_file) if config.key_file else None
            options["ssl_password"] = str  # says "" for an encrypted key's, else OpenSSL would ask at the terminal
    if config.is_sasl:
        logging.getLogger("kafka").setLevel(max(logging.INFO, logging.getLogger("kafka").getEffectiveLevel()))
        options["sasl_mechanism"] = config.mechanism
        if config.mechanism in PASSWORD_MECHANISMS:
            register_sasl_mechanism("PLAIN", _Plain, overwrite=True)
            for name in PASSWORD_MECHANISMS[1:]:
                register_sasl_mechanism(name, _Scram, overwrite=True)
            options["sasl_plain_username"] = config.username
            options["sasl_plain_password"] = Secret(config.password_file, config.password)
        else:
            options["sasl_oauth_token_provider"] = _Token(Secret(config.token_file))
    return options


def _revealed(config: dict[str, Any]) -> dict[str, Any]:
    """A mechanism's configuration with the password in it, where ours hides one."""
    password = config.get("sasl_plain_password")
    return {**config, "sasl_plain_password": password.read()} if isinstance(password, Secret) else config
