"""The guard of an HTTP endpoint, in front of the collector's server and of the pipeline's: who is answered, and how."""

from __future__ import annotations

import base64
import contextlib
import http.client
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import bcrypt
import pytest

from collector import webguard
from collector.errors import ConfigError
from collector.metrics import Metrics, MetricsServer
from collector.webconfig import WebConfig, load_web_config
from collector.webguard import WebGuard
from dashboards.prometheus import Prometheus
from pipeline.outputs.prometheus import PrometheusServer
from pipeline.outputs.publication import Publication
from tests.collector.certificates import Authority
from tests.pipeline.outputs.every_metric import one_of_each
from tests.prometheus_server import prometheus

WORDS = "correct horse: battery"
Port = AbstractContextManager[int]
Answer = tuple[int, dict[str, str], bytes]


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@contextlib.contextmanager
def of_the_collector(web_config: Path) -> Iterator[int]:
    metrics = Metrics()
    metrics.built()
    with MetricsServer(metrics, "127.0.0.1:0", web_config) as server:
        yield server.port


@contextlib.contextmanager
def of_the_pipeline(web_config: Path, connection_seconds: float = 60.0) -> Iterator[int]:
    publication = Publication()
    publication.publish(one_of_each())
    guard = WebGuard(web_config)
    server = PrometheusServer(
        ("127.0.0.1", 0), publication, lambda: True, guard=guard, connection_seconds=connection_seconds
    )
    with server:
        yield server.address[1]


both = pytest.mark.parametrize("serving", [of_the_collector, of_the_pipeline])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Authority(tmp_path).certify("server")
    return tmp_path


def configured(folder: Path, *parts: str) -> Path:
    """A web config, written as Kubernetes does: a new file takes the old one's place."""
    path, new = folder / "web.yml", folder / "new.yml"
    new.write_text("".join(parts))
    new.rename(path)
    return path


def tls(more: str = "", name: str = "server") -> str:
    return f"tls_server_config:\n  cert_file: {name}.pem\n  key_file: {name}.key\n{more}"


def users(**passwords: str) -> str:
    return "basic_auth_users:\n" + "".join(f"  {name}: {hashed(word)}\n" for name, word in passwords.items())


def basic(user: str) -> str:
    return f"Basic {base64.b64encode(user.encode()).decode()}"


def get(port: int, folder: Path | None = None, path: str = "/metrics", *, user: str = "", client: str = "") -> Answer:
    """Ask, over TLS where a folder with the authority is given, as `user:password`, with a client's certificate."""
    if folder is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    else:
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        if client:
            context.load_cert_chain(folder / f"{client}.pem", folder / f"{client}.key")
        connection = http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
    headers = {"Authorization": basic(user)} if user else {}
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


@both
def test_over_tls_all_is_as_without(serving: Callable[[Path], Port], folder: Path) -> None:
    with serving(configured(folder, tls())) as port:
        status, _, body = get(port, folder)
        assert (status, b"flowatlas_" in body) == (200, True)
        with pytest.raises((OSError, http.client.HTTPException)):
            get(port)  # in plain text


@both
def test_only_who_knows_a_password_is_answered(serving: Callable[[Path], Port], folder: Path) -> None:
    with serving(configured(folder, users(anna=WORDS, ben="another"))) as port:
        for user in (f"anna:{WORDS}", "ben:another", "ben:another"):
            assert get(port, user=user)[0] == 200
        for user in ("", "anna", "anna:", "anna:another", f"carl:{WORDS}", "ben:" + "x" * 100, "ben:another\0"):
            status, headers, body = get(port, user=user)
            assert (status, headers["WWW-Authenticate"][:6]) == (401, "Basic ")
            assert b"flowatlas_" not in body


def test_probes_have_no_password(folder: Path) -> None:
    with of_the_pipeline(configured(folder, users(anna=WORDS))) as port:
        assert [get(port, path=path)[0] for path in ("/healthz", "/readyz", "/flows")] == [200, 200, 401]


@both
def test_headers_are_on_every_answer(serving: Callable[[Path], Port], folder: Path) -> None:
    text = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
    with serving(configured(folder, text, users(anna=WORDS))) as port:
        for user in ("", f"anna:{WORDS}"):
            assert get(port, user=user)[1]["X-Frame-Options"] == "deny"


@both
def test_a_client_shows_a_certificate_of_the_authority_with_an_allowed_name(
    serving: Callable[[Path], Port], folder: Path
) -> None:
    authority = Authority(folder, "clients")
    authority.certify("prometheus", "DNS:prometheus.monitoring")
    authority.certify("other", "DNS:other.monitoring")
    Authority(folder, "strangers").certify("stranger", "DNS:prometheus.monitoring")
    auth = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n"
    with serving(configured(folder, tls(f"{auth}  client_allowed_sans: [prometheus.monitoring]\n"))) as port:
        assert get(port, folder, client="prometheus")[0] == 200
        for client in ("other", "stranger", ""):
            with pytest.raises((OSError, http.client.HTTPException)):
                get(port, folder, client=client)


