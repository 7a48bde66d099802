from __future__ import annotations

from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wakeful.proxy import wire_form
from wakeful.proxy.framing import (
    BadRequest,
    BadResponse,
    Framing,
    RequestHead,
    ResponseHead,
    request_head,
    response_head,
)
from wakeful.proxy.headers import FORBIDDEN_TRAILERS, Headers, trailer_fields
from wakeful.proxy.identities import identities, missing

HOST = (b"Host", b"a.test")


def request(*headers: tuple[bytes, bytes], **kwargs: Any) -> RequestHead:
    given: dict[str, Any] = {"method": b"GET", "target": b"/", "version": "1.1"}
    given |= kwargs
    return request_head(headers=[HOST, *headers], **given)


def response(*headers: tuple[bytes, bytes], status: int = 200, **kwargs: Any) -> ResponseHead:
    asked = kwargs.pop("asked", None) or request()
    given: dict[str, Any] = {"phrase": b"OK", "version": "1.1"} | kwargs
    return response_head(asked, status, headers=list(headers), **given)


@pytest.mark.parametrize(
    ("headers", "framing", "length"),
    [
        ([], Framing.NONE, 0),
        ([(b"Content-Length", b"0")], Framing.LENGTH, 0),
        ([(b"content-length", b"007")], Framing.LENGTH, 7),
        ([(b"Transfer-Encoding", b"Chunked")], Framing.CHUNKED, 0),
        ([(b"Content-Length", b"9223372036854775807")], Framing.LENGTH, 2**63 - 1),
    ],
)
def test_where_a_request_ends(headers: Headers, framing: Framing, length: int) -> None:
    head = request(*headers)
    assert (head.framing, head.length) == (framing, length)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"Content-Length", b"9223372036854775808")], 400),
        ([(b"Content-Length", b"")], 400),
        ([(b"Content-Length", b"1_0")], 400),
        ([(b"Content-Length", "٣".encode())], 400),
        ([(b"Content-Length", b"1"), (b"Content-Length", b"1")], 400),
        ([(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")], 400),
        ([(b"Transfer-Encoding", b"chunked, chunked")], 400),
        ([(b"Transfer-Encoding", b"chunked, gzip")], 400),
        ([(b"Transfer-Encoding", b"gzip, chunked")], 501),
        ([(b"Transfer-Encoding", b"")], 400),
        ([HOST], 400),
        ([(b"Expect", b"200-ok")], 417),
    ],
)
def test_a_request_whose_meaning_is_unclear_is_refused(headers: Headers, status: int) -> None:
    with pytest.raises(BadRequest) as error:
        request(*headers)
    assert error.value.status == status


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"/p", b"a.test", b"/p"),
        (b"http://b.test/p", b"b.test", b"/p"),
        (b"HTTP://b.test:8/", b"b.test:8", b"/"),
        (b"https://b.test?q", b"b.test", b"/?q"),
        (b"http://[::1]:8/p", b"[::1]:8", b"/p"),
        (b"//b.test/p", b"a.test", b"//b.test/p"),
    ],
)
def test_whom_a_request_is_for(target: bytes, host: bytes, path: bytes) -> None:
    head = request(target=target)
    assert (head.host, head.target) == (host, path)


@pytest.mark.parametrize(
    ("version", "options", "kept"),
    [
        ("1.1", [], True),
        ("1.1", [b"close"], False),
        ("1.1", [b"X, Close"], False),
        ("1.1", [b"keep-alive", b"close"], False),
        ("1.0", [], False),
        ("1.0", [b"Keep-Alive"], True),
        ("1.0", [b"x"], False),
    ],
)
def test_whether_the_connection_is_kept(version: str, options: list[bytes], kept: bool) -> None:
    head = request(*((b"Connection", option) for option in options), version=version)
    assert head.keep_alive is kept


