"""An answer whose head is known is fitted to each client all the same."""

from __future__ import annotations

import threading

import pytest

from tests.proxy.harness import Harness, get, old, post
from tests.proxy.wire import PATIENCE, Peer, answering, ok

ANSWER = ok(fields=b"Date: x\r\n")
CLOSE, KEEP_ALIVE = b"Connection: close\r\n", b"Connection: keep-alive\r\n"


class BetweenReads:
    """An instance goes on to write when what it wrote was read."""

    def __init__(self) -> None:
        self._written, self._read = threading.Semaphore(0), threading.Semaphore(0)

    def wait(self) -> None:
        self._written.release()
        assert self._read.acquire(timeout=PATIENCE)

    def go_on(self, harness: Harness) -> None:
        assert self._written.acquire(timeout=PATIENCE)
        harness.beat()
        self._read.release()


def learn(harness: Harness) -> None:
    for _ in range(2):
        client = harness.get()
        assert client.message().get("Date") == b"x"
        client.close()
    assert harness.call(lambda: harness.plane.known_responses.get(ANSWER.partition(b"\r\n\r\n")[0]))


@pytest.mark.parametrize(
    ("request_", "said", "kept"),
    [
        (get(), None, True),
        (get(b"/x?y"), None, True),
        (post(b"body"), None, True),
        (get(fields=CLOSE), b"close", False),
        (old(get()), b"close", False),
        (old(get(fields=KEEP_ALIVE)), b"keep-alive", True),
        (old(post(b"body", fields=KEEP_ALIVE)), b"keep-alive", True),
    ],
)
def test_whether_the_connection_is_kept_is_each_clients(
    harness: Harness, request_: bytes, said: bytes | None, kept: bool
) -> None:
    harness.service(harness.backend(answering(ANSWER)))
    learn(harness)
    client = harness.connect()
    for _ in range(2 if kept else 1):
        client.send(request_)
        answer = client.message()
        assert (answer.body, answer.get("Connection")) == (b"hello", said)
    if not kept:
        assert client.ending() == "end"


def test_one_that_comes_before_the_end_of_the_request_ends_the_connection(
    harness: Harness,
) -> None:
    """What is left of the body has nowhere to go."""

    def script(peer: Peer) -> None:
        while True:
            peer.head()
            peer.send(ANSWER)

    harness.service(harness.backend(script))
    learn(harness)
    client = harness.connect()
    client.send(post(b"body")[:-1])
    answer = client.message()
    assert (answer.body, answer.get("Connection")) == (b"hello", b"close")
    assert client.ending() == "end"


def test_one_that_comes_while_we_drain_ends_the_connection(harness: Harness) -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        while b"/last" not in peer.message().start:
            peer.send(ANSWER)
        gate.wait(PATIENCE)
        peer.send(ANSWER)
        peer.ending()

    harness.service(backend := harness.backend(script))
    learn(harness)
    client = harness.get(b"/last")
    harness.wait_for(lambda: backend.requests == 3)
    finished = harness.spawn(harness.plane.drain())
    harness.wait_for(lambda: harness.plane.draining)
    gate.set()
    answer = client.message()
    assert (answer.body, answer.get("Connection")) == (b"hello", b"close")
    assert client.ending() == "end"
    client.close()
    finished()


def test_a_head_is_not_known_by_what_came_of_it(harness: Harness) -> None:
    """All but the empty line: a field may still follow."""
    head = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0"
    turn = 0

    def script(peer: Peer) -> None:
        nonlocal turn
        while True:
            peer.message()
            turn += 1
            if turn < 3:
                peer.send(head + b"\r\n\r\n")
            else:
                peer.send(head)
                harness.beat()
                peer.send(b"\r\nX-More: 1\r\n\r\n")

    harness.service(harness.backend(script))
    client = harness.connect()
    for wanted in (None, None, b"1"):
        client.send(get())
        assert client.message().get("X-More") == wanted


@pytest.mark.parametrize("part", ["head", "chunk", "length"])
def test_its_bytes_within_another_answer_are_part_of_that(harness: Harness, part: str) -> None:
    known = ok(b"hello", b"Date: x\r\n")
    head = b"HTTP/1.1 200 OK\r\nDate: x\r\n"
    beginning = {
        "head": head + b"X-Before: ",
        "chunk": head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\nx" % (len(known) + 1),
        "length": head + b"Content-Length: %d\r\n\r\nx" % (len(known) + 1),
    }[part]
    between = BetweenReads()

    def script(peer: Peer) -> None:
        while True:
            for _ in range(2):
                peer.message()
                peer.send(known)
            peer.message()
            peer.send(beginning)
            between.wait()
            peer.send(known + b"\r\n0\r\n\r\n" * (part == "chunk"))

    harness.service(harness.backend(script))
    client = harness.connect()
    for _ in range(4):  # from the third time on the other's head is known as well
        for _ in range(2):
            client.send(get())
            assert client.message().body == b"hello"
        client.send(get())
        between.go_on(harness)
        answer = client.message()
        if part == "head":
            assert (answer.get("X-Before"), answer.body) == (b"HTTP/1.1 200 OK", b"hello")
        else:
            assert answer.body == b"x" + known


@pytest.mark.parametrize("cut", [-5, -2, None])
def test_one_that_comes_in_two_reads_or_with_more_is_what_it_is(
    harness: Harness, cut: int | None
) -> None:
    known = ok(b"hello", b"Date: x\r\n")
    between = BetweenReads()

    def script(peer: Peer) -> None:
        if len(backend.connections) > 1:
            answering(known)(peer)
            return
        for _ in range(3):
            peer.message()
            peer.send(known)
        peer.message()
        peer.send(known[:cut] if cut else known + b"HTTP/1.1 200 more\r\n\r\n")
        between.wait()
        if cut:
            peer.send(known[cut:])
            peer.message()
            peer.send(known)

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    for _ in range(3):
        client.send(get())
        assert client.message().body == b"hello"
    client.send(get())
    between.go_on(harness)
    assert client.message().body == b"hello"
    client.send(get())
    assert client.message().body == b"hello"
    assert len(backend.connections) == (1 if cut else 2)
