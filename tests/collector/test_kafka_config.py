"""What of the `kafka:` settings fits together, and that its secrets show nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collector.errors import ConfigError
from collector.kafka_config import KafkaConfig
from collector.sinks.kafka_client import Secret, client_options

SCRAM: dict[str, Any] = {"security_protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "u"}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"ca_file": Path("ca")}, "ca_file"),
        ({"security_protocol": "SASL_PLAINTEXT", "ca_file": Path("ca"), "mechanism": "PLAIN"}, "ca_file"),
        ({"security_protocol": "SSL", "key_file": Path("key")}, "key_file"),
        ({"security_protocol": "SSL", "mechanism": "PLAIN"}, "mechanism"),
        ({"security_protocol": "SSL", "password": "secret"}, "password"),
        ({"username": "u"}, "username"),
        ({"security_protocol": "SASL_SSL"}, "mechanism"),
        ({**SCRAM, "username": "", "password": "secret"}, "username"),
        (SCRAM, "password_file"),
        ({**SCRAM, "password": "secret", "password_file": Path("p")}, "password_file"),
        ({**SCRAM, "password": "secret", "token_file": Path("t")}, "token_file"),
        ({"security_protocol": "SASL_SSL", "mechanism": "OAUTHBEARER"}, "token_file"),
        (
            {"security_protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "token_file": Path("t"), "username": "u"},
            "username",
        ),
    ],
)
def test_what_does_not_fit_is_named_without_its_value(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^kafka\.{key}: ") as refused:
        KafkaConfig(**settings)
    assert "secret" not in str(refused.value)


def test_a_password_shows_in_no_repr_and_is_read_when_it_is_needed(tmp_path: Path) -> None:
    config = KafkaConfig(**{**SCRAM, "password": "seekrit"})
    assert "seekrit" not in repr(config)
    assert "seekrit" not in repr(client_options(config))
    file = tmp_path / "password"
    secret: Secret = client_options(KafkaConfig(**SCRAM, password_file=file))["sasl_plain_password"]
    file.write_text("first\n")
    assert secret.read() == "first"
    file.write_text(" second \n")
    assert secret.read() == "second"


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb", b"\xff", b"x" * 70_000])
def test_a_file_that_is_no_password_is_refused_without_telling_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="does not hold one line of text"):
        Secret(file).read()


def test_without_settings_the_client_is_asked_for_nothing() -> None:
    assert client_options(KafkaConfig())["security_protocol"] == "PLAINTEXT"
    assert not [key for key in client_options(KafkaConfig()) if key.startswith(("ssl", "sasl"))]
