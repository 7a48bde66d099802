"""The fields of a request: which are valid, and that valid ones reach the instance as they are."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.conformance.recording import (
    Proxy,
    Row,
    assert_allowed,
    assert_refused,
    named,
    running_proxy,
)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with running_proxy() as proxy:
        yield proxy


def asking(*lines: bytes, method: bytes = b"GET") -> bytes:
    return b"%b /p HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % (
        method,
        b"".join(b"%b\r\n" % line for line in lines),
    )


def same(*lines: bytes, method: bytes = b"GET") -> Row:
    message = asking(*lines, method=method)
    return message, message


PLAIN = asking()
CONTROLS = [octet for octet in (*range(0x20), 0x7F) if octet not in (0x00, 0x09, 0x0A, 0x0D)]

# RFC 9110 §5.5: content of a value is VCHAR, SP, HTAB and obs-text.
VALUES: dict[str, Row] = {
    "empty": same(b"X:"),
    "blank": (asking(b"X: \t "), asking(b"X:")),
    "no space": (asking(b"X:v"), asking(b"X: v")),
    "white space around": (asking(b"X: \t v \t"), asking(b"X: v")),
    "white space within": same(b"X: a \t  b"),
    "every visible octet": same(b"X: " + bytes(range(0x21, 0x7F))),
    "every octet of obs-text": same(b"X: " + bytes(range(0x80, 0x100))),
    "colons": same(b"X: :a:b:"),
    "UTF-8": same("X: žluťoučký kůň".encode()),
    "unbalanced quote": same(b'X: "a'),
    "a request line": same(b"X: GET /smuggled HTTP/1.1"),
    "eight thousand octets": same(b"X: " + b"v" * 8000),
    # RFC 9110 §5.5: CR, LF and NUL MUST be refused or become SP each.
    "NUL": (asking(b"X: a\x00b"), 400, asking(b"X: a b")),
    "NUL at the end": (asking(b"X: a\x00"), 400, asking(b"X: a")),
    "NUL alone": (asking(b"X: \x00"), 400, asking(b"X:")),
    "bare CR": (asking(b"X: a\rb"), 400, asking(b"X: a b")),
    "bare CR and a field": (asking(b"X: a\rY: b"), 400, asking(b"X: a Y: b")),
    "bare CR before the end": (asking(b"X: a\r"), 400, asking(b"X: a")),
    # RFC 9112 §2.2: LF MAY be taken for the end of a line; no longer is it part of a value then.
    "bare LF and a field": (asking(b"X: a\nY: b"), 400, asking(b"X: a", b"Y: b")),
    "bare LF and no field": (asking(b"X: a\nb"), 400, asking(b"X: a b")),
    # RFC 9112 §5.2: obs-fold MUST be refused or become one SP or more.
    "folded": (asking(b"X: a\r\n b"), 400, asking(b"X: a b")),
    "folded with a tab": (asking(b"X: a\r\n\tb"), 400, asking(b"X: a b")),
    "folded thrice": (asking(b"X: a\r\n b\r\n c\r\n d"), 400, asking(b"X: a b c d")),
    "folded at the start": (asking(b"X:\r\n a"), 400, asking(b"X: a")),
    "folded into a field": (asking(b"X: a\r\n Y: b"), 400, asking(b"X: a Y: b")),
    "a fold of nothing": (asking(b"X: a\r\n "), 400, asking(b"X: a")),
    "folded by bare LF": (asking(b"X: a\n b"), 400, asking(b"X: a b")),
}
# RFC 9110 §5.5: other controls are invalid, and no instance's field is a safe context for them.
VALUES |= {
    f"octet {octet:#04x}": (asking(b"X: a%cb" % octet), 400, asking(b"X: a b"))
    for octet in CONTROLS
}

# RFC 9110 §5.1, §5.6.2: a name is a token, its case means nothing.
NAMES: dict[str, Row] = {
    "case kept": same(b"x-lOWer: v"),
    "one letter": same(b"X: v"),
    "digits": same(b"1: v"),
    "every octet of a token": same(b"!#$%&'*+-.^_`|~09AZaz: v"),
    "four thousand octets": same(b"X" * 4000 + b": v"),
    "none": (asking(b": v"), 400),
    "no colon": (asking(b"X"), 400),
    "no colon, a value": (asking(b"X v"), 400),
    "space before the colon": (asking(b"X : v"), 400),  # RFC 9112 §5.1
    "tab before the colon": (asking(b"X\t: v"), 400),
    "space within": (asking(b"X Y: v"), 400),
    "high octet": (asking(b"X\xe9: v"), 400),
    "UTF-8": (asking("Ž: v".encode()), 400),
    "no-break space before the colon": (asking(b"X\xa0: v"), 400),
    "soft hyphen": (asking(b"X\xadY: v"), 400),
    "bare CR before the colon": (asking(b"X\r: v"), 400),
    "bare LF before the colon": (asking(b"X\n: v"), 400),
    "bare CR first": (asking(b"\rX: v"), 400),
    # RFC 9112 §2.2: white space before the first field: refuse, or drop those lines.
    "space before the first": (
        b"GET /p HTTP/1.1\r\n X: v\r\nHost: a.test\r\n\r\n",
        400,
        PLAIN,
    ),
    "tab before the first": (b"GET /p HTTP/1.1\r\n\tX: v\r\nHost: a.test\r\n\r\n", 400, PLAIN),
    "blank first line": (b"GET /p HTTP/1.1\r\n \r\nHost: a.test\r\n\r\n", 400, PLAIN),
    # As variables of CGI and WSGI, "_" and "-" are the same: some drop such names.
    "underscore": (*same(b"X_Plain: v"), PLAIN),
}
NAMES |= {
    f"{character!r} in a name": (asking(b"X%bY: v" % character.encode()), 400)
    for character in '"(),/;<=>?@[\\]{}'
}
NAMES |= {
    f"octet {octet:#04x} in a name": (asking(b"X%cY: v" % octet), 400) for octet in (0, *CONTROLS)
}

# What is the instance's to read comes to it as it was sent: RFC 9110 §5.3, §7.6.
PASSED: dict[str, Row] = {
    "of one name, in order": same(b"X: 1", b"Y: 2", b"X: 3", b"x: 2", b"X: 1"),
    "of one name and value": same(b"X: 1", b"X: 1"),
    "cookies on several lines": same(b"Cookie: a=1; b=2", b"Cookie: c=3", b"cookie: a=4"),
    "cookie with odd octets": same(b'Cookie: a="b, c"; d=\xe9; e'),
    "lists": same(b"Accept: a/b;q=0.1, */*", b"Accept: c/d", b"Accept-Encoding: gzip,, br"),
    "ranges": same(b"Range: bytes=0-1,5-", b'If-Range: "x"'),
    "conditions": same(
        b'If-Match: "a", W/"b"',
        b"If-None-Match: *",
        b"If-Modified-Since: x",
        b"If-Unmodified-Since: y",
    ),
    "credentials": same(b"Authorization: Basic dTpw"),
    "about the cache": same(b"Cache-Control: no-cache", b"Pragma: no-cache"),
    "about the content": same(b"Content-Type: a/b", b"Content-Encoding: gzip", b"Content-Range: x"),
    "origin and referer": same(b"Origin: null", b"Referer: http://x/#f"),
    "priority": same(b"Priority: u=1, i"),
    "date and from": same(b"Date: yesterday", b"From: a@b"),
    "the proxy's own reason": same(b"X-Wakeful-Reason: none"),
    "names like those of framing": same(b"Content-Lengths: 5", b"XTransfer-Encoding: chunked"),
    "request id": same(b"X-Request-Id: mine"),
    "trace context": same(
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        b"tracestate: a=1,b=2",
    ),
    "a trace's state without a trace": (asking(b"tracestate: a=1"), PLAIN),
    # An instance finds what it may rely on.
    "no request id": (asking(b"X-Request-Id:"), PLAIN),
    "no trace": (asking(b"traceparent:", b"tracestate: a=1"), PLAIN),
    "trailers announced": (*same(b"Trailer: X-Sum"), PLAIN),
    # RFC 9110 §11.7.2: for a proxy that asked for it; one that did not MAY relay it.
    "credentials for a proxy": (*same(b"Proxy-Authorization: Basic dTpw"), PLAIN),
    "challenge of a proxy": (*same(b"Proxy-Authenticate: Basic"), PLAIN),
    # RFC 9110 §7.6.2: of TRACE and OPTIONS only
    "Max-Forwards of GET": same(b"Max-Forwards: 0"),
}

# RFC 9110 §10.1.1: the one expectation there is, in any case; an unknown one MAY be 417.
_BODY = b"Content-Length: 4\r\n\r\nbody"
_EXPECTING = asking(b"Expect: 100-continue", method=b"POST")[:-2] + _BODY
EXPECTATIONS: dict[str, Row] = {
    "100-continue": (_EXPECTING, _EXPECTING),
    "in upper case": (_EXPECTING.replace(b"100-c", b"100-C"), _EXPECTING),
    "of a GET without a body": (*same(b"Expect: 100-continue"), PLAIN),
}
for _value in (b"200-ok", b"100-continue, x", b"x 100-continue", b"100-continue=1", b"100continue"):
    _message = _EXPECTING.replace(b"100-continue", _value)
    EXPECTATIONS[f"{_value!r}"] = (_message, 400, 417, _message)

CASES = named(value=VALUES, name=NAMES, passed=PASSED, expect=EXPECTATIONS)


@pytest.mark.parametrize("case", CASES)
def test_a_field_is_refused_or_passed_on_as_it_is(proxy: Proxy, case: str) -> None:
    for outcome in proxy.outcomes(CASES[case][0]):
        assert_allowed(outcome, CASES[case])


# docs/configuration.md: 128 fields, 64 KiB of a head; RFC 6585 §5 has the status.
LIMITS: dict[str, Row] = {
    "as many fields as there may be": same(*(b"X-%d: v" % n for n in range(127))),
    "one field more": (asking(*(b"X-%d: v" % n for n in range(128))), 431),
    "a thousand fields": (asking(*(b"X-%d: v" % n for n in range(1000))), 431),
    "a thousand fields of one name": (asking(*(b"X: v",) * 1000), 431),
    "a head of 60 KB": same(*(b"X-%d: %b" % (n, b"v" * 990) for n in range(60))),
    "a value of 60 KB": same(b"X: " + b"v" * 60_000),
    "a head of 70 KB": (asking(*(b"X-%d: %b" % (n, b"v" * 990) for n in range(70))), 431),
    "a value of 70 KB": (asking(b"X: " + b"v" * 70_000), 431),
    "a name of 70 KB": (asking(b"X" * 70_000 + b": v"), 400, 431),
    "a value of white space": (asking(b"X: " + b" " * 70_000), 431),
    "a field without end": (asking()[:-2] + b"X: " + b"v" * 200_000, 431),
}


@pytest.mark.parametrize("case", LIMITS)
def test_a_head_over_the_limits_is_refused(proxy: Proxy, case: str) -> None:
    for outcome in proxy.outcomes(LIMITS[case][0]):
        assert_allowed(outcome, LIMITS[case])


@pytest.mark.parametrize(
    "start",
    [
        asking()[:-2] + b"X: ",
        asking(b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\nX: ",
    ],
    ids=["head", "trailers"],
)
def test_an_octet_behind_many_is_no_dearer_than_behind_few(proxy: Proxy, start: bytes) -> None:
    """Else whoever sends a large head octet by octet has the processor for himself."""

    def cost(size: int) -> float:
        """Seconds of the loop's processor time for two hundred octets behind ``size``."""
        client = proxy.harness.connect()
        client.send(start + b"v" * size)
        proxy.harness.beat()
        before = proxy.harness.call(time.thread_time)
        client.drip(b"v" * 200, lambda: proxy.harness.call(lambda: None))
        after = proxy.harness.call(time.thread_time)
        client.close()
        return after - before

    assert cost(60_000) < 4 * cost(1_000)


def test_what_refuses_a_head_request_has_no_content(proxy: Proxy) -> None:
    # RFC 9110 §9.3.2: MUST NOT, whatever the status
    client = proxy.harness.connect()
    client.send(asking(b"X : v", method=b"HEAD"))
    answer = client.rest()
    client.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.partition(b"\r\n\r\n")[2] == b""


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n"])
def test_fields_end_where_the_head_ends(proxy: Proxy, end: bytes) -> None:
    """The head of ``end`` and of CRLF CRLF are one head, or the first one is refused."""
    outcome = proxy.converse(b"GET /p HTTP/1.1\r\nHost: a.test" + end)
    if outcome.requests:
        assert_allowed(outcome, (b"", PLAIN))
    else:
        assert end != b"\r\n\r\n"
        assert_refused(outcome, {400})
