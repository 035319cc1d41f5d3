"""The questions to the API server: what it serves, pages of a list, the events of a watch.

One question, one answer or an error of `errors`; what to do about those is `reflector`'s. Objects come as decoded JSON.
The invariant: a list is whole or an error, and a watch gives every complete line that arrived and then ends or raises.
Source: Kubernetes API concepts (resource versions, efficient detection of changes, large result sets).
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx2
import msgspec
from lightkube.core.exceptions import ConfigError as LightkubeConfigError

from ...errors import ConfigError, TransientError
from .errors import AbsentError, AnswerError, ForbiddenError, GoneError
from .kinds import Served, choose, group_path, wanted_versions

PAGE_OBJECTS: Final = 500
WATCH_S: Final = (600.0, 1200.0)
"""A watch is asked to end by itself within this, so that watches spread over the servers that there are."""
GRACE_S: Final = 30.0
"""A watch that has not ended so much later is taken for dead. It may be silent until then: bookmarks are a courtesy."""
ANEW_S: Final = 30.0
"""At most this often a connection is made anew because the server refused its credentials or its certificate."""
RETIRED: Final = 2
MAX_LINE_BYTES: Final = 16 * 1024 * 1024

T = TypeVar("T")
Connect = Callable[[], Awaitable[httpx2.AsyncClient]]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch. `raw` is the object; of a bookmark, its version alone."""

    type: str
    raw: Mapping[str, Any]


class _Group(msgspec.Struct, frozen=True):
    name: str
    versions: list[dict[str, Any]]


class _Groups(msgspec.Struct, frozen=True):
    groups: list[_Group]


class _ResourceNames(msgspec.Struct, frozen=True):
    resources: list[dict[str, Any]]


class _PageMetadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True):
    metadata: _PageMetadata
    items: list[dict[str, Any]] | None = None


class _Line(msgspec.Struct, frozen=True):
    type: str
    object: dict[str, Any]


