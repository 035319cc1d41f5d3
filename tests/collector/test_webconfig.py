"""The web config format: what it takes, what it refuses, and that no secret is in a message."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from collector.errors import ConfigError
from collector.webconfig import load_web_config
from tests.collector.certificates import Authority

HASH = "$2b$04$abcdefghijklmnopqrstuuQ2K0qXOTKvCeGqJMH3vL1Y6nT5kS0Xy"
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "web.yml"
    path.write_text(text)
    return path


def test_nothing_set_is_plain_text_for_everybody(tmp_path: Path) -> None:
    for text in ("http_server_config: {}\n", "http_server_config:\n  headers:\nbasic_auth_users: {}\n"):
        config = load_web_config(written(tmp_path, text))
        assert (config.tls, config.users, config.headers) == (None, {}, {})


def test_files_are_seen_from_the_configs_folder(tmp_path: Path) -> None:
    config = load_web_config(written(tmp_path, TLS))
    assert config.tls is not None
    assert config.tls.cert_file == tmp_path / "server.pem"
    assert config.tls.min_version == ssl.TLSVersion.TLSv1_2


def test_the_context_is_as_the_file_says(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.certify("server")
    text = f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  min_version: TLS13\n"
    config = load_web_config(written(tmp_path, text))
    assert config.tls is not None
    context = config.tls.context()
    assert (context.verify_mode, context.minimum_version) == (ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "keys and values"),
        ("a: [", "no YAML at line"),
        ("tls: {}\n", "'tls' is not one of"),
        ("tls_server_config: {}\n", "cert_file: a file is wanted"),
        ("tls_server_config:\n  cert_file: a\n", "key_file: a file is wanted"),
        (f"{TLS}  min_version: TLS10\n", "'TLS10' is not one of TLS12, TLS13"),
        (f"{TLS}  min_version: TLS13\n  max_version: TLS12\n", "above max_version"),
        (f"{TLS}  client_auth_type: RequestClientCert\n", "checks none"),
        (f"{TLS}  client_auth_type: Sometimes\n", "'Sometimes' is not one of"),
        (f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n", "client_ca_file: wanted"),
        (f"{TLS}  client_ca_file: ca.pem\n", "client_ca_file: wanted"),
        (f"{TLS}  client_allowed_sans: [a]\n", "client_allowed_sans: needs"),
        (f"{TLS}  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n", "cipher_suites: a list of"),
        (f"{TLS}  curve_preferences: [X25519]\n", "'curve_preferences' is not one of"),
        ("tls_server_config:\n  cert: secret\n", "cert: secrets belong into files"),
        ("http_server_config:\n  headers:\n    X-Other: a\n", "'X-Other' is not one of"),
        ('http_server_config:\n  headers:\n    X-Frame-Options: "a\\r\\nSet-Cookie: b"\n', "one line of text"),
        ("basic_auth_users:\n  anna: secret\n", "basic_auth_users.anna: no bcrypt hash"),
        (f"basic_auth_users:\n  anna: {HASH.replace('$04', '$31')}\n", "cost 31 is above 15"),
        (f'basic_auth_users:\n  "an:na": {HASH}\n', "'an:na' is no user name"),
        ("", "the file: says nothing"),
        (f"{TLS}basic_auth_users:\n", "basic_auth_users: says nothing"),
        (f"basic_auth_users:\n  anna: {HASH}\n  anna: {HASH}\n", "'anna' is there twice, in lines 2 and 3"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_web_config(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "secret" not in str(error.value).replace("secrets belong", "")


def test_users_are_not_in_the_text_of_a_config(tmp_path: Path) -> None:
    config = load_web_config(written(tmp_path, f"basic_auth_users:\n  anna: {HASH}\n"))
    assert config.users == {"anna": HASH.encode()}
    assert HASH not in repr(config)


@pytest.mark.parametrize("key", ["cert_file", "key_file", "client_ca_file"])
def test_a_file_that_is_none_is_named(tmp_path: Path, key: str) -> None:
    authority = Authority(tmp_path)
    authority.certify("server")
    text = f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
    lines = [f"  {key}: gone.pem" if key in line else line for line in text.splitlines()]
    config = load_web_config(written(tmp_path, "\n".join(lines)))
    assert config.tls is not None
    with pytest.raises(ConfigError, match=f"{key} .*gone.pem"):
        config.tls.context()