@pytest.mark.parametrize(
    ("upgrade", "offered"),
    [
        ([b"websocket"], b"websocket"),
        ([b"h2c"], None),
        ([b"H2C"], None),
        ([b"a, b"], b"a, b"),
        ([b"a", b"b"], b"a, b"),
        ([b"h2c, websocket,TLS/1.3"], b"websocket"),
        ([b","], None),
    ],
)
def test_which_switches_are_offered(upgrade: list[bytes], offered: bytes | None) -> None:
    fields = [(b"Connection", b"Upgrade"), *((b"Upgrade", one) for one in upgrade)]
    assert request(*fields).upgrade == offered
    assert request(*fields[1:]).upgrade is None
    assert request(*fields, (b"Content-Length", b"1")).upgrade is None


@pytest.mark.parametrize(
    ("method", "status", "headers", "framing"),
    [
        (b"GET", 200, [], Framing.UNTIL_CLOSE),
        (b"GET", 200, [(b"Content-Length", b"3")], Framing.LENGTH),
        (b"GET", 200, [(b"Transfer-Encoding", b"chunked")], Framing.CHUNKED),
        (b"HEAD", 200, [(b"Content-Length", b"3")], Framing.NONE),
        (b"HEAD", 200, [(b"Transfer-Encoding", b"chunked")], Framing.NONE),
        (b"GET", 204, [(b"Content-Length", b"3")], Framing.NONE),
        (b"GET", 304, [(b"Content-Length", b"3")], Framing.NONE),
        (b"GET", 205, [(b"Content-Length", b"0")], Framing.LENGTH),
    ],
)
def test_where_a_response_ends(
    method: bytes, status: int, headers: Headers, framing: Framing
) -> None:
    head = response(*headers, status=status, asked=request(method=method))
    assert head.framing is framing
    assert head.reusable is (framing is not Framing.UNTIL_CLOSE)
    kept = b"Content-Length: 3\r\n" in head.fields
    assert kept is (framing is Framing.NONE and status != 204 and headers[0][1] == b"3")


# Whatever is forwarded means to a strict parser what was decided here.

_CONTROLS = bytes(range(32)) + b"\x7f"
TOKENS = st.text("abcXYZ-09_", min_size=1, max_size=8).map(str.encode)
INTERESTING = st.sampled_from(
    [
        b"Connection", b"connection", b"Keep-Alive", b"TE", b"Upgrade", b"Proxy-Connection",
        b"Transfer-Encoding", b"Content-Length", b"Host", b"Expect", b"Date", b"Trailer",
        b"X-Forwarded-For", b"Forwarded", b"X-Request-Id", b"traceparent", b"X-A", b"Via",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        b"close|keep-alive|X-A, X-B|x-request-id, X-A|chunked|5|0||Upgrade|websocket"
        b"|100-continue|a.test|identity|5, 5".split(b"|")
    ),
    st.binary(max_size=20).map(lambda raw: raw.translate(None, _CONTROLS).strip()),
)
FIELDS = st.lists(st.tuples(st.one_of(INTERESTING, TOKENS), VALUES), max_size=8)
HOP_BY_HOP = {b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"connection"}


class Seen:
    """What httptools makes of a message."""

    def __init__(self) -> None:
        self.headers: Headers = []
        self.body = b""
        self.messages = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.messages += 1

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]


def nominated(headers: Headers) -> set[bytes]:
    values = [value for name, value in headers if name.lower() == b"connection"]
    return {option.strip().lower() for value in values for option in value.split(b",")}


