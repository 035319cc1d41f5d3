"""Where the API server is and how it is spoken to: from the pod's own account, or from a kubeconfig.

lightkube reads both, and gives the auth of tokens (a pod's is read again when it was refused), passwords and client
certificates; exec plugins are `credentials`' concern. Proxies are not used: neither the environment's nor `proxy-url`.
The invariant: a connection made anew has read every file anew, so rotated certificates arrive.
"""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
import msgspec
import yaml
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import Cluster, Context, User
from lightkube.core.exceptions import ConfigError as LightkubeConfigError

from ...errors import ConfigError
from .credentials import Plugin, PluginAuth, Status

CONNECT_S: Final = 5.0
ANSWER_S: Final = 30.0
"""Between two pieces of an answer that is no watch."""
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A peer that vanished without a word is found out after 25 s of silence, long before the next bookmark is due."""


class _NamedContext(msgspec.Struct):
    name: str
    context: Context


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: Cluster


class _NamedUser(msgspec.Struct):
    name: str
    user: User


class _File(msgspec.Struct, rename={"current": "current-context"}):
    """A kubeconfig, as far as it is read. Lists may be null, as kubectl writes those that are empty."""

    current: str | None = None
    clusters: list[_NamedCluster] | None = None
    contexts: list[_NamedContext] | None = None
    users: list[_NamedUser] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Which cluster. Neither given: the pod's own where it is one, else $KUBECONFIG or ~/.kube/config."""

    kubeconfig: Path | None = None
    context: str | None = None
    account: Path = Path(SERVICE_ACCOUNT)


def find(place: Place, environ: Mapping[str, str]) -> SingleConfig:
    """The settings of one cluster and user. Raises ConfigError that names the file and what is wrong with it."""
    given = place.kubeconfig
    if given is None and place.context is None and "KUBERNETES_SERVICE_HOST" in environ and place.account.is_dir():
        return _of_account(place.account)
    file = given or Path(environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG).expanduser()
    if given is None and os.pathsep in str(file):
        raise ConfigError(f"kubeconfig: $KUBECONFIG names several files ({file}); name one by flag")
    return _of_file(file, place.context)


async def connect(config: SingleConfig) -> httpx2.AsyncClient:
    """A client for the cluster's server. Raises ConfigError for files and settings that cannot work."""
    user = config.user or User()
    plugin = None
    if user.exec is not None and user.token is None and user.token_file is None:
        plugin = Plugin(user.exec, config.cluster, config.fname.parent if config.fname else None)
    _check_files(config, user)
    if user.token_file is not None:
        user.token_file = str(config.abs_file(user.token_file))
    status = await plugin.run() if plugin else Status()
    try:
        auth = PluginAuth(plugin, status) if plugin else client_adapter.user_auth(user)
        context = client_adapter.verify_cluster(config.cluster, user, config.abs_file)
        _present(context, status)
    except (LightkubeConfigError, OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"kubeconfig: {config.fname or 'service account'}: {error}") from error
    transport = httpx2.AsyncHTTPTransport(
        verify=context, socket_options=_KEEPALIVE, limits=httpx2.Limits(max_connections=None)
    )
    timeout = httpx2.Timeout(ANSWER_S, connect=CONNECT_S)
    return httpx2.AsyncClient(base_url=config.cluster.server, auth=auth, transport=transport, timeout=timeout)


def _present(context: ssl.SSLContext, status: Status) -> None:
    """Show a plugin's certificate to servers; the ssl module takes it from a file alone."""
    if status.client_certificate_data and status.client_key_data:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(f"{status.client_certificate_data}\n{status.client_key_data}\n")
            file.flush()
            context.load_cert_chain(file.name)


def _of_account(folder: Path) -> SingleConfig:
    try:
        found = KubeConfig.from_service_account(folder).get()
    except (LightkubeConfigError, OSError, ValueError) as error:
        raise ConfigError(f"kubeconfig: {folder}: {error}") from error
    except KeyError as error:
        raise ConfigError(f"kubeconfig: {folder}: {error} is missing") from error
    assert found is not None  # noqa: S101 - an account has one context
    return found


def _of_file(file: Path, wanted: str | None) -> SingleConfig:
    """The cluster and the user that a context names, the current one where none is wanted."""
    try:
        document = yaml.safe_load(file.read_bytes())
        told = msgspec.convert({} if document is None else document, _File)
    except OSError as error:
        raise ConfigError(f"kubeconfig: {file}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"kubeconfig: {file}: {' '.join(str(error).split())}") from None
    contexts = {entry.name: entry.context for entry in told.contexts or ()}
    clusters = {entry.name: entry.cluster for entry in told.clusters or ()}
    users = {entry.name: entry.user for entry in told.users or ()}
    name = wanted or told.current
    if not name:
        raise ConfigError(f"kubeconfig: {file}: no current context; {_known('context', contexts)}")
    if name not in contexts:
        raise ConfigError(f"kubeconfig: {file}: context {name!r} not found; {_known('context', contexts)}")
    context = contexts[name]
    for kind, one, known in (("cluster", context.cluster, clusters), ("user", context.user, users)):
        if one and one not in known:
            raise ConfigError(
                f"kubeconfig: {file}: {kind} {one!r} of context {name!r} not found; {_known(kind, known)}"
            )
    cluster, user = clusters.get(context.cluster), users[context.user] if context.user else None
    if cluster is None:
        raise ConfigError(f"kubeconfig: {file}: context {name!r} names no cluster; {_known('cluster', clusters)}")
    if not cluster.server.startswith(("https://", "http://")):
        raise ConfigError(f"kubeconfig: {file}: cluster {context.cluster!r}: server {cluster.server!r} is no URL")
    return SingleConfig(name, context, cluster, user, file)


def _known(kind: str, names: Iterable[str]) -> str:
    """What of a kind there is."""
    return f"there is {kind} {', '.join(sorted(names))}" if names else f"there is no {kind}"


def _check_files(config: SingleConfig, user: User) -> None:
    """Raise ConfigError that names the first file of the settings that cannot be read, or that has no token."""
    for name in (config.cluster.certificate_auth, user.client_cert, user.client_key, user.token_file):
        if name is None:
            continue
        file = Path(config.abs_file(name))
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ConfigError(f"kubeconfig: {config.fname or 'service account'}: {file}: {error.strerror}") from error
        if not content.strip():
            raise ConfigError(f"kubeconfig: {config.fname or 'service account'}: {file} is empty")