@both
def test_a_change_is_in_force_at_once_and_a_mistake_is_not(
    serving: Callable[[Path], Port], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(configured(folder, users(anna="first"))) as port:
        assert get(port, user="anna:first")[0] == 200
        configured(folder, users(anna="second"))
        assert (get(port, user="anna:first")[0], get(port, user="anna:second")[0]) == (401, 200)
        with caplog.at_level(logging.ERROR):
            configured(folder, "basic_auth_users:\n  anna: third\n")
            assert (get(port, user="anna:second")[0], get(port, user="anna:third")[0]) == (200, 401)
        assert [record.message.count("no bcrypt hash") for record in caplog.records] == [1]
        configured(folder, tls(), users(anna="third"))
        assert get(port, folder, user="anna:third")[0] == 200


@both
def test_a_certificate_that_is_renewed_is_used_for_the_next_connection(
    serving: Callable[[Path], Port], folder: Path
) -> None:
    with serving(configured(folder, tls())) as port:
        shown = [ssl.get_server_certificate(("127.0.0.1", port))]
        Authority(folder).certify("server")
        shown.append(ssl.get_server_certificate(("127.0.0.1", port)))
        assert get(port, folder)[0] == 200
    assert shown[0] != shown[1]


@both
def test_who_never_finishes_a_handshake_holds_nobody_up(serving: Callable[[Path], Port], folder: Path) -> None:
    with serving(configured(folder, tls())) as port, contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert get(port, folder)[0] == 200


def test_the_pipeline_cuts_a_handshake_that_takes_too_long(folder: Path) -> None:
    with (
        of_the_pipeline(configured(folder, tls()), connection_seconds=2.0) as port,
        socket.create_connection(("127.0.0.1", port)) as idle,
    ):
        idle.settimeout(60)
        began = time.monotonic()
        assert idle.recv(1) == b""
        assert time.monotonic() - began < 25, "the pipeline's own patience is 30 s"


def test_a_config_that_is_none_stops_the_start(folder: Path) -> None:
    path = configured(folder, tls(name="gone"))
    with pytest.raises(ConfigError, match=r"gone\.pem"), MetricsServer(Metrics(), "127.0.0.1:0", path):
        pass
    with pytest.raises(ConfigError, match=r"none\.yml: No such file"):
        WebGuard(folder / "none.yml")


def test_a_wrong_name_takes_as_long_as_a_wrong_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are held against one hash, once."""
    guard = WebGuard(configured(folder, users(anna=WORDS)))
    checked = []

    def check(password: bytes, hashed: bytes) -> bool:
        checked.append(password)
        return False

    monkeypatch.setattr("collector.webguard._checkpw", check)
    for user in (b"anna:wrong", b"carl:wrong", b"carl:wrong"):
        assert not guard.authorizes("/metrics", f"Basic {base64.b64encode(user).decode()}")
    for odd in ("\xe9", "YW5uYTp", "="):
        assert not guard.authorizes("/metrics", f"Basic {odd}")
    assert checked == [b"wrong", b"wrong"]


def test_passwords_are_remembered_up_to_a_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = WebGuard(configured(folder, users(anna=WORDS)))
    monkeypatch.setattr("collector.webguard._checkpw", lambda *_: False)
    for _ in range(1000):
        guard.authorizes("/", f"Basic {base64.b64encode(b'anna:' + os.urandom(9).hex().encode()).decode()}")
    assert len(guard._known) <= 256


def test_who_tries_passwords_has_one_processor_at_most_and_makes_nobody_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = WebGuard(configured(folder, users(anna="right")))
    going, most, checked = [0], [0], [0]

    def check(password: bytes, _: bytes) -> bool:
        going[0], checked[0] = going[0] + 1, checked[0] + 1
        most[0] = max(most[0], going[0])
        time.sleep(0.001)
        going[0] -= 1
        return password == b"right"

    def ask(word: str) -> bool:
        return guard.authorizes("/metrics", basic(f"anna:{word}"))

    monkeypatch.setattr(webguard, "_checkpw", check)
    assert ask("right")
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(ask, (f"wrong-{number}" for number in range(400))))
    assert (most, checked) == ([1], [401])
    assert ask("right")
    assert checked == [401]


@pytest.mark.prometheus
@both
def test_prometheus_scrapes_with_tls_its_own_certificate_and_a_password(
    serving: Callable[[Path], Port], folder: Path
) -> None:
    Authority(folder, "clients").certify("prometheus", "DNS:prometheus.monitoring")
    auth = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n  min_version: TLS13\n"
    more = (
        f", scheme: https, basic_auth: {{username: anna, password: '{WORDS}'}}, tls_config: {{ca_file: ca.pem, "
        "cert_file: prometheus.pem, key_file: prometheus.key}"
    )
    names = "  client_allowed_sans: [prometheus.monitoring]\n"
    with (
        serving(configured(folder, tls(auth + names), users(anna=WORDS))) as port,
        prometheus(folder, f"localhost:{port}", more, scrapes=1) as url,
    ):
        found = Prometheus(url).instant('{__name__=~"flowatlas.*build_info"}', time.time())
    assert found


@both
def test_a_file_that_is_being_written_opens_nothing(
    serving: Callable[[Path], Port], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever writes in place begins with an empty file, and somebody may ask before there is more."""
    path = configured(folder, tls(), users(anna="first"))
    with serving(path) as port, caplog.at_level(logging.ERROR):
        whole = path.read_text()
        for written in ("", "# by hand\n", "basic_auth_users:\n"):
            path.write_text(written)
            assert get(port, folder)[0] == 401
        assert [record.message.count("says nothing") for record in caplog.records] == [1, 1, 1]
        path.write_text(whole)
        assert get(port, folder, user="anna:first")[0] == 200


def test_what_is_written_while_it_is_read_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = configured(folder, users(anna="first"))
    guard = WebGuard(path)
    read = load_web_config

    def written_over(path: Path) -> WebConfig:
        config = read(path)
        monkeypatch.setattr(webguard, "load_web_config", read)
        configured(folder, users(anna="third"))
        return config

    configured(folder, users(anna="second"))
    monkeypatch.setattr(webguard, "load_web_config", written_over)
    asked = [guard.authorizes("/metrics", basic(f"anna:{word}")) for word in ("second", "third", "second")]
    assert asked == [True, True, False]
