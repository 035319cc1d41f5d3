"""Ways to the API server: which settings are taken, and that credentials which change meanwhile are followed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import yaml
from lightkube.config.models import Cluster, UserExec

from pipeline.errors import ConfigError, TransientError
from pipeline.inventory.watch import api as api_module
from pipeline.inventory.watch import connection, credentials
from pipeline.inventory.watch.backoff import Backoff
from pipeline.inventory.watch.connection import Place, find
from pipeline.inventory.watch.credentials import Plugin, PluginAuth
from tests.pipeline.inventory.watch.fake_api import FakeApi, wait_for
from tests.pipeline.inventory.watch.runs import watching

SERVER = """
clusters: [{name: b, cluster: {server: "https://127.0.0.1:6443"}}]
contexts: [{name: a, context: {cluster: b}}]
"""


def kubeconfig(folder: Path, server: str, user: dict[str, Any], **cluster: Any) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "one",
                "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": n, "context": {"cluster": "c", "user": "u"}} for n in ("one", "two")],
            }
        )
    )
    return path


def connecting(path: Path) -> Callable[[], Any]:
    return lambda: connection.connect(find(Place(path), {}))


def plugin(folder: Path, *commands: str, **more: Any) -> dict[str, Any]:
    """A user whose plugin counts its runs, keeps what it was told, and does what `commands` say."""
    program = folder / "plugin"
    lines = [
        "#!/bin/sh",
        'cd "$(dirname "$0")"',
        "echo x >>runs",
        'echo "$KUBERNETES_EXEC_INFO$MORE$1" >told',
        *commands,
    ]
    program.write_text("\n".join(lines) + "\n")
    program.chmod(0o700)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", **more}}


def credential(folder: Path, status: dict[str, str]) -> None:
    """What `cat credential` prints."""
    (folder / "credential").write_text(json.dumps({"kind": "ExecCredential", "status": status}))


def runs(folder: Path) -> int:
    return (folder / "runs").read_text().count("x")


# --- which settings ---


def test_a_pods_own_account_comes_first_where_it_is_one(tmp_path: Path) -> None:
    account = tmp_path / "account"
    account.mkdir()
    for name in ("token", "namespace", "ca.crt"):
        (account / name).write_text(name)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443", "KUBECONFIG": "/nowhere"}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environ.items():
            patch.setenv(key, value)
        config = find(Place(account=account), environ)
    assert config.cluster.server == "https://[fd00::1]:443"
    assert config.user is not None
    assert config.user.token_file == str(account / "token")
    path = kubeconfig(tmp_path, "http://given", {})
    assert find(Place(path, account=account), environ).cluster.server == "http://given"


def test_a_kubeconfig_by_flag_by_environment_and_by_context(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "http://here", {})
    assert find(Place(path), {}).context_name == "one"
    assert find(Place(None), {"KUBECONFIG": str(path)}).cluster.server == "http://here"
    assert find(Place(path, "two"), {}).context_name == "two"


@pytest.mark.parametrize(
    ("text", "context", "said"),
    [
        (None, None, "No such file"),
        ("{", None, "while parsing a flow node"),
        ("[]", None, "Expected `object`, got `array`"),
        ("a kubeconfig", None, "Expected `object`, got `str`"),
        ("{contexts: [1]}", None, r"Expected `object`, got `int` - at `\$.contexts\[0\]`"),
        ("{contexts: [{name: a, context: {}}]}", None, "missing required field `cluster`"),
        ("", None, "no current context; there is no context"),
        ("{clusters: null, contexts: null}", None, "no current context; there is no context"),
        ("{contexts: [{name: a, context: {cluster: b}}]}", None, "no current context; there is context a"),
        ("{current-context: a}", None, "context 'a' not found; there is no context"),
        ("{contexts: [{name: a, context: {cluster: b}}]}", "c", "context 'c' not found; there is context a"),
        ("{contexts: [{name: a, context: {cluster: b}}]}", "a", "cluster 'b' of context 'a' not found; there is no"),
        ("{contexts: [{name: a, context: {cluster: ''}}]}", "a", "context 'a' names no cluster"),
        (
            SERVER.replace("cluster: b}", "cluster: b, user: c}"),
            "a",
            "user 'c' of context 'a' not found; there is no user",
        ),
        (SERVER.replace("https://", ""), "a", "server '127.0.0.1:6443' is no URL"),
    ],
)
def test_a_kubeconfig_that_cannot_work_is_named(
    tmp_path: Path, text: str | None, context: str | None, said: str
) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        find(Place(path, context), {})
    assert str(path) in str(caught.value)


def test_several_kubeconfigs_are_refused() -> None:
    with pytest.raises(ConfigError, match="several files"):
        find(Place(), {"KUBECONFIG": "/a:/b"})


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"exec": {"apiVersion": "v9", "command": "x"}}, "apiVersion 'v9'"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-program"}}, "no-such-program"),
        ({"auth-provider": {"name": "gcp"}}, "auth-provider"),
        ({"client-certificate": "missing.crt", "client-key": "missing.key"}, "missing.crt: No such file"),
        ({"tokenFile": "missing"}, "missing: No such file"),
        ({"tokenFile": "/dev/null"}, "/dev/null is empty"),
    ],
)
def test_a_user_that_cannot_work_ends_the_watcher(
    fake: FakeApi, tmp_path: Path, user: dict[str, Any], said: str
) -> None:
    with (
        pytest.raises(ConfigError, match=said),
        watching(fake, connect=connecting(kubeconfig(tmp_path, fake.url, user))) as run,
    ):
        wait_for(lambda: run.failed is not None)


def test_an_authority_that_is_none_ends_the_watcher(fake: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("rubbish")
    path = kubeconfig(tmp_path, fake.url, {}, **{"certificate-authority": "ca.crt"})
    with pytest.raises(ConfigError), watching(fake, connect=connecting(path)) as run:
        wait_for(lambda: run.failed is not None)


# --- credentials that change ---


def test_a_token_file_is_read_again_when_the_token_is_refused(fake: FakeApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    fake.tokens = {"first"}
    path = kubeconfig(tmp_path, fake.url, {"tokenFile": str(token)})
    with watching(fake, connect=connecting(path)) as run:
        run.settled()
        token.write_text("second")
        fake.tokens = {"second"}
        fake.cut()
        fake.put("Service", "web")
        assert run.settled().names("Service") == {"web"}


def test_a_token_that_stays_refused_is_told_and_the_watcher_waits(fake: FakeApi, tmp_path: Path) -> None:
    fake.tokens = set()
    with watching(fake, connect=connecting(kubeconfig(tmp_path, fake.url, {"token": "old"}))) as run:
        wait_for(lambda: run.counts.of("errors_total", "", "unauthorized") > 1)
        assert run.kept.batches == []
        fake.tokens = {"old"}
        run.settled()


def test_a_kubeconfig_that_is_replaced_is_read_again(
    fake: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that cannot be read for a while: what was sound once is waited for."""
    monkeypatch.setattr(api_module, "ANEW_S", 0.1)
    fake.tokens = {"old"}
    path = kubeconfig(tmp_path, fake.url, {"token": "old"})
    with watching(fake, connect=connecting(path)) as run:
        run.settled()
        path.unlink()
        fake.tokens = {"new"}
        fake.cut()
        wait_for(lambda: run.counts.of("errors_total", "Pod", "credentials") > 0)
        kubeconfig(tmp_path, fake.url, {"token": "new"})
        fake.put("Service", "web")
        assert run.settled().names("Service") == {"web"}


