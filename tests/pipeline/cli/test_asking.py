"""`status` and `observe` reach a guarded pipeline by ~/.netrc and SSL_CERT_FILE, and send no password elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.webguard import WebGuard
from pipeline.cli.asking import ask
from pipeline.cli.following import follow
from pipeline.cli.main import main
from pipeline.cli.metrics_page import is_ready, scrape
from pipeline.errors import ConfigError
from pipeline.outputs.live import PATH, LiveTail
from pipeline.outputs.prometheus import PrometheusServer
from pipeline.outputs.publication import Publication
from tests.collector.certificates import Authority
from tests.pipeline.outputs.every_metric import one_of_each

HASH = "$2b$04$pFPQ7swWYxCtUhTGSYHX/eggRvOCx.cNXELQ.G/.VgAzyl.W/4eCW"  # of `open sesame`


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrometheusServer:
    Authority(tmp_path).certify("server")
    (tmp_path / "web.yml").write_text(
        f"tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\nbasic_auth_users:\n  anna: {HASH}\n"
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    publication = Publication()
    publication.publish(one_of_each())
    guard = WebGuard(tmp_path / "web.yml")
    return PrometheusServer(("127.0.0.1", 0), publication, lambda: True, more={PATH: LiveTail().answer}, guard=guard)


def test_a_password_in_netrc_opens_the_door(server: PrometheusServer, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine localhost login anna password 'open sesame'\n".replace("'", '"'))
    with server:
        url = f"https://localhost:{server.address[1]}"
        assert is_ready(url)
        assert scrape(url, ["flowatlas_build_info"])
        assert next(follow(url, [])).is_empty()


def test_without_one_the_error_says_what_is_wanted(server: PrometheusServer) -> None:
    with server:
        url = f"https://localhost:{server.address[1]}"
        with pytest.raises(ConfigError, match=r"wants name and password: put them into ~/\.netrc"):
            next(follow(url, []))
        with pytest.raises(ConfigError, match="Unauthorized"):
            scrape(url, [])


def test_an_authority_that_is_not_known_is_not_trusted(
    server: PrometheusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Authority(tmp_path, "another")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "another.pem"))
    with server, pytest.raises(ConfigError, match="certificate verify failed"):
        scrape(f"https://localhost:{server.address[1]}", [])


def test_a_password_goes_nowhere_else_in_plain_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login anna password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    sent = []
    monkeypatch.setattr("urllib.request.urlopen", lambda request, **_: sent.append(request.headers))
    for url in ("http://flowatlas.example/", "http://127.0.0.1:1/", "https://flowatlas.example/"):
        ask(url, 1)
    assert ["Authorization" in headers for headers in sent] == [False, True, True]


def test_a_password_in_a_url_is_refused_and_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--server", "http://anna:secret@127.0.0.1:1"]) == 2
    said = capsys.readouterr().err
    assert "~/.netrc" in said
    assert "secret" not in said


def test_a_netrc_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine localhost\nlogin\npassword secret extra words\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ConfigError, match="netrc: line") as error:
        ask("http://localhost:1/", 1)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("server", ["127.0.0.1:9464", "localhost:9464", "file:///etc/hostname", ""])
def test_what_is_no_url_of_a_server_is_told_what_one_begins_with(server: str) -> None:
    """HOST:PORT is what `listen` is written as."""
    for asked in (lambda: next(follow(server, [])), lambda: scrape(server, []), lambda: is_ready(server)):
        with pytest.raises(ConfigError, match=r"\(a URL begins with http:// or https://\)"):
            asked()
