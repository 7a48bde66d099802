"""What is about one connection stays on it, and nobody says who asked but the proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.recording import (
    Proxy,
    Row,
    assert_allowed,
    assert_forwarded_and_closed,
    running_proxy,
)
from tests.proxy.harness import get


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with running_proxy() as proxy:
        yield proxy


def asking(*lines: bytes, start: bytes = b"GET /p HTTP/1.1", body: bytes = b"") -> bytes:
    fields = b"".join(b"%b\r\n" % line for line in lines)
    return b"%b\r\nHost: a.test\r\n%b\r\n%b" % (start, fields, body)


def posting(*lines: bytes, body: bytes) -> bytes:
    return asking(*lines, start=b"POST /p HTTP/1.1", body=body)


PLAIN = asking()
LENGTH, CHUNKED = b"Content-Length: 4", b"Transfer-Encoding: chunked"
CHUNKS = b"4\r\nbody\r\n0\r\n\r\n"

# RFC 9110 §7.6.1: what Connection names is removed, whatever it is, and Connection with it.
NOMINATED: dict[str, Row] = {
    "a field": (asking(b"Connection: X-A", b"X-A: 1", b"X-B: 2"), asking(b"X-B: 2")),
    "every line of a field": (asking(b"X-A: 1", b"Connection: X-A", b"x-a: 2"), PLAIN),
    "in another case": (asking(b"connection: x-A", b"X-a: 1"), PLAIN),
    "in a list": (asking(b"Connection: X-A,X-B , \tX-C", b"X-A: 1", b"X-B: 2", b"X-C: 3"), PLAIN),
    "in a list with empty elements": (asking(b"Connection: ,, X-A,,", b"X-A: 1"), PLAIN),
    "by several Connection fields": (
        asking(b"Connection: X-A", b"X-A: 1", b"X-B: 2", b"Connection: X-B"),
        PLAIN,
    ),
    "with keep-alive": (asking(b"Connection: keep-alive, X-A", b"X-A: 1"), PLAIN),
    "a field that is not there": (asking(b"Connection: X-A", b"X-AB: 1"), asking(b"X-AB: 1")),
    "nothing": (asking(b"Connection:"), PLAIN),
    "keep-alive": (asking(b"Connection: keep-alive"), PLAIN),
    "keep-alive in another case": (asking(b"CONNECTION: KEEP-Alive"), PLAIN),
    "what is no token": (asking(b"Connection: @ \xff"), PLAIN, 400),
    "a cookie": (asking(b"Connection: Cookie", b"Cookie: a=1"), PLAIN),
    "a part of a name": (asking(b"Connection: X", b"X-A: 1"), asking(b"X-A: 1")),
    "names without a comma": (asking(b"Connection: X-A X-B", b"X-A: 1"), asking(b"X-A: 1"), 400),
    "itself": (asking(b"Connection: Connection", b"X: 1"), asking(b"X: 1")),
    # Not a connection option's to decide: whom it is for, where it ends, who asked.
    "Host": (asking(b"Connection: Host"), PLAIN, 400),
    "Content-Length": (
        posting(b"Connection: Content-Length", LENGTH, body=b"body"),
        posting(LENGTH, body=b"body"),
        400,
    ),
    "Content-Length and close to it": (
        posting(LENGTH, b"Connection: x, content-length, keep-alive", body=b"body"),
        posting(LENGTH, body=b"body"),
        400,
    ),
    "Transfer-Encoding": (
        posting(b"Connection: Transfer-Encoding", CHUNKED, body=CHUNKS),
        posting(CHUNKED, body=CHUNKS),
        400,
    ),
    "who asked": (
        asking(b"Connection: X-Forwarded-For, Forwarded, X-Forwarded-Host, X-Forwarded-Proto"),
        PLAIN,
        400,
    ),
    "Via": (asking(b"Connection: Via", b"Via: 1.1 x"), PLAIN, asking(b"Via: 1.1 x"), 400),
    "the request id": (asking(b"Connection: X-Request-Id", b"X-Request-Id: mine"), PLAIN),
    "the trace": (asking(b"Connection: traceparent", b"traceparent: 00-a-b-01"), PLAIN),
    # W3C Trace Context §3.3: a state is of its trace, and goes with it.
    "the trace that has a state": (
        asking(b"Connection: traceparent", b"traceparent: 00-a-b-01", b"tracestate: a=1"),
        PLAIN,
    ),
    "a trailer": (  # "any header or trailer field(s)"
        posting(b"Connection: X-Sum", CHUNKED, body=b"4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n"),
        posting(CHUNKED, body=CHUNKS),
    ),
}

# RFC 9110 §7.6.1: known to be of the connection, named or not.
KNOWN: dict[str, Row] = {
    "Keep-Alive": (asking(b"Keep-Alive: timeout=5"), PLAIN),
    "Proxy-Connection": (asking(b"Proxy-Connection: close"), PLAIN),
    "Proxy-Connection names nothing": (asking(b"Proxy-Connection: X", b"X: 1"), asking(b"X: 1")),
    "TE": (asking(b"TE: trailers, deflate;q=0.5", b"Connection: TE"), PLAIN),
    "TE without its option": (asking(b"te: trailers"), PLAIN),
    "Upgrade without its option": (asking(b"Upgrade: websocket"), PLAIN),
    "Upgrade, option without a field": (asking(b"Connection: Upgrade"), PLAIN),
    "HTTP2-Settings": (
        asking(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAM"),
        PLAIN,
    ),
}

# Whoever is not trusted says nothing about who asked (RFC 7239 §8.1).
CLAIMS: dict[str, Row] = {
    name: (asking(*claims), PLAIN)
    for name, claims in {
        "X-Forwarded-For": (b"X-Forwarded-For: 6.6.6.6",),
        "X-Forwarded-For, twice": (b"X-Forwarded-For: 6.6.6.6", b"x-forwarded-FOR: 7.7.7.7"),
        "X-Forwarded-Proto": (b"X-Forwarded-Proto: https",),
        "X-Forwarded-Host": (b"X-Forwarded-Host: b.test",),
        "X-Forwarded-Port": (b"X-Forwarded-Port: 443",),
        "what frameworks read of it": (
            *(b"X-Forwarded-Ssl: on", b"X-Forwarded-Scheme: https", b"X-Forwarded-Prefix: /x"),
            *(b"X-Forwarded-Protocol: ssl", b"X-Forwarded-Server: b.test"),
        ),
        "X-Real-IP": (b"X-Real-IP: 6.6.6.6",),
        "Forwarded": (b'Forwarded: for="[::6]";proto=https', b"forwarded: by=x"),
        # What WSGI and CGI programs cannot tell from them (CVE-2015-0219)
        "X_Forwarded_For": (b"X_Forwarded_For: 6.6.6.6",),
        "X-Forwarded_Proto": (b"X-Forwarded_Proto: https",),
        "X_Real_IP": (b"X_Real_IP: 6.6.6.6",),
    }.items()
}
CLAIMS = {name: (*row, 400) if "_" in name else row for name, row in CLAIMS.items()}

# RFC 9110 §7.6.3: appended, and the order of the others is kept.
VIA: dict[str, Row] = {
    "one before": (asking(b"Via: 1.0 first"), asking(b"Via: 1.0 first")),
    "several before": (
        asking(b"Via: 1.0 a, HTTP/1.1 b (x)", b"via: 2 c"),
        asking(b"Via: 1.0 a, HTTP/1.1 b (x)", b"via: 2 c"),
    ),
    "itself before": (asking(b"Via: 1.1 wakeful"), asking(b"Via: 1.1 wakeful")),
}

# RFC 9110 §7.6.2: one less at each intermediary, but only where it counts.
_OPTIONS, _TRACE = b"OPTIONS /p HTTP/1.1", b"TRACE /p HTTP/1.1"
HOPS: dict[str, Row] = {
    "OPTIONS with three left": (
        asking(b"Max-Forwards: 3", start=_OPTIONS),
        asking(b"Max-Forwards: 2", start=_OPTIONS),
    ),
    "OPTIONS with some left, behind zeros": (
        asking(b"Max-Forwards: " + b"0" * 30 + b"12", start=_OPTIONS),
        asking(b"Max-Forwards: 11", start=_OPTIONS),
    ),
    "OPTIONS with one left": (
        asking(b"Max-Forwards: 1", start=_OPTIONS),
        asking(b"Max-Forwards: 0", start=_OPTIONS),
    ),
    "TRACE with one left": (
        asking(b"max-forwards: 1", start=_TRACE),
        asking(b"max-forwards: 0", start=_TRACE),
        405,
        501,
    ),
    "OPTIONS without it": (asking(start=_OPTIONS), asking(start=_OPTIONS)),
    "PUT with none left": (
        asking(b"Max-Forwards: 0", start=b"PUT /p HTTP/1.1"),
        asking(b"Max-Forwards: 0", start=b"PUT /p HTTP/1.1"),
    ),
}

CASES = {
    f"{kind}: {name}": row
    for kind, rows in {
        "nominated": NOMINATED,
        "known": KNOWN,
        "claim": CLAIMS,
        "via": VIA,
        "hops": HOPS,
    }.items()
    for name, row in rows.items()
}


@pytest.mark.parametrize("case", CASES)
def test_fields_of_the_connection_go_no_further_and_those_of_the_message_do(
    proxy: Proxy, case: str
) -> None:
    for outcome in proxy.outcomes(CASES[case][0]):
        assert_allowed(outcome, CASES[case])


@pytest.mark.parametrize("start", [_OPTIONS, _TRACE])
def test_what_may_go_no_further_is_answered_here(proxy: Proxy, start: bytes) -> None:
    # RFC 9110 §7.6.2: MUST NOT forward, MUST respond as the final recipient
    outcome = proxy.converse(asking(b"Max-Forwards: 0", start=start))
    assert [request.line for request in outcome.requests] in ([], [b"GET /behind HTTP/1.1"])
    assert outcome.answers[0].get("X-Asked") is None
    assert outcome.answers[0].status in (200, 204, 405, 501)


# RFC 9112 §9.3, §9.6: who says close, or cannot say keep-alive, gets one answer.
LAST: dict[str, tuple[bytes, bytes]] = {
    "close": (asking(b"Connection: close"), PLAIN),
    "close in another case": (asking(b"connection: CLOSE"), PLAIN),
    "close in a list": (asking(b"Connection: X-A, close", b"X-A: 1"), PLAIN),
    "close in a list without spaces": (asking(b"Connection: ,close,X-A", b"X-A: 1"), PLAIN),
    "close in the second of two": (asking(b"Connection: X-A", b"Connection: close"), PLAIN),
    "close beats keep-alive": (asking(b"Connection: close, keep-alive"), PLAIN),
    "keep-alive first": (asking(b"Connection: keep-alive, close"), PLAIN),
    "close and a body": (
        posting(b"Connection: close", LENGTH, body=b"body"),
        posting(LENGTH, body=b"body"),
    ),
    "close and chunks": (
        posting(b"Connection: close", CHUNKED, body=CHUNKS),
        posting(CHUNKED, body=CHUNKS),
    ),
    "HTTP/1.0": (asking(start=b"GET /p HTTP/1.0"), PLAIN),
    "HTTP/1.0, other option": (
        asking(b"Connection: X-A", b"X-A: 1", start=b"GET /p HTTP/1.0"),
        PLAIN,
    ),
    "HTTP/1.0, close": (asking(b"Connection: close", start=b"GET /p HTTP/1.0"), PLAIN),
    "HTTP/1.0, Keep-Alive without its option": (
        asking(b"Keep-Alive: timeout=5", start=b"GET /p HTTP/1.0"),
        PLAIN,
    ),
    "HTTP/1.0, Upgrade": (  # RFC 9110 §7.8: MUST be ignored
        asking(b"Connection: Upgrade", b"Upgrade: websocket", start=b"GET /p HTTP/1.0"),
        PLAIN,
    ),
}


@pytest.mark.parametrize("case", LAST)
def test_nothing_behind_the_last_request_is_run(proxy: Proxy, case: str) -> None:
    message, form = LAST[case]
    for outcome in proxy.outcomes(message):
        assert_forwarded_and_closed(outcome, form)


def test_http_1_0_goes_on_if_it_asks_to(proxy: Proxy) -> None:
    # RFC 9112 §9.3
    message = asking(b"Connection: Keep-Alive", start=b"GET /p HTTP/1.0")
    assert_allowed(proxy.converse(message), (message, PLAIN))


def test_each_request_has_an_id_and_a_trace_of_its_own(proxy: Proxy) -> None:
    outcome = proxy.converse(get() * 3)
    for name in (b"x-request-id", b"traceparent"):
        assert len({request.all(name)[0] for request in outcome.requests}) == 4
