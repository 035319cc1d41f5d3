"""The names in the first bytes of a connection: a TLS ClientHello, an HTTP/1 request, or the preface of HTTP/2. Pure.

What is read: the server name of TLS; of HTTP the method, the path's first segments and the Host field. What is not:
queries, any other field, bodies, certificates, anything encrypted. Never raises whatever the bytes are: what is no
head, or is cut before its names, gives None and why.

Source: RFC 8446 4.1.2, RFC 6066 3, RFC 9112 3, RFC 9113 3.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..schema import APP_PROTOCOLS, PATH_CUT
from .segments import METHODS

MAX_PATH: Final = 64
"""Characters of a path, with the mark."""

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_REQUEST: Final = re.compile(rb"([A-Z]{3,7}) ([\x21-\x7e]{1,8192}) HTTP/1\.[01]\r\n")
_HOST_FIELD: Final = re.compile(rb"\r\n[Hh][Oo][Ss][Tt]:[ \t]*([\x21-\x7e]{0,260})[ \t]*\r\n")
_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_BRACKETED: Final = re.compile(r"\[([0-9a-f:.]{2,45})\](?::\d{0,5})?\Z")
_SERVER_NAME, _HOST_NAME = 0, 0


@dataclass(frozen=True, slots=True)
class Head:
    """What one head tells, as the columns of FLOWS of the same names."""

    app_protocol: int
    server_name: str = ""
    method: str = ""
    path: str = ""


class NoHeadError(ValueError):
    """The bytes hold no head that can be read: `malformed`, or `cut` where it goes on in a later segment."""

    @property
    def reason(self) -> str:
        """`malformed` or `cut`."""
        return str(self.args[0])


def read_head(data: bytes, path_segments: int) -> Head:
    """The head at the beginning of a segment's payload; of a path at most so many segments. Raises NoHeadError."""
    if data[:1] == b"\x16":
        return Head(APP_PROTOCOLS.index("tls"), _sni(data))
    if data[:4] == b"PRI ":
        if not _PREFACE.startswith(data[: len(_PREFACE)]):
            raise NoHeadError("malformed")
        return Head(APP_PROTOCOLS.index("http2"))
    return _request(data, path_segments)


def host_name(text: str) -> str:
    """A host as names are compared: lower case, without port and final dot; "" where it is none."""
    lower = text.lower()
    bracketed = _BRACKETED.match(lower)
    if bracketed:
        return bracketed[1]
    name, _, port = lower.partition(":")
    name = name.removesuffix(".")
    is_one = len(name) <= 253 and _NAME.match(name) and (not port or port.isdecimal())
    return name if is_one else ""


def first_segments(target: str, segments: int) -> str:
    """The first segments of a path, without its query; ends with PATH_CUT where it goes on. "" for none."""
    path = target.partition("?")[0].partition("#")[0]
    if segments == 0 or not path.startswith("/"):
        return ""
    parts = path.split("/")
    kept = path if len(parts) <= segments + 1 else "/".join(parts[: segments + 1]) + "/" + PATH_CUT
    return kept if len(kept) <= MAX_PATH else kept[: MAX_PATH - 1] + PATH_CUT


def _request(data: bytes, path_segments: int) -> Head:
    line = _REQUEST.match(data)
    if line is None:
        raise NoHeadError("malformed" if b"\r\n" in data[:8300] else "cut")
    method, target = line[1].decode(), line[2].decode()
    if method not in METHODS:
        raise NoHeadError("malformed")
    head_end = data.find(b"\r\n\r\n", line.end() - 2)
    fields = data[line.end() - 2 : head_end + 2 if head_end >= 0 else len(data)]
    field = _HOST_FIELD.search(fields)
    host = field[1].decode() if field else ""
    if method == "CONNECT":
        host, target = target, ""
    elif "://" in target[:10]:  # absolute form: its authority is the host, whatever the field says
        host, slash, rest = target.partition("://")[2].partition("/")
        target = slash + rest or "/"
        host = host.partition("?")[0].rpartition("@")[2]
    return Head(APP_PROTOCOLS.index("http1"), host_name(host), method, first_segments(target, path_segments))


def _sni(data: bytes) -> str:
    """The server name of a ClientHello in one record; "" where the client sends none."""
    if data[1:2] not in (b"", b"\x03") or data[5:6] not in (b"", b"\x01"):
        raise NoHeadError("malformed")
    if len(data) < 9:
        raise NoHeadError("cut")
    at = 5 + 4 + 2 + 32  # record, handshake, version, random
    end = 9 + int.from_bytes(data[6:9])
    for width in (1, 2, 1):  # session, cipher suites, compression
        at += width + _number(data, at, width, end)
    if at == end:
        return ""  # no extensions
    _number(data, at, 2, end)  # how long the extensions are together
    at += 2
    while at < end:
        kind, length = _number(data, at, 2, end), _number(data, at + 2, 2, end)
        at += 4
        if kind == _SERVER_NAME:
            return _name_of(data, at, at + length, end)
        at += length
    return ""


def _name_of(data: bytes, at: int, stop: int, end: int) -> str:
    """The host name of a server_name extension that lies between `at` and `stop`."""
    if _number(data, at + 2, 1, end) != _HOST_NAME:
        return ""
    length = _number(data, at + 3, 2, end)
    if at + 5 + length > stop or stop > end:
        raise NoHeadError("malformed")
    if stop > len(data):
        raise NoHeadError("cut")
    name = data[at + 5 : at + 5 + length].decode("latin-1")
    return "" if ":" in name else host_name(name)


def _number(data: bytes, at: int, width: int, end: int) -> int:
    if at + width > end:
        raise NoHeadError("malformed")
    if at + width > len(data):
        raise NoHeadError("cut")
    return int.from_bytes(data[at : at + width])
