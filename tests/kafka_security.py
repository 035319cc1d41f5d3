"""A real broker that asks who is calling: TLS, mTLS and SASL listeners, and an authorizer that refuses by default.

Principals are the users of SASL and the common names of certificates; whoever comes by the plain listener may do
everything, so that tests can prepare and look. Only for tests: keys lie in a temporary folder.
"""

from __future__ import annotations

import json
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.kafka_broker import KafkaBroker

PASSWORDS: Final = {"collector": "c0llector-seekrit", "pipeline": "p1peline-seekrit"}
LOGIN: Final = "org.apache.kafka.common.security"
_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A certificate authority in a folder; `ca` is its certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl("req", "-x509", *_NEW_KEY, "-keyout", self._key, "-out", self.ca, "-subj", "/CN=authority", "-days", 2)

    def issue(self, name: str, days: int = 2) -> Path:
        """A PEM file of a new key and its certificate for `name` at 127.0.0.1; expired where `days` is negative."""
        key, request, certificate = (self._folder / f"issued.{suffix}" for suffix in ("key", "csr", "crt"))
        extensions = self._folder / "issued.ext"
        extensions.write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl("req", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        signed = ("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial")
        _openssl(*signed, "-extfile", extensions, "-days", days, "-out", certificate)
        whole = self._folder / f"{name}{days}.pem"
        whole.write_text(key.read_text() + certificate.read_text())
        return whole


def secure_broker(folder: Path, authority: Authority) -> KafkaBroker:
    """A broker, not entered, with listeners SSL (mTLS) and SASL_SSL, and the users of PASSWORDS."""
    server = authority.issue("broker")
    plain = " ".join(f'user_{user}="{password}"' for user, password in PASSWORDS.items())
    settings = {
        "inter.broker.listener.name": "PLAINTEXT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.ca),
        "listener.name.ssl.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "connections.max.reauth.ms": "3000",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{LOGIN}.plain.PlainLoginModule required {plain};",
        "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
        "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config": f"{LOGIN}.oauthbearer.OAuthBearerLoginModule required "
        'unsecuredLoginStringClaim_sub="broker";',
    }
    users = [
        f"--add-scram=SCRAM-SHA-{bits}=[name={user},password={password}]"
        for user, password in PASSWORDS.items()
        for bits in (256, 512)
    ]
    return KafkaBroker(settings, protocols=("SSL", "SASL_SSL"), format_options=users)


def bearer_token(user: str, seconds: int = 600) -> str:
    """A token that nobody signed (RFC 7519, 6), which brokers in tests take."""
    now = int(time.time())
    parts: Iterable[Mapping[str, object]] = ({"alg": "none"}, {"sub": user, "iat": now, "exp": now + seconds})
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def may(bootstrap: str, user: str, operation: str, kind: str, name: str) -> ACL:
    """Allow `user` an operation (WRITE, READ, ...) on a TOPIC, GROUP or CLUSTER; gives what `may_not` takes."""
    acl = ACL(
        f"User:{user}",
        "*",
        ACLOperation[operation],
        ACLPermissionType.ALLOW,
        ResourcePattern(ResourceType[kind], name),
    )
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_acls([acl])
    admin.close()
    return acl


def may_not(bootstrap: str, acl: ACL) -> None:
    """Take back what `may` allowed."""
    pattern = acl.resource_pattern
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.delete_acls(
        [
            ACLFilter(
                acl.principal,
                acl.host,
                acl.operation,
                acl.permission_type,
                ResourcePatternFilter(pattern.resource_type, pattern.resource_name, pattern.pattern_type),
            )
        ]
    )
    admin.close()


def change_password(bootstrap: str, user: str, password: str) -> None:
    """Give a user of SCRAM-SHA-512 another password."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, password, iterations=4096)]
    )
    admin.close()


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
