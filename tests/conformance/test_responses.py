"""Answers of sound instances: what of them a client gets, to the byte."""

from __future__ import annotations

import pytest

from tests.conformance.reading import REFUSED, form, goes_on_as_it_says, outcome, seen
from tests.proxy.harness import Harness, chunks, get, old
from tests.proxy.wire import Peer, Script, answering, ok

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n"

# Fields of an answer: what is sent, then what of it may be told.

FIELDS: dict[str, tuple[bytes, ...]] = {
    # RFC 9110 §5.5, §5.6: values are opaque, but for the white space around them.
    "no space behind the colon": (b"X:1\r\n", b"X: 1\r\n"),
    "white space around a value": (b"X: \t 1 \t \r\n", b"X: 1\r\n"),
    "an empty value": (b"X:\r\n", b"X:\r\n"),
    "a tab inside a value": (b"X: a\tb\r\n",) * 2,
    "octets above ASCII": (b"X: caf\xe9 \xc3\xa9\r\n",) * 2,
    "quotes, commas and colons": (b'X: "a, \\"b:", c;d=e\r\n',) * 2,
    "every character of a name": (b"!#$%&'*+-.^_`|~09azAZ: 1\r\n",) * 2,
    "a value of 8 KiB": (b"X: " + b"x" * 8192 + b"\r\n",) * 2,
    # §5.3: like names keep their order; Set-Cookie is never joined.
    "three cookies": (b"Set-Cookie: a=1; Path=/\r\nX: 1\r\nSet-Cookie: b=2\r\nset-cookie: a=3\r\n",)
    * 2,
    "two challenges": (b"WWW-Authenticate: Basic\r\nWWW-Authenticate: Digest nonce=a\r\n",) * 2,
    "like names far apart": (b"X: 1\r\nY: 2\r\nx: 3\r\nZ: 4\r\nX: 2\r\n",) * 2,
    # End to end: a gateway changes none of these (§10.2.4, §11.7.1, §7.6.3).
    "Server": (b"Server: an instance\r\n",) * 2,
    "Proxy-Authenticate": (b"Proxy-Authenticate: Basic realm=a\r\n",) * 2,
    "Proxy-Authentication-Info": (b"Proxy-Authentication-Info: a=b\r\n",) * 2,
    "Via of another": (b"Via: 1.0 inner\r\n",) * 2 + (b"Via: 1.0 inner, 1.1 wakeful\r\n",),
    "the proxy's own field": (b"X-Request-Id: a\r\n",) * 2,
    # §7.6.1: about one connection, and never about the next.
    "Connection: close": (b"Connection: close\r\n", b""),
    "Connection: keep-alive": (b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", b""),
    "Proxy-Connection": (b"Proxy-Connection: keep-alive\r\n", b""),
    "TE": (b"TE: trailers\r\nConnection: TE\r\n", b""),
    "Upgrade without its option": (b"Upgrade: h2c\r\n", b""),
    "Upgrade with its option": (  # §7.8: both travel, or neither
        b"Upgrade: foo\r\nConnection: upgrade\r\n",
        b"",
        b"Upgrade: foo\r\nConnection: upgrade\r\n",
    ),
    "nominated fields": (
        b"Connection: X-Hop, x-other\r\nX-Hop: 1\r\nx-HOP: 2\r\nX-Other: 3\r\nX-Stays: 4\r\n",
        b"X-Stays: 4\r\n",
    ),
    "nominated by two fields with empty members": (
        b"Connection: ,X-A,,\r\nConnection:\tX-B \r\nX-A: 1\r\nX-B: 2\r\nX: 3\r\n",
        b"X: 3\r\n",
    ),
    "nominated framing": (b"Connection: Content-Length\r\n", b"", REFUSED),
}


@pytest.mark.parametrize("case", FIELDS)
def test_fields_of_an_answer(harness: Harness, case: str) -> None:
    sent, *told = FIELDS[case]
    allowed = [one if one is REFUSED else form(OK + one + HELLO) for one in told]
    harness.service(harness.backend(answering(OK + sent + HELLO)))
    client = harness.connect()
    for _ in range(2):
        client.send(get())
        assert outcome(client) in allowed


def test_a_date_is_kept_as_it_is(harness: Harness) -> None:
    """RFC 9110 §6.6.1: added where it is missing, as every other test here sees."""
    date = b"Mon, 23 Nov 1998 12:00:00 GMT"
    harness.service(harness.backend(answering(ok(fields=b"Date: %b\r\n" % date))))
    client = harness.connect()
    for _ in range(3):
        client.send(get())
        assert client.message().get("Date") == date


def test_a_date_that_is_for_this_connection_only_is_replaced(harness: Harness) -> None:
    """RFC 9110 §7.6.1 takes it away, and §6.6.1 wants one."""
    date = b"Mon, 23 Nov 1998 12:00:00 GMT"
    fields = b"Connection: Date\r\nDate: %b\r\n" % date
    harness.service(harness.backend(answering(ok(fields=fields))))
    client = harness.connect()
    for _ in range(3):
        client.send(get())
        assert client.message().get("Date") not in (None, date)


# Whole answers: what the instance sends and then the end of the connection,
# unless its framing needs none; and what may be told.

WHOLE: dict[str, tuple[bytes, ...]] = {
    "a length": (OK + HELLO, OK + HELLO),
    "a length of zero": (ok(b""), ok(b"")),
    "a length of an older version": (b"HTTP/1.0 200 OK\r\n" + HELLO, OK + HELLO),
    "kept by an older version": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + HELLO,
        OK + HELLO,
    ),
    "chunks": (CHUNKED + chunks(b"he", b"llo"), CHUNKED + b"hello"),
    "no chunk": (CHUNKED + chunks(), CHUNKED),
    "trailers": (CHUNKED + chunks(b"hello", trailers=b"X: 1\r\n"), CHUNKED + b"hello"),
    # RFC 9112 §6.3 (8): its end is the connection's; the client's goes on.
    "until the end": (OK + b"\r\nhello", CHUNKED + b"hello"),
    "nothing until the end": (OK + b"\r\n", CHUNKED, OK + b"Content-Length: 0\r\n\r\n"),
    "until the end, by an older version": (b"HTTP/1.0 200 OK\r\n\r\nhello", CHUNKED + b"hello"),
    # §15.5.15, §15.3.6 and statuses that only the class is known of (§15).
    "205 with a length": (b"HTTP/1.1 205 R\r\nContent-Length: 0\r\n\r\n",) * 2,
    "205 in chunks": (
        b"HTTP/1.1 205 R\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 205 R\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 205 R\r\nContent-Length: 0\r\n\r\n",
    ),
    "206": (b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-4/9\r\n" + HELLO,) * 2,
    "an unknown success": (b"HTTP/1.1 299 Odd\r\n" + HELLO,) * 2,
    "an unknown redirection": (b"HTTP/1.1 399 Odd\r\n" + HELLO,) * 2,
    "an unknown error": (b"HTTP/1.1 599 Odd\r\n" + HELLO,) * 2,
    "426": (  # RFC 9110 §15.5.22 wants Upgrade, §7.8 its option with it; or a gateway drops both
        b"HTTP/1.1 426 U\r\nUpgrade: foo\r\nConnection: Upgrade\r\n" + HELLO,
        b"HTTP/1.1 426 U\r\nUpgrade: foo\r\nConnection: Upgrade\r\n" + HELLO,
        b"HTTP/1.1 426 U\r\n" + HELLO,
    ),
}


def once(answer: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(answer)
        peer.sock.close()

    return script


@pytest.mark.parametrize("case", WHOLE)
def test_a_whole_answer_is_told_whole_and_the_clients_connection_goes_on(
    harness: Harness, case: str
) -> None:
    sent, *told = WHOLE[case]
    harness.service(harness.backend(once(sent)))
    client = harness.connect()
    for _ in range(2):
        client.send(get())
        answer = client.message()
        assert seen(answer) in [form(one) for one in told]
        assert answer.get("Connection") != b"close"  # §7.6.1: the instance's end is not ours
        goes_on_as_it_says(client, answer)


LAST = {
    "close": OK + b"Connection: close\r\n" + HELLO,
    "Close in a list": OK + b"Connection: X, Close\r\n" + HELLO,
    "close in a second field": OK + b"Connection: X\r\nConnection: close\r\n" + HELLO,
    "close behind chunks": CHUNKED[:-2] + b"Connection: close\r\n\r\n" + chunks(b"hello"),
    "an older version": b"HTTP/1.0 200 OK\r\n" + HELLO,
    "close beats keep-alive": OK + b"Connection: keep-alive, close\r\n" + HELLO,
}


@pytest.mark.parametrize("case", LAST)
def test_nothing_is_asked_on_a_connection_that_an_instance_called_its_last(
    harness: Harness, case: str
) -> None:
    """RFC 9112 §9.3: it may well stay open for a while."""

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(LAST[case])
        assert peer.rest() == b""

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    for _ in range(2):
        client.send(get())
        assert client.message().body == b"hello"
    assert len(backend.connections) == 2


# Answers without a body, by their request or their status (RFC 9112 §6.3 (1)).
# What the instance sends behind the head is never told, nor taken for an answer.

FORGED = ok(b"forged")
BODILESS: dict[str, tuple[bytes, ...]] = {
    "HEAD with a length": (HEAD, OK + b"Content-Length: 5\r\n\r\n", OK + b"Content-Length: 5"),
    "HEAD in chunks": (HEAD, CHUNKED, OK[:-2], CHUNKED[:-4]),
    # §8.6: a length that GET would not have is never made up.
    "HEAD without framing": (HEAD, OK + b"\r\n", OK[:-2], CHUNKED[:-4]),
    "HEAD with a body": (
        HEAD,
        OK + b"Content-Length: %d\r\n\r\n%b" % (len(FORGED), FORGED),
        OK + b"Content-Length: %d" % len(FORGED),
    ),
    "HEAD with a body in chunks": (HEAD, CHUNKED + chunks(FORGED), OK[:-2], CHUNKED[:-4]),
    "204": (get(), b"HTTP/1.1 204 N\r\nETag: x\r\n\r\n", b"HTTP/1.1 204 N\r\nETag: x"),
    # §8.6, RFC 9112 §6.1: with 204 neither field may be sent.
    "204 with a length of zero": (
        get(),
        b"HTTP/1.1 204 N\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 N",
    ),
    "204 with a length and a body": (
        get(),
        b"HTTP/1.1 204 N\r\nContent-Length: %d\r\n\r\n%b" % (len(FORGED), FORGED),
        b"HTTP/1.1 204 N",
    ),
    "204 in chunks": (
        get(),
        b"HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(FORGED),
        b"HTTP/1.1 204 N",
    ),
    "204 with bytes behind": (get(), b"HTTP/1.1 204 N\r\n\r\n" + FORGED, b"HTTP/1.1 204 N"),
    "304": (get(), b"HTTP/1.1 304 N\r\nETag: x\r\n\r\n", b"HTTP/1.1 304 N\r\nETag: x"),
    # §8.6: the length of the 200 that it stands for; SHOULD stay, may go.
    "304 with a length": (
        get(),
        b"HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 304 N\r\nContent-Length: 5",
        b"HTTP/1.1 304 N",
    ),
    "304 in chunks": (
        get(),
        b"HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304 N",
        b"HTTP/1.1 304 N\r\nTransfer-Encoding: chunked",
    ),
    "304 with a body": (
        get(),
        b"HTTP/1.1 304 N\r\nContent-Length: %d\r\n\r\n%b" % (len(FORGED), FORGED),
        b"HTTP/1.1 304 N\r\nContent-Length: %d" % len(FORGED),
        b"HTTP/1.1 304 N",
    ),
}


@pytest.mark.parametrize("case", BODILESS)
def test_an_answer_without_a_body_ends_with_its_head(harness: Harness, case: str) -> None:
    request, sent, *told = BODILESS[case]

    def script(peer: Peer) -> None:
        while True:
            asked = peer.message()
            peer.send(ok(b"next") if b"/next" in asked.start else sent)

    harness.service(harness.backend(script))
    client = harness.connect()
    for _ in range(2):
        client.send(request + get(b"/next"))
        assert seen(client.message(bodiless=True)) in [form(one) for one in told]
        assert client.message().body == b"next"
    assert b"forged" not in client.received


# Interim answers (RFC 9110 §15.2: they MUST be forwarded).

HINTS = b"HTTP/1.1 103 Early Hints\r\n"
INTERIM: dict[str, tuple[bytes, ...]] = {
    "hints": (HINTS + b"Link: </a>\r\n\r\n",) * 2,
    "hints without a field": (HINTS + b"\r\n",) * 2,
    "100 unasked": (b"HTTP/1.1 100 Continue\r\n\r\n",) * 2,
    "102": (b"HTTP/1.1 102 Processing\r\n\r\n",) * 2,
    "an unknown one": (b"HTTP/1.1 199 Odd\r\nX: 1\r\n\r\n",) * 2,
    "fields of the connection": (
        HINTS + b"Connection: X-A, keep-alive\r\nX-A: 1\r\nKeep-Alive: a\r\nLink: </a>\r\n\r\n",
        HINTS + b"Link: </a>\r\n\r\n",
    ),
    # §8.6, RFC 9112 §6.1: in 1xx there is neither.
    "a length of zero": (HINTS + b"Content-Length: 0\r\n\r\n", HINTS + b"\r\n", REFUSED),
    "a coding": (HINTS + b"Transfer-Encoding: chunked\r\n\r\n", HINTS + b"\r\n", REFUSED),
}


@pytest.mark.parametrize("case", INTERIM)
def test_interim_answers_come_before_the_final_one(harness: Harness, case: str) -> None:
    sent, *told = INTERIM[case]
    harness.service(harness.backend(answering(sent * 2 + ok(), sent * 2 + ok()[:-5])))
    client = harness.connect()
    for request in (get(), HEAD, HEAD):
        client.send(request)
        for _ in range(2):
            answer = client.message(bodiless=True)
            if answer.status == 502 and REFUSED in told:
                return
            assert seen(answer) in [form(one) for one in told]
        assert client.message(bodiless=request == HEAD).status == 200


def test_trailers_travel_with_their_announcement(harness: Harness) -> None:
    """RFC 9110 §6.5, §6.6.2."""
    head = CHUNKED[:-2] + b"Trailer: X-Sum, X-End\r\n\r\n"
    trailers = b"X-Sum: 1\r\nX-End: \r\nX-Sum: 2\r\n"
    harness.service(harness.backend(answering(head + chunks(b"hello", trailers=trailers))))
    client = harness.connect()
    for _ in range(2):
        client.send(get(fields=b"TE: trailers\r\nConnection: TE\r\n"))
        answer = client.message()
        assert (answer.get("Trailer"), answer.body) == (b"X-Sum, X-End", b"hello")
        assert answer.trailers == ((b"X-Sum", b"1"), (b"X-End", b""), (b"X-Sum", b"2"))


# Clients that speak HTTP/1.0: what is sent, the form of what is told, and
# whether their wish to keep the connection can be met (RFC 9112 §9.3).

OLD: dict[str, tuple[bytes, bytes, bool]] = {
    "a length": (OK + HELLO, OK + HELLO, True),
    "chunks": (CHUNKED + chunks(b"he", b"llo"), OK + b"\r\nhello", False),  # §6.1: never sent
    "trailers": (CHUNKED + chunks(b"hello", trailers=b"X: 1\r\n"), OK + b"\r\nhello", False),
    "until the end": (OK + b"\r\nhello", OK + b"\r\nhello", False),
    "204": (b"HTTP/1.1 204 N\r\n\r\n", b"HTTP/1.1 204 N\r\n\r\n", True),
    "304": (b"HTTP/1.1 304 N\r\n\r\n", b"HTTP/1.1 304 N\r\n\r\n", True),
    "behind hints": (HINTS + b"\r\n" + ok(), ok(), True),  # RFC 9110 §15.2: MUST NOT
    "behind 100": (b"HTTP/1.1 100 Continue\r\n\r\n" + ok(), ok(), True),
}


@pytest.mark.parametrize("case", OLD)
def test_a_client_of_http_1_0_understands_what_it_gets(harness: Harness, case: str) -> None:
    sent, told, may_keep = OLD[case]
    harness.service(harness.backend(once(sent)))
    for wish in (b"", b"Connection: keep-alive\r\n", b"Connection: Keep-Alive\r\n"):
        client = harness.connect()
        client.send(old(get(fields=wish)))
        answer = client.message()
        assert seen(answer) == form(told)
        assert answer.get("Transfer-Encoding") is None
        if answer.get("Connection") == b"keep-alive":  # without it, 1.0 means the end
            assert wish
            assert may_keep
            goes_on_as_it_says(client, answer)
        else:
            assert client.rest() == b""