@given(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"CONNECT"]),
    st.one_of(
        st.sampled_from(
            [b"/", b"*", b"/a?b", b"http://b.test/x", b"http://", b"x", b"http://u@h/"]
        ),
        st.binary(max_size=30),
    ),
    st.sampled_from(["1.1", "1.0", "2.0"]),
    FIELDS,
)
def test_a_request_is_refused_or_forwarded_in_one_unambiguous_form(
    method: bytes, target: bytes, version: str, headers: Headers
) -> None:
    try:
        head = request_head(method, target, version, [HOST, *headers])
    except BadRequest:
        return
    if head.target.translate(None, bytes(range(0x21, 0x7F))):
        return  # no parser hands over such a target
    bodies = {
        Framing.LENGTH: b"x" * min(head.length, 99),
        Framing.CHUNKED: b"3\r\nxxx\r\n0\r\n\r\n",
    }
    _, whole = next(identities())
    named = missing(whole, has_request_id=head.has_request_id, has_traceparent=head.has_traceparent)
    bodiless = head.framing is not Framing.CHUNKED and not head.length
    passed_on = method != b"HEAD" and not head.last_hop
    assert head.ordinary is (named == whole and bodiless and passed_on)
    written = wire_form.request(head, b"Via: 1.1 wakeful\r\n") + named
    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(written + bodies.get(head.framing, b""))
    except httptools.HttpParserUpgrade:
        assert head.upgrade is not None
    assert parser.get_method() == method
    assert parser.get_http_version() == "1.1"
    assert seen.all(b"host") == [head.host]
    assert seen.messages == (head.length <= 99)
    assert len(seen.all(b"content-length")) == (head.framing is Framing.LENGTH)
    assert len(seen.all(b"transfer-encoding")) == (head.framing is Framing.CHUNKED)
    names = {name.lower() for name, _ in seen.headers}
    if head.upgrade is None:
        assert not names & HOP_BY_HOP
    ours = {b"host", b"via", b"x-request-id", b"traceparent", b"expect", b"upgrade"}
    ours |= {b"content-length", b"transfer-encoding"}
    assert not (nominated(headers) & names) - ours
    for name in (b"x-request-id", b"traceparent"):
        assert seen.all(name)
    passed = {name.lower(): value for name, value in headers}
    if b"x-a" in passed and b"x-a" not in nominated(headers):
        assert seen.all(b"x-a")[-1] == passed[b"x-a"]


@example(b"GET", "1.1", 426, "1.1", [(b"Connection", b"Upgrade"), (b"Upgrade", b"close")])
@given(
    st.sampled_from([b"GET", b"HEAD"]),
    st.sampled_from(["1.1", "1.0"]),
    st.integers(0, 999) | st.just(426),
    st.sampled_from(["1.1", "1.0", "3.0"]),
    FIELDS,
)
def test_a_response_is_refused_or_forwarded_in_one_unambiguous_form(
    method: bytes, spoken: str, status: int, version: str, headers: Headers
) -> None:
    asked = request(method=method, version=spoken)
    try:
        head = response(*headers, status=status, version=version, asked=asked)
    except BadResponse:
        return
    if status < 200:
        return  # interim answers have a form of their own
    keep_alive = spoken == "1.1"
    written = b"".join(wire_form.response(head, spoken, keep_alive, lambda: b"now"))
    seen = Seen()
    parser = httptools.HttpResponseParser(seen)
    parser.feed_data(written)
    assert parser.get_status_code() == status
    names = {name.lower() for name, _ in seen.headers}
    required = status == 426 and b"upgrade" in {name.lower() for name, _ in headers}
    assert not names & (HOP_BY_HOP - {b"connection", b"upgrade"})
    assert (b"upgrade" in names) is required
    assert seen.all(b"connection") == [b"Upgrade"] * required + [b"close"] * (not keep_alive)
    ours = {b"content-length", b"connection", b"date", b"transfer-encoding"}
    if required:
        ours.add(b"upgrade")
    assert not (nominated(headers) & names) - ours
    lengths, codings = seen.all(b"content-length"), seen.all(b"transfer-encoding")
    assert not (lengths and codings)
    assert len(lengths) <= 1
    if head.framing is Framing.LENGTH:
        assert lengths == [b"%d" % head.length]
    if head.framing in (Framing.CHUNKED, Framing.UNTIL_CLOSE):
        assert codings == ([b"chunked"] if spoken == "1.1" else [])
        assert not lengths
    assert seen.all(b"date")


@given(FIELDS)
def test_trailers_never_change_what_their_message_is(trailers: Headers) -> None:
    passed = trailer_fields(trailers, frozenset((b"x-named",)))
    names = {line.split(b":")[0].lower() for line in passed.split(b"\r\n") if line}
    assert not names & FORBIDDEN_TRAILERS
    dropped = FORBIDDEN_TRAILERS | {b"x-named"}
    wanted = [name for name, _ in trailers if name.lower() not in dropped]
    assert passed.count(b"\r\n") == len(wanted)
