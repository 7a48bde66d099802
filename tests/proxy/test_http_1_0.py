"""Clients that speak HTTP/1.0: no chunked coding, and connections that end."""

from __future__ import annotations

from tests.proxy.harness import Harness, chunks, get, old
from tests.proxy.wire import Peer, answering, ok

KEEP_ALIVE = b"Connection: keep-alive\r\n"


def test_the_connection_ends_with_the_answer(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(old(get()))
    answer = client.message()
    assert (answer.body, answer.get("Connection")) == (b"hello", b"close")
    assert client.ending() == "end"
    assert backend.received[0].startswith(b"GET / HTTP/1.1\r\n")


def test_the_connection_is_kept_for_who_asks(harness: Harness) -> None:
    harness.service(harness.backend())
    client = harness.connect()
    for _ in range(3):
        client.send(old(get(fields=KEEP_ALIVE)))
        answer = client.message()
        assert (answer.body, answer.get("Connection")) == (b"hello", b"keep-alive")


def test_an_answer_of_our_own_says_whether_the_connection_is_kept(harness: Harness) -> None:
    """Without a word, HTTP/1.0 means the end: the client would wait for it."""
    client = harness.connect()
    client.send(old(get(fields=KEEP_ALIVE)))
    answer = client.message()
    assert answer.status == 404
    assert answer.get("Connection") == b"close"
    assert client.ending() == "end"


def test_chunks_are_taken_apart_and_the_end_is_the_end_of_the_connection(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        peer.send(head + chunks(b"one ", b"two", trailers=b"X-T: 1\r\n"))

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(old(get(fields=KEEP_ALIVE)))
    answer = client.message()
    assert answer.get("Transfer-Encoding") is None
    assert (answer.get("Connection"), answer.body) == (b"close", b"one two")


def test_an_answer_broken_off_does_not_end_like_a_whole_one(harness: Harness) -> None:
    """The end of the connection would be the end of the body."""

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        gate()

    client = harness.connect()

    def gate() -> None:
        client.until(b"hello")

    harness.service(harness.backend(script))
    client.send(old(get()))
    harness.wait_for(lambda: not harness.plane.connections)
    assert client.ending() == "reset"


def test_host_is_needed_to_find_the_service(harness: Harness) -> None:
    client = harness.connect()
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.message().status == 400


def test_a_chunked_request_is_refused(harness: Harness) -> None:
    backend = harness.backend(answering(ok()))
    harness.service(backend)
    client = harness.connect()
    client.send(
        old(get(fields=b"Transfer-Encoding: chunked\r\n")).replace(b"GET", b"POST") + chunks(b"x")
    )
    assert client.message().status == 400
    assert backend.requests == 0
