"""Names of heads: what real clients send, and whatever bytes there are."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.heads.names import MAX_PATH, Head, NoHeadError, first_segments, host_name, read_head
from collector.schema import APP_PROTOCOLS, PATH_CUT

TLS, HTTP1, HTTP2 = (APP_PROTOCOLS.index(name) for name in ("tls", "http1", "http2"))


def client_hello(name: str | None) -> bytes:
    """What OpenSSL says first."""
    context = ssl.create_default_context()
    if name is None:
        context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    channel = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        channel.do_handshake()
    return outgoing.read()


def reason_of(data: bytes) -> str:
    with pytest.raises(NoHeadError) as caught:
        read_head(data, 2)
    return caught.value.reason


def test_the_server_name_of_a_real_client() -> None:
    assert read_head(client_hello("Shop.Example.com"), 2) == Head(TLS, "shop.example.com")
    assert read_head(client_hello(None), 2) == Head(TLS)


def test_a_hello_is_read_as_far_as_its_name_goes() -> None:
    """Each prefix has the name or says that it is cut; never another name."""
    hello = client_hello("shop.example.com")
    name_ends = hello.index(b"shop.example.com") + len(b"shop.example.com")
    for length in range(1, len(hello)):
        if length < name_ends:
            assert reason_of(hello[:length]) == "cut"
        else:
            assert read_head(hello[:length], 2).server_name == "shop.example.com"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET /api/v1/items?q=secret HTTP/1.1\r\nHost: App.Example:80\r\n\r\n", ("app.example", "GET", "/api/v1/…")),
        (b"POST / HTTP/1.1\r\nAccept: */*\r\nhost:\tweb.shop. \r\n\r\nbody", ("web.shop", "POST", "/")),
        (b"GET /a?x=/b/c HTTP/1.0\r\n\r\n", ("", "GET", "/a")),
        (b"GET http://one.example:81/x/y HTTP/1.1\r\nHost: two.example\r\n\r\n", ("one.example", "GET", "/x/y")),
        (b"GET http://one.example?x HTTP/1.1\r\nHost: two.example\r\n\r\n", ("one.example", "GET", "/")),
        (b"CONNECT out.example:443 HTTP/1.1\r\nHost: out.example:443\r\n\r\n", ("out.example", "CONNECT", "")),
        (b"OPTIONS * HTTP/1.1\r\nHost: [fd00::1]:80\r\n\r\n", ("fd00::1", "OPTIONS", "")),
        (b"GET / HTTP/1.1\r\nX: 1\r\n\r\nHost: in.the.body\r\n", ("", "GET", "/")),
        (b"GET / HTTP/1.1\r\nHost: not a host\r\n\r\n", ("", "GET", "/")),
    ],
)  # fmt: skip
def test_names_of_a_request(request_: bytes, expected: tuple[str, str, str]) -> None:
    head = read_head(request_, 2)
    assert (head.server_name, head.method, head.path) == expected
    assert head.app_protocol == HTTP1


def test_what_is_no_request_is_none() -> None:
    assert reason_of(b"GET the milk\r\nand bread") == "malformed"
    assert reason_of(b"GETS / HTTP/1.1\r\n\r\n") == "malformed"
    assert reason_of(b"GET /a/long/pa") == "cut"
    assert reason_of(b"\x16\x03\x01\x00\x05\x02\x00\x00") == "malformed"


def test_http2_is_told_by_its_preface() -> None:
    assert read_head(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", 2) == Head(HTTP2)
    assert reason_of(b"PRI * HTTP/3") == "malformed"


@pytest.mark.parametrize(
    ("segments", "path"), [(0, ""), (1, "/a/" + PATH_CUT), (2, "/a/b/" + PATH_CUT), (3, "/a/b/c"), (4, "/a/b/c")]
)
def test_so_many_segments_are_kept(segments: int, path: str) -> None:
    assert first_segments("/a/b/c?d", segments) == path


def test_a_long_path_is_cut_and_says_so() -> None:
    kept = first_segments("/" + "a" * 80, 2)
    assert (len(kept), kept[-1]) == (MAX_PATH, PATH_CUT)
    assert first_segments("/" + "a" * 63, 2) == "/" + "a" * 63


@given(st.text(max_size=300))
@example("::1")
@example("a" * 64)
def test_a_host_is_clean_whatever_was_sent(text: str) -> None:
    name = host_name(text)
    assert len(name) <= 253
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._:")
    assert host_name(f"[{name}]" if ":" in name else name) == name


HELLO = client_hello("a.example")


@given(
    st.one_of(
        st.binary(max_size=400),
        st.builds(lambda rest: b"\x16\x03\x01" + rest, st.binary(max_size=300)),
        st.builds(lambda rest: b"GET " + rest + b" HTTP/1.1\r\nHost: " + rest, st.binary(max_size=200)),
        st.builds(
            lambda at, new: HELLO[:at] + new + HELLO[at + len(new) :], st.integers(0, len(HELLO)), st.binary(max_size=4)
        ),
    ),
    st.integers(0, 4),
)
def test_no_bytes_raise_anything_else(data: bytes, segments: int) -> None:
    try:
        head = read_head(data, segments)
    except NoHeadError as error:
        assert error.reason in {"malformed", "cut"}  # noqa: PT017 - either way is fine
    else:
        assert len(head.server_name) <= 253
        assert len(head.path) <= MAX_PATH
        assert "?" not in head.path
