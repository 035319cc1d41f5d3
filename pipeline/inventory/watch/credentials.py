"""Credentials of exec plugins: a program that prints an ExecCredential, as a kubeconfig's user may name one.

The invariant: a token is asked for anew before it expires and after the server refused it, never for each request.
Plugins get no terminal. Source: client-authentication/v1 and v1beta1 of the Kubernetes API reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx2
import msgspec
from lightkube.config.models import Cluster, UserExec

from ...errors import ConfigError, TransientError

VERSIONS: Final = frozenset(f"client.authentication.k8s.io/{v}" for v in ("v1", "v1beta1", "v1alpha1"))
PLUGIN_S: Final = 30.0
"""A plugin that takes longer is ended."""
EARLY_S: Final = 60.0
"""A token is replaced this long before it expires, or halfway where it lives shorter than twice that."""


class Status(msgspec.Struct, rename="camel", frozen=True):
    """What a plugin gives: a token, a client certificate with its key (PEM), or both."""

    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: str | None = None


class _Credential(msgspec.Struct, frozen=True):
    status: Status


class Plugin:
    """Runs the program; inert until asked."""

    def __init__(self, user: UserExec, cluster: Cluster, folder: Path | None) -> None:
        if user.apiVersion not in VERSIONS:
            raise ConfigError(
                f"kubeconfig: exec.apiVersion {user.apiVersion!r} is none of {', '.join(sorted(VERSIONS))}"
            )
        self._user = user
        self._folder = folder
        spec = {"cluster": {"server": cluster.server}, "interactive": False}
        info = {"apiVersion": user.apiVersion, "kind": "ExecCredential", "spec": spec}
        self._environment = {
            **os.environ,
            **{variable.name: variable.value for variable in user.env or []},
            "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode(),
        }

    async def run(self) -> Status:
        """Ask the program. Raises ConfigError where there is none, TransientError where it fails or prints rubbish."""
        output = await self._output([self._program(), *(self._user.args or [])])
        try:
            return msgspec.json.decode(output, type=_Credential).status
        except msgspec.DecodeError as error:
            raise TransientError(f"kubeconfig: {self._user.command} printed no ExecCredential: {error}") from None

    def _program(self) -> str:
        """A command with a slash is relative to the kubeconfig's folder, others are found on PATH."""
        command = self._user.command
        return str(self._folder / command) if self._folder and os.sep in command else command

    async def _output(self, command: Sequence[str]) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # so that it can be ended with all that it started
            )
        except OSError as error:
            hint = f" ({self._user.installHint})" if self._user.installHint else ""
            raise ConfigError(f"kubeconfig: exec: {command[0]}: {error.strerror}{hint}") from None
        try:
            output, complaint = await asyncio.wait_for(process.communicate(), PLUGIN_S)
        except TimeoutError:
            raise TransientError(f"kubeconfig: {command[0]} did not end within {PLUGIN_S:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            said = complaint.decode(errors="replace").strip()[-200:]
            raise TransientError(f"kubeconfig: {command[0]} ended with {process.returncode}: {said}")
        return output


class PluginAuth(httpx2.Auth):
    """The token of a plugin on every request. `status` is what the plugin said last."""

    def __init__(self, plugin: Plugin, status: Status) -> None:
        self._plugin = plugin
        self._lock = asyncio.Lock()
        self._take(status)

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send with the token, and once more with a new one where the server refuses it."""
        if time.time() >= self._renew_at:
            await self._renew(self._token)
        token = self._authorize(request)
        response = yield request
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            await self._renew(token)
            self._authorize(request)
            yield request

    def _authorize(self, request: httpx2.Request) -> str | None:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return self._token

    async def _renew(self, refused: str | None) -> None:
        """Ask the plugin, unless another request has done so meanwhile."""
        async with self._lock:
            if self._token == refused:
                self._take(await self._plugin.run())

    def _take(self, status: Status) -> None:
        self._token = status.token
        self._renew_at = float("inf")
        if status.expiration_timestamp is not None:
            left = _seconds(status.expiration_timestamp) - time.time()
            self._renew_at = time.time() + max(left - EARLY_S, left / 2)


def _seconds(timestamp: str) -> float:
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        raise TransientError(f"kubeconfig: expirationTimestamp {timestamp!r} is no RFC 3339 time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
