"""A scripted API server on loopback: lists in pages, watches, versions, and whatever goes wrong with them.

It keeps a version for each change and gives events after any of them, as the real one does; `faults` are taken off one
by one as questions match them.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from pipeline.inventory.watch.kinds import KINDS, Served

BUILTIN: Final = {kind.name: Served(kind, kind.versions[0]) for kind in KINDS if kind.is_required}
ALL: Final = {kind.name: Served(kind, kind.versions[0]) for kind in reversed(KINDS)}
"""By name; of several kinds of one name, Kubernetes' own."""
Object = dict[str, Any]


@dataclass
class Fault:
    """One answer that goes wrong. `strike` gets the handler and says whether the question is answered by it."""

    matches: Callable[[str, dict[str, str]], bool]
    strike: Callable[[Handler], bool]
    times: int = 1


@dataclass
class Event:
    version: int
    served: Served
    type: str
    object: Object


class FakeApi:
    """The server and the cluster behind it; safe to use from the test while it serves."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 100
        self.served = dict(BUILTIN)
        self.objects: dict[Served, dict[tuple[str, str], Object]] = {}
        self.events: list[Event] = []
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.oldest = 0
        """Watches of earlier versions are told that those are gone."""
        self.repeats = 1
        """How often each event is sent."""
        self.tokens: set[str] | None = None
        """The tokens that are let in; None: everybody is."""
        self.generation = 0
        """Watches of an earlier one are cut."""
        self.bookmark_s: float | None = None
        self.bookmarked: dict[Served, int] = {}
        """The version that the last bookmark told."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.fake = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FakeApi:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.cut()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def put(self, kind: str, name: str, namespace: str = "default", uid: str = "", **fields: Any) -> Object:
        """Create or replace an object."""
        served = ALL[kind]
        with self.changed:
            self.version += 1
            known = self.objects.setdefault(served, {})
            is_new = (namespace, name) not in known
            metadata = {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}"}
            body = {"metadata": {**metadata, "resourceVersion": str(self.version)}, **fields}
            known[namespace, name] = body
            self.events.append(Event(self.version, served, "ADDED" if is_new else "MODIFIED", body))
            self.changed.notify_all()
        return body

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Delete an object."""
        served = ALL[kind]
        with self.changed:
            self.version += 1
            body = self.objects[served].pop((namespace, name))
            last = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
            self.events.append(Event(self.version, served, "DELETED", last))
            self.changed.notify_all()

    def forget(self) -> None:
        """Compact: changes up to now can be watched no more."""
        with self.changed:
            self.oldest = self.version
            self.events.clear()

    def cut(self) -> None:
        """End every watch that stands, in the middle of whatever it says."""
        with self.changed:
            self.generation += 1
            self.changed.notify_all()

    def fault(self, strike: Callable[[Handler], bool], path: str = "", times: int = 1, **query: str) -> None:
        """The next `times` questions whose path ends so and whose query has these values are answered by `strike`."""

        def matches(asked: str, parameters: dict[str, str]) -> bool:
            wanted = {name.rstrip("_"): value for name, value in query.items()}
            return asked.endswith(path) and all(parameters.get(name, "") == value for name, value in wanted.items())

        self.faults.append(Fault(matches, strike, times))

    def questions(self, path: str, **query: str) -> list[dict[str, str]]:
        """The queries of the questions so far whose path ends so."""
        return [q for asked, q in list(self.asked) if asked.endswith(path) and query.items() <= q.items()]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def fake(self) -> FakeApi:
        fake: FakeApi = self.server.fake  # type: ignore[attr-defined]
        return fake

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._answer()

    def _answer(self) -> None:
        fake, parts = self.fake, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        fake.asked.append((parts.path, query))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if fake.tokens is not None and token not in fake.tokens:
            self.status(401)
            return
        for fault in list(fake.faults):
            if fault.times > 0 and fault.matches(parts.path, query):
                fault.times -= 1
                if fault.strike(self):
                    return
        if parts.path == "/apis":
            self.json({"groups": _groups(fake.served.values())})
        elif found := [s for s in fake.served.values() if s.path == parts.path]:
            if query.get("watch"):
                self.watch(found[0], int(query["resourceVersion"]), float(query["timeoutSeconds"]))
            else:
                self.list(found[0], query)
        elif resources := [s.kind.resource for s in fake.served.values() if s.path.rpartition("/")[0] == parts.path]:
            self.json({"resources": [{"name": name} for name in resources]})
        else:
            self.status(404)

    def list(self, served: Served, query: dict[str, str], items: list[Object] | None = None) -> None:
        with self.fake.changed:
            objects = list(self.fake.objects.get(served, {}).values()) if items is None else items
            version = str(self.fake.version)
        limit = int(query.get("limit", 0))
        first = 0
        if token := query.get("continue"):
            version, _, position = token.partition("-")
            first = int(position)
        page = objects[first : first + limit] if limit else objects
        metadata = {"resourceVersion": version}
        if first + len(page) < len(objects):
            metadata["continue"] = f"{version}-{first + len(page)}"
        self.json({"metadata": metadata, "items": page})

    def watch(self, served: Served, after: int, timeout_s: float) -> None:
        fake = self.fake
        if after < fake.oldest:
            self.begin_chunks()
            self.line({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
            self.end_chunks()
            return
        self.begin_chunks()
        generation, deadline, told = fake.generation, time.monotonic() + timeout_s, time.monotonic()
        while True:
            with fake.changed:
                news = [e for e in fake.events if e.version > after and e.served == served]
                if not news:
                    fake.changed.wait(0.02)
                is_cut = fake.generation != generation
            for event in news:
                for _ in range(fake.repeats):
                    self.line({"type": event.type, "object": event.object})
                after = event.version
            if is_cut:
                self.cut()
                return
            if fake.bookmark_s is not None and time.monotonic() - told >= fake.bookmark_s:
                told, after = time.monotonic(), fake.version
                self.line({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(after)}}})
                fake.bookmarked[served] = after
            if time.monotonic() > deadline:
                self.end_chunks()
                return

    def status(self, code: int, **headers: str) -> bool:
        self.json({"kind": "Status", "code": code, "message": "scripted"}, code, **headers)
        return True

    def json(self, body: object, code: int = 200, **headers: str) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def begin_chunks(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def line(self, body: object) -> None:
        self.chunk(json.dumps(body).encode() + b"\n")

    def chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def end_chunks(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def cut(self) -> bool:
        """Close the connection in the middle of an answer."""
        self.close_connection = True
        return True


def status(code: int, **headers: str) -> Callable[[Handler], bool]:
    """Answer with a status."""
    return lambda handler: handler.status(code, **headers)


def truncated(handler: Handler) -> bool:
    """Half of a page, and no more."""
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"na')
    return handler.cut()


def slow(seconds: float) -> Callable[[Handler], bool]:
    """Say nothing for a while, then answer."""

    def strike(_: Handler) -> bool:
        time.sleep(seconds)
        return False

    return strike


def until(event: threading.Event) -> Callable[[Handler], bool]:
    """Say nothing until the event is set, then answer."""

    def strike(_: Handler) -> bool:
        event.wait(60)
        return False

    return strike


def silent(handler: Handler) -> bool:
    """Begin to answer a watch, and say nothing more for longer than it was asked for."""
    handler.begin_chunks()
    time.sleep(2.0)
    return handler.cut()


def says(*lines: bytes) -> Callable[[Handler], bool]:
    """Answer a watch with these lines, and end it."""

    def strike(handler: Handler) -> bool:
        handler.begin_chunks()
        for line in lines:
            handler.chunk(line)
        handler.end_chunks()
        return True

    return strike


def _groups(served: Iterable[Served]) -> list[Object]:
    versions: dict[str, set[str]] = {}
    for one in served:
        if one.kind.group:
            versions.setdefault(one.kind.group, set()).add(one.version)
    return [{"name": g, "versions": [{"version": v} for v in sorted(vs)]} for g, vs in versions.items()]


def wait_for(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until it holds; fail where it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.01)


def pod(fake: FakeApi, name: str, ip: str = "10.0.0.1", **more: Any) -> None:
    """Put a running Pod."""
    fake.put("Pod", name, status={"podIP": ip, "phase": "Running"}, **more)