class Api:
    """One cluster's API server. `watch_s` are the bounds of how long a watch is asked to take."""

    def __init__(self, connect: Connect, watch_s: tuple[float, float] = WATCH_S) -> None:
        self._connect = connect
        self._watch_s = watch_s
        self._client: httpx2.AsyncClient | None = None
        self._connected_at = 0.0
        self._retired: list[httpx2.AsyncClient] = []
        """Clients of before, on which watches may still run."""

    async def close(self) -> None:
        """Close all connections."""
        clients = [*self._retired, *([self._client] if self._client else [])]
        self._client, self._retired = None, []
        for client in clients:
            await client.aclose()

    async def served(self) -> list[Served]:
        """The watched kinds that the cluster has now; those of a group that cannot be asked are not among them."""
        groups = _checked(await self._get("/apis"), _Groups)
        versions = {group.name: [str(v.get("version")) for v in group.versions] for group in groups.groups}
        resources = {}
        for api_version in wanted_versions({"": ["v1"], **versions}):
            try:
                found = _checked(await self._get(group_path(api_version)), _ResourceNames)
            except (AbsentError, AnswerError) as error:
                if isinstance(error, AnswerError) and error.reason != "server":
                    raise
                continue  # it is just being removed, or whoever else serves it is away
            resources[api_version] = {str(resource.get("name")) for resource in found.resources}
        return choose(resources)

    async def page(
        self, served: Served, token: str, limit: int = PAGE_OBJECTS
    ) -> tuple[list[dict[str, Any]], str, str]:
        """Objects of a list, its version, and the token of the next page ("" after the last). `limit` 0: all."""
        parameters = {"limit": str(limit)} if limit else {}
        if token:
            parameters["continue"] = token
        page = _checked(await self._get(served.path, parameters), _Page)
        return page.items or [], page.metadata.resource_version, page.metadata.continue_

    @contextlib.asynccontextmanager
    async def watch(self, served: Served, version: str) -> AsyncIterator[AsyncIterator[Event]]:
        """The events after `version`; entered once the server has begun to answer."""
        seconds = math.ceil(random.uniform(*self._watch_s))  # noqa: S311  # no secret
        parameters = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        async with self._asking(served.path, parameters, seconds + GRACE_S) as response:
            yield _events(response)

    async def _get(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        async with self._asking(path, parameters) as response:
            content = await response.aread()
        try:
            return msgspec.json.decode(content)
        except msgspec.DecodeError as error:
            raise AnswerError("malformed", f"{path}: {error}") from None

    @contextlib.asynccontextmanager
    async def _asking(
        self, path: str, parameters: Mapping[str, str] | None = None, silence_s: float | None = None
    ) -> AsyncIterator[httpx2.Response]:
        client = await self._opened()
        usual = client.timeout
        timeout = httpx2.Timeout(
            connect=usual.connect,
            read=usual.read if silence_s is None else silence_s,
            write=usual.write,
            pool=usual.pool,
        )
        try:
            async with client.stream("GET", path, params=parameters, timeout=timeout) as response:
                if response.status_code != httpx2.codes.OK:
                    await response.aread()
                    if response.status_code == httpx2.codes.UNAUTHORIZED:
                        self._distrust(client)
                    raise error_of(response.status_code, path, response.headers.get("Retry-After", ""))
                yield response
        except (AnswerError, ForbiddenError):
            raise
        except (ConfigError, LightkubeConfigError, TransientError) as error:
            raise AnswerError("credentials", str(error)) from error
        except httpx2.TimeoutException as error:
            raise AnswerError("timeout", f"{path}: {type(error).__name__}") from error
        except httpx2.ConnectError as error:
            self._distrust(client)  # a certificate that changed looks like this
            raise AnswerError("connection", f"{path}: {error}") from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise AnswerError("connection", f"{path}: {type(error).__name__}: {error}") from error

    async def _opened(self) -> httpx2.AsyncClient:
        while len(self._retired) > RETIRED:
            await self._retired.pop(0).aclose()  # what still runs on it is told so, and goes on on a new one
        if self._client is None:
            is_first, self._connected_at = not self._connected_at, time.monotonic()
            try:
                self._client = await self._connect()
            except TransientError as error:
                raise AnswerError("credentials", str(error)) from error
            except ConfigError as error:
                if is_first:
                    raise
                raise AnswerError("credentials", str(error)) from error  # files are being replaced
        return self._client

    def _distrust(self, client: httpx2.AsyncClient) -> None:
        """Read certificates and tokens anew before the next question, now and then. Watches under way go on."""
        if client is self._client and time.monotonic() - self._connected_at >= ANEW_S:
            self._retired.append(client)
            self._client = None


def error_of(status: int, what: str, retry_after: str = "") -> Exception:
    """The error that a status means."""
    if status == httpx2.codes.GONE:
        return GoneError(what)
    if status == httpx2.codes.NOT_FOUND:
        return AbsentError(what)
    if status == httpx2.codes.FORBIDDEN:
        return ForbiddenError(f"forbidden: {what}")
    reason = {401: "unauthorized", 429: "throttled"}.get(status, "server" if status >= 500 else "refused")
    if status == httpx2.codes.UNAUTHORIZED:
        what = f"the server knows no such token, password or certificate, or it has expired: {what}"
    return AnswerError(reason, f"{what}: {status}", float(retry_after) if retry_after.isdecimal() else 0.0)


async def _events(response: httpx2.Response) -> AsyncIterator[Event]:
    """Whole lines, as they come. A line that the connection's end cuts short is none."""
    held = bytearray()
    async for chunk in response.aiter_bytes():
        held += chunk
        if b"\n" not in chunk:
            if len(held) > MAX_LINE_BYTES:
                raise AnswerError("malformed", f"{response.url.path}: a line of more than {MAX_LINE_BYTES} bytes")
            continue
        lines = held.split(b"\n")
        held = lines.pop()
        for line in lines:
            if line:
                yield _event(bytes(line), response.url.path)


def _event(line: bytes, path: str) -> Event:
    try:
        decoded = msgspec.json.decode(line, type=_Line)
    except msgspec.DecodeError as error:
        raise AnswerError("malformed", f"{path}: {error}") from None
    if decoded.type == "ERROR":
        code = decoded.object.get("code")
        raise error_of(code if isinstance(code, int) else 500, f"{path}: {decoded.object.get('message', '')}")
    return Event(decoded.type, decoded.object)


def _checked(content: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise AnswerError("malformed", str(error)) from None