def test_a_plugins_token_is_used_until_it_is_refused(fake: FakeApi, tmp_path: Path) -> None:
    user = plugin(tmp_path, "cat credential", args=["an argument"], env=[{"name": "MORE", "value": "a variable"}])
    credential(tmp_path, {"token": "first"})
    fake.tokens = {"first"}
    with watching(fake, connect=connecting(kubeconfig(tmp_path, fake.url, user))) as run:
        run.settled()
        assert runs(tmp_path) == 1
        told = (tmp_path / "told").read_text()
        assert fake.url in told
        assert told.endswith("a variablean argument\n")
        credential(tmp_path, {"token": "second"})
        fake.tokens = {"second"}
        fake.cut()
        fake.put("Service", "web")
        assert run.settled().names("Service") == {"web"}
    assert runs(tmp_path) == 2, "once for all watches that were refused"


def test_a_plugin_that_fails_at_first_is_asked_again(fake: FakeApi, tmp_path: Path) -> None:
    credential(tmp_path, {"token": "first"})
    user = plugin(tmp_path, "[ $(wc -l <runs) -gt 2 ] || exit 3", "cat credential")
    fake.tokens = {"first"}
    with watching(fake, connect=connecting(kubeconfig(tmp_path, fake.url, user))) as run:
        run.settled()
        assert run.counts.of("errors_total", "", "credentials") == 2


@pytest.mark.parametrize(
    ("command", "patience_s", "said"),
    [
        ("echo no >&2; exit 3", 60.0, "ended with 3: no"),
        ("echo {", 60.0, "no ExecCredential"),
        ("sleep 600", 0.5, "did not end within"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, patience_s: float, said: str
) -> None:
    monkeypatch.setattr(credentials, "PLUGIN_S", patience_s)
    user = msgspec.convert(plugin(tmp_path, command)["exec"], UserExec)
    with pytest.raises(TransientError, match=said):
        asyncio.run(Plugin(user, Cluster(), tmp_path).run())


def test_a_plugins_token_is_replaced_before_it_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = msgspec.convert(plugin(tmp_path, "cat credential")["exec"], UserExec)
    now = 1_800_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers["Authorization"])
        return httpx2.Response(200)

    async def ask() -> None:
        nonlocal now
        asked = Plugin(user, Cluster(), tmp_path)
        credential(tmp_path, {"token": "first", "expirationTimestamp": "2027-01-15T08:10:00Z"})  # in 10 minutes
        auth = PluginAuth(asked, await asked.run())
        credential(tmp_path, {"token": "second", "expirationTimestamp": "2027-01-15T08:20:00Z"})
        async with httpx2.AsyncClient(auth=auth, transport=httpx2.MockTransport(answer)) as client:
            for later in (0, 538, 3):
                now += later
                await client.get("http://server/")

    asyncio.run(ask())
    assert seen == ["Bearer first", "Bearer first", "Bearer second"]


def test_waits_grow_are_spread_and_heed_the_servers_wish() -> None:
    backoff = Backoff(1.0, 8.0)
    waits = [backoff.wait_s() for _ in range(6)]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, (1, 2, 4, 8, 8, 8), strict=True))
    assert len(set(waits)) == 6
    assert backoff.wait_s(8.0) == 8.0
    assert backoff.wait_s(1000.0) == 30.0, "but not for ever"
    backoff.reset()
    assert backoff.wait_s() <= 1.0
