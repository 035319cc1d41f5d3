"""Against a real broker with TLS, SASL and an authorizer: what is refused is kept and retried, what is mended is used
within seconds, what is secret is in no log."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from collector.errors import TransientError as CollectorTransientError
from collector.kafka_config import KafkaConfig
from collector.metrics import Metrics
from collector.schema import FLOWS
from collector.sinks.kafka import KafkaSink
from collector.sinks.kafka_client import client_options
from collector.sinks.spool import SpoolSink
from pipeline.bus import Message, Reader, kafka, kafka_topics, open_reader
from pipeline.bus.kafka_topics import KafkaTopics
from pipeline.bus.share import Share
from pipeline.bus.topics import QUARANTINE_TOPIC
from pipeline.errors import TransientError
from tests.conftest import kafka_problem, missing
from tests.kafka_broker import KafkaBroker
from tests.kafka_security import PASSWORDS, Authority, bearer_token, change_password, may, may_not, secure_broker
from tests.pipeline.batches_for_tests import batch
from tests.pipeline.bus.buses import everything, read_to_end, refused_connections

pytestmark = pytest.mark.kafka

MENDED_WITHIN_S = 60.0
"""Five seconds to reconnect, and this machine's own slowness."""


class Secured:
    """A broker, its authority, and settings for each principal."""

    def __init__(self, folder: Path, authority: Authority, broker: KafkaBroker) -> None:
        self.folder = folder
        self.authority = authority
        self.broker = broker
        self.plain = broker.bootstrap
        admin = KafkaAdminClient(bootstrap_servers=self.plain)
        admin.create_topics([NewTopic(topic, num_partitions=3) for topic in (FLOWS.topic, QUARANTINE_TOPIC)])
        admin.close()
        may(self.plain, "collector", "WRITE", "TOPIC", FLOWS.topic)
        may(self.plain, "pipeline", "READ", "TOPIC", FLOWS.topic)
        may(self.plain, "pipeline", "WRITE", "TOPIC", QUARANTINE_TOPIC)

    def scram(self, user: str, password: str | None = None) -> KafkaConfig:
        """Settings of SCRAM-SHA-512 with a password file of its own."""
        file = self.folder / f"password-{uuid.uuid4()}"
        file.write_text((password or PASSWORDS[user]) + "\n")
        return KafkaConfig(
            "SASL_SSL", ca_file=self.authority.ca, mechanism="SCRAM-SHA-512", username=user, password_file=file
        )

    def url(self, config: KafkaConfig) -> str:
        """The bus by the listener that these settings speak to."""
        return f"kafka://{self.broker.address(config.security_protocol)}"

    def sink(self, config: KafkaConfig, metrics: Metrics) -> KafkaSink:
        """A sink that loses what is refused."""
        return KafkaSink(self.url(config), metrics, 1 << 24, None, client_options(config))

    def spool(self, config: KafkaConfig, metrics: Metrics) -> SpoolSink:
        """A sink that keeps what is refused."""
        url, options = self.url(config), client_options(config)
        folder = self.folder / f"spool-{uuid.uuid4()}"
        return SpoolSink(folder, metrics, 1 << 26, lambda told: KafkaSink(url, metrics, 1 << 24, told, options))

    def reader(self, config: KafkaConfig, group: str, share: Share | None = None) -> Reader:
        """A reader of the flows, not started."""
        return open_reader(self.url(config), group, [FLOWS.topic], client_options(config), share)

    def held(self, node: str) -> list[int]:
        """The sequence numbers of a node's batches on the broker, each once."""
        records = everything(self.plain, FLOWS.topic)
        return sorted({int(dict(record.headers)["seq"]) for record in records if record.key == node.encode()})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    if problem := kafka_problem():
        missing(problem)
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder)
    with secure_broker(folder, authority) as broker:
        yield Secured(folder, authority, broker)


@pytest.fixture
def node() -> str:
    return f"node-{uuid.uuid4()}"


