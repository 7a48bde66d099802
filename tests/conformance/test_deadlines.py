"""Whoever takes too long is cut in bounded time, and the other side sees it."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from tests.conformance.reading import CUT, outcome
from tests.proxy.harness import Harness, get
from tests.proxy.wire import PATIENCE, Peer, ok

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"
LONG = 100.0  # seconds; longer than any limit on a head or an idle connection

HEADS = {
    "nothing": b"",
    "a line end": b"\r\n",
    "half a method": b"GE",
    "half a target": b"GET /a",
    "half a version": b"GET / HTTP/1",
    "a first line": b"GET / HTTP/1.1\r\n",
    "half a name": b"GET / HTTP/1.1\r\nHo",
    "half a value": b"GET / HTTP/1.1\r\nHost: a",
    "a head without its end": get()[:-2],
    "all but the last byte": get()[:-1],
    "half of TLS": b"\x16\x03\x01",
    "half of HTTP/2": b"PRI * HTT",
}


@pytest.mark.parametrize("case", HEADS)
def test_a_head_that_stops_is_given_up(harness: Harness, case: str) -> None:
    """With 408 (RFC 9110 §15.5.9), with another refusal, or with nothing but the end."""
    backend = harness.backend()
    harness.service(backend)
    for requests in (0, 1):
        client = harness.connect()
        for _ in range(requests):
            client.send(get())
            assert client.message().status == 200
        client.send(HEADS[case])
        harness.beat()
        harness.clock.forward(LONG)
        last = client.rest()
        assert not last or last[:12] in (b"HTTP/1.1 408", b"HTTP/1.1 400", b"HTTP/1.1 505")
        if case == "nothing":
            assert not last
    assert backend.requests == 1


@pytest.mark.parametrize("behind", [False, True], ids=["first", "second"])
def test_a_head_that_comes_byte_by_byte_buys_no_time(harness: Harness, behind: bool) -> None:
    """Slowloris: each byte comes before any patience with one read is over."""
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    if behind:
        client.send(get())
        assert client.message().status == 200
    with suppress(OSError):
        for byte in get()[:-2] + b"X: " + b"x" * 100:
            client.send(bytes([byte]))
            harness.beat()
            harness.clock.forward(1.0)
            harness.sweep()
    client.sock.settimeout(1.0)
    assert client.ending() in ("end", "reset")
    assert backend.requests == behind


UPLOADS = {
    "a length": b"Content-Length: 9\r\n\r\nhello",
    "nothing of a length": b"Content-Length: 9\r\n\r\n",
    "a chunk": CHUNKED + b"9\r\nhello",
    "no last chunk": CHUNKED + b"5\r\nhello\r\n",
    "half the trailers": CHUNKED + b"5\r\nhello\r\n0\r\nX: 1\r\n",
}


@pytest.mark.parametrize("case", UPLOADS)
def test_a_body_that_stops_is_given_up_and_never_looks_whole(harness: Harness, case: str) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        reached.set()
        peer.ending()
        cut.set()

    reached, cut = threading.Event(), threading.Event()
    backend = harness.backend(script)
    harness.service(backend, timeout=60.0)
    client = harness.connect()
    client.send(POST + UPLOADS[case])
    assert reached.wait(PATIENCE)
    harness.beat()
    harness.clock.forward(61)
    answer = client.message()
    assert answer.status in (408, 504)
    assert answer.get("Connection") == b"close"  # the rest of the body may still come
    assert client.rest() == b""
    assert cut.wait(PATIENCE)
    assert not backend.received[0].endswith(b"0\r\n\r\n")


ANSWERS = {
    "nothing": b"",
    "half a head": OK + b"X: ",
    "hints": b"HTTP/1.1 103 E\r\n\r\n",
    "a length": OK + b"Content-Length: 9\r\n\r\nhello",
    "chunks": OK + CHUNKED + b"5\r\nhello\r\n",
    "until the end": OK + b"\r\nhello",
}


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_stops_is_cut_on_both_sides(
    harness: Harness, case: str, version: bytes
) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ANSWERS[case])
        reached.set()
        peer.ending()
        cut.set()

    reached, cut = threading.Event(), threading.Event()
    harness.service(harness.backend(script), timeout=60.0)
    client = harness.connect()
    client.send(get().replace(b"HTTP/1.1", b"HTTP/" + version))
    assert reached.wait(PATIENCE)
    harness.beat()
    harness.clock.forward(61)
    if b"hello" in ANSWERS[case]:
        assert outcome(client) is CUT
    else:
        while (answer := client.message()).status == 103:
            assert version == b"1.1"
        assert answer.status == 504
    assert cut.wait(PATIENCE)


def test_the_place_of_whoever_was_too_slow_is_the_next_ones(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        if b"/slow" in peer.message().start:
            peer.ending()
        peer.send(ok())

    backend = harness.backend(script)
    throttler = harness.service(backend, concurrency=1, timeout=60.0)
    slow = harness.get(b"/slow")
    harness.wait_for(lambda: backend.requests)
    harness.clock.forward(30)
    waiting = harness.get(b"/next")
    harness.wait_for(lambda: throttler.breaker.waiting)
    harness.clock.forward(31)
    assert slow.message().status == 504
    assert waiting.message().status == 200
