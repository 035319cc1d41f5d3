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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
import yaml
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import User
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
        return _read(place.account, lambda: KubeConfig.from_service_account(place.account), None)
    file = given or Path(environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG).expanduser()
    if given is None and os.pathsep in str(file):
        raise ConfigError(f"kubeconfig: $KUBECONFIG names several files ({file}); name one by flag")
    return _read(file, lambda: KubeConfig.from_file(file), place.context)


async def connect(config: SingleConfig) -> httpx2.AsyncClient:
    """A client for the cluster's server. Raises ConfigError for files and settings that cannot work."""
    user = config.user or User()
    plugin = None
    if user.exec is not None and user.token is None and user.token_file is None:
        plugin = Plugin(user.exec, config.cluster, config.fname.parent if config.fname else None)
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


def _read(origin: Path, settings: Callable[[], KubeConfig], context: str | None) -> SingleConfig:
    try:
        found = settings().get(context)
    except (LightkubeConfigError, OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"kubeconfig: {origin}: {error}") from error
    except KeyError as error:
        raise ConfigError(f"kubeconfig: {origin}: {error} is missing") from error
    if found is None:
        raise ConfigError(f"kubeconfig: {origin}: no current context")
    return found