def within(seconds: float, is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def read_through(reader: Reader, count: int, seconds: float = 60.0) -> list[Message]:
    """Poll until `count` messages came; refusals on the way are passed over."""
    got: list[Message] = []
    deadline = time.monotonic() + seconds
    while len(got) < count and time.monotonic() < deadline:
        try:
            got += reader.poll(0.2)
        except TransientError:
            time.sleep(0.1)
    return got


def read_all_once_allowed(reader: Reader) -> list[Message]:
    """All that there is, however long it is refused before."""
    got: list[Message] = []

    def is_all() -> bool:
        with suppress(TransientError):
            got.extend(reader.poll(0.2))
            return reader.caught_up()
        return False

    assert within(MENDED_WITHIN_S, is_all)
    return got


def read_until_refused(reader: Reader) -> list[Message]:
    """What still comes until the broker refuses."""
    got: list[Message] = []
    for _ in range(600):
        try:
            got += reader.poll(0.1)
        except TransientError as error:
            if "Authorization" in str(error):
                return got
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize("way", ["mtls", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
def test_every_way_in_ships_and_a_session_that_ends_is_renewed(secured: Secured, node: str, way: str) -> None:
    config = secured.scram("collector")
    if way == "mtls":
        config = KafkaConfig("SSL", ca_file=secured.authority.ca, cert_file=secured.authority.issue("collector"))
    elif way == "OAUTHBEARER":
        token = secured.folder / "token"
        token.write_text(bearer_token("collector"))
        config = KafkaConfig("SASL_SSL", ca_file=secured.authority.ca, mechanism="OAUTHBEARER", token_file=token)
    else:
        config = replace(config, mechanism=cast("Any", way))
    metrics = Metrics()
    sink = secured.sink(config, metrics)
    sink.start()
    sink.send(batch(node=node, seq=0))
    assert sink.flush(60)
    time.sleep(3.5)  # the broker ends sessions of SASL after 3 s
    sink.send(batch(node=node, seq=1))
    assert sink.flush(60)
    sink.stop()
    assert metrics.value("batches_total", table="flows") == 2
    assert secured.held(node) == [0, 1]


def test_a_broker_that_another_authority_vouches_for_is_not_spoken_to(secured: Secured, tmp_path: Path) -> None:
    config = replace(secured.scram("collector"), ca_file=Authority(tmp_path).ca)
    with refused_connections(), pytest.raises(CollectorTransientError):
        secured.sink(config, Metrics()).start()


def test_a_wrong_password_is_no_loss_and_is_mended_in_seconds(secured: Secured, node: str) -> None:
    config = secured.scram("collector", "wrong")
    metrics = Metrics()
    sink = secured.spool(config, metrics)
    with refused_connections():
        sink.start()
        for seq in range(5):
            sink.send(batch(node=node, seq=seq))
        assert not sink.flush(3)
        assert config.password_file is not None
        config.password_file.write_text(PASSWORDS["collector"])
        assert within(MENDED_WITHIN_S, lambda: metrics.value("batches_total", table="flows") == 5)
        sink.stop()
    assert secured.held(node) == list(range(5))


def test_who_is_not_let_in_is_told_why(
    secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not that nobody answers."""
    caplog.set_level(logging.WARNING, "kafka.net.manager")  # which `refused_connections` silences
    monkeypatch.setattr(logging.getLogger("kafka.net.manager"), "propagate", False)
    for module in (kafka, kafka_topics):
        monkeypatch.setattr(module, "CONNECT_SECONDS", 5.0)
    right, wrong = secured.scram("collector"), secured.scram("collector", "wrong")
    refused = (
        (wrong, "invalid credentials"),
        (replace(right, ca_file=Authority(tmp_path).ca), "certificate verify failed"),
        (replace(right, ca_file=tmp_path / "gone.pem"), str(tmp_path / "gone.pem")),
        (replace(right, password_file=tmp_path / "gone.txt"), str(tmp_path / "gone.txt")),
    )
    with refused_connections():
        for config, why in refused:
            said = ""
            for _ in range(5):  # on a busy machine no attempt may come to its end in time
                with pytest.raises(TransientError, match=r"not connected to 127\.0\.0\.1:") as raised:
                    secured.reader(config, "group").start()
                said += f"{raised.value}\n"
                if why in said:
                    break
            assert why in said
        with (
            pytest.raises(TransientError, match="not connected"),
            KafkaTopics(secured.url(wrong), client_options(wrong)),
        ):
            pass


SHIPS_AT_DEBUG = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.DEBUG)
from collector.errors import TransientError
from collector.kafka_config import KafkaConfig
from collector.metrics import Metrics
from collector.sinks.kafka import KafkaSink
from collector.sinks.kafka_client import client_options
url, mechanism, ca, password, token = sys.argv[1:]
login = {"username": "collector", "password_file": Path(password)}
if mechanism == "OAUTHBEARER":
    login = {"token_file": Path(token)}
options = client_options(KafkaConfig("SASL_SSL", ca_file=Path(ca), mechanism=mechanism, **login))
print(options)
sink = KafkaSink(url, Metrics(), 1 << 24, None, options)
try:
    sink.start()
except TransientError as error:
    print(error)
sink.stop()
"""


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512", "OAUTHBEARER"])
@pytest.mark.parametrize("is_right", [True, False])
def test_no_secret_is_in_a_log_at_any_level(secured: Secured, mechanism: str, is_right: bool) -> None:
    password, token = secured.folder / "logged-password", secured.folder / "logged-token"
    password.write_text(PASSWORDS["collector"] if is_right else "n0t-the-passw0rd")
    token.write_text(bearer_token("collector") if is_right else "n0t.the.t0ken")
    arguments = (
        secured.url(secured.scram("collector")),
        mechanism,
        str(secured.authority.ca),
        str(password),
        str(token),
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHIPS_AT_DEBUG, *arguments], capture_output=True, text=True, check=True
    )
    said = done.stdout + done.stderr
    assert ("Authenticated" in said) == is_right
    assert ("bus: no broker" in said) == (not is_right)
    for secret in (password.read_text(), token.read_text()):
        assert secret not in said
        assert b64encode(secret.encode()).decode() not in said


def test_an_expired_certificate_is_no_loss_and_its_successor_is_used_in_seconds(secured: Secured, node: str) -> None:
    certificate = secured.folder / "rotated.pem"
    certificate.write_bytes(secured.authority.issue("collector", days=-1).read_bytes())
    config = KafkaConfig("SSL", ca_file=secured.authority.ca, cert_file=certificate)
    metrics = Metrics()
    sink = secured.spool(config, metrics)
    with refused_connections():
        sink.start()
        sink.send(batch(node=node, seq=0))
        assert not sink.flush(3)
        certificate.write_bytes(secured.authority.issue("collector").read_bytes())
        assert within(MENDED_WITHIN_S, lambda: metrics.value("batches_total", table="flows") == 1)
        sink.stop()
    assert secured.held(node) == [0]


def test_a_right_revoked_mid_stream_spools_and_nothing_is_lost(secured: Secured, node: str) -> None:
    user = "revoked"
    certificate = secured.authority.issue(user)
    right = may(secured.plain, user, "WRITE", "TOPIC", FLOWS.topic)
    metrics = Metrics()
    sink = secured.spool(KafkaConfig("SSL", ca_file=secured.authority.ca, cert_file=certificate), metrics)
    sink.start()
    sink.send(batch(node=node, seq=0))
    assert sink.flush(60)
    may_not(secured.plain, right)
    for seq in range(1, 10):
        sink.send(batch(node=node, seq=seq))
    assert not sink.flush(4)
    assert metrics.value("spool_bytes") > 0
    may(secured.plain, user, "WRITE", "TOPIC", FLOWS.topic)
    assert within(MENDED_WITHIN_S, lambda: metrics.value("batches_total", table="flows") == 10)
    sink.stop()
    assert secured.held(node) == list(range(10))
    assert sum(metrics.value("lost_rows_total", table="flows", reason=r) for r in ("bus_full", "bus_error")) == 0


def test_a_password_rotated_under_a_running_collector_is_used(secured: Secured, node: str) -> None:
    """First on the broker, which ends the session; then in the file."""
    old, new = PASSWORDS["collector"], "r0tated-seekrit"
    config = secured.scram("collector")
    metrics = Metrics()
    sink = secured.spool(config, metrics)
    try:
        with refused_connections():
            sink.start()
            sink.send(batch(node=node, seq=0))
            assert sink.flush(60)
            change_password(secured.plain, "collector", new)
            time.sleep(3.5)
            sink.send(batch(node=node, seq=1))
            assert not sink.flush(2)
            assert config.password_file is not None
            config.password_file.write_text(new)
            assert within(MENDED_WITHIN_S, lambda: metrics.value("batches_total", table="flows") == 2)
            sink.stop()
    finally:
        change_password(secured.plain, "collector", old)
    assert secured.held(node) == [0, 1]


@pytest.mark.parametrize("share", [None, Share(0, 1)], ids=["group", "fixed"])
def test_a_reader_waits_for_rights_and_goes_on_where_it_was_when_they_are_taken_and_given_back(
    secured: Secured, node: str, share: Share | None
) -> None:
    group, user = f"group-{node}", f"reader{'' if share is None else 1}"
    certificate = secured.authority.issue(user)
    config = KafkaConfig("SSL", ca_file=secured.authority.ca, cert_file=certificate)
    shipper = secured.sink(secured.scram("collector"), Metrics())
    shipper.start()
    shipper.send(batch(node=node, seq=0))
    reader = secured.reader(config, group, share)
    reader.start()
    assert read_through(reader, 1, 2) == []
    topic = may(secured.plain, user, "READ", "TOPIC", FLOWS.topic)
    assert read_through(reader, 1, 2) == []
    may(secured.plain, user, "READ", "GROUP", group)
    got = read_all_once_allowed(reader)
    reader.commit()
    may_not(secured.plain, topic)
    got += read_until_refused(reader)
    shipper.send(batch(node=node, seq=1))
    assert shipper.flush(60)
    assert read_through(reader, 1, 2) == []
    may(secured.plain, user, "READ", "TOPIC", FLOWS.topic)
    got += read_through(reader, 1, MENDED_WITHIN_S)
    reader.stop()
    shipper.stop()
    assert [m.headers["seq"] for m in got if m.key == node.encode()] == [b"0", b"1"]


def test_the_pipeline_puts_aside_with_its_own_rights_and_may_not_ship(secured: Secured, node: str) -> None:
    config = secured.scram("pipeline")
    may(secured.plain, "pipeline", "READ", "GROUP", f"group-{node}")
    collector = secured.sink(secured.scram("collector"), Metrics())
    collector.start()
    collector.send(batch(node=node, seq=0))
    assert collector.flush(60)
    collector.stop()
    reader = secured.reader(config, f"group-{node}", Share(0, 1))
    reader.start()
    mine = [m for m in read_to_end(reader) if m.key == node.encode()]
    reader.quarantine(mine[0], "headers")
    reader.commit()
    reader.stop()
    assert node.encode() in [record.key for record in everything(secured.plain, QUARANTINE_TOPIC)]
    metrics = Metrics()
    sink = secured.sink(config, metrics)
    sink.start()
    sink.send(batch(node=node, seq=1))
    sink.flush(60)
    sink.stop()
    assert metrics.value("lost_rows_total", table="flows", reason="bus_error") > 0
    assert secured.held(node) == [0]
