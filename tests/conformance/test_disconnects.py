"""Clients that leave: their instance learns it at once, and what they held is free again.

At once means without any clock: nothing here moves the harness's, and no
timeout of its services is shorter than a minute. A client that closed its side
is gone (docs/decisions/0004-client-half-close.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.proxy.harness import Harness, get
from tests.proxy.wire import PATIENCE, Backend, Peer, ok
from wakeful.proxy.throttler import Throttler

SOON = 2.0  # seconds; only a failing test waits that long
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"

# What the client sends, up to what of it the instance reads it, and what the
# instance says to that.
PHASES: dict[str, tuple[bytes, bytes, bytes]] = {
    "before the answer": (get(), b"\r\n\r\n", b""),
    "behind an interim answer": (get(), b"\r\n\r\n", b"HTTP/1.1 103 E\r\n\r\n"),
    "in half a head": (get(), b"\r\n\r\n", OK + b"X: "),
    "in a length": (get(), b"\r\n\r\n", OK + b"Content-Length: 9\r\n\r\nhello"),
    "in chunks": (get(), b"\r\n\r\n", OK + CHUNKED + b"5\r\nhello\r\n"),
    "in a chunk": (get(), b"\r\n\r\n", OK + CHUNKED + b"9\r\nhello"),
    "in an answer until the end": (get(), b"\r\n\r\n", OK + b"\r\nhello"),
    "in an upload": (POST + b"Content-Length: 9\r\n\r\nhello", b"hello", b""),
    "in an upload of chunks": (POST + CHUNKED + b"5\r\nhello\r\n", b"hello", b""),
    "in an upload's chunk": (POST + CHUNKED + b"9\r\nhello", b"hello", b""),
    "before the trailers": (POST + CHUNKED + b"5\r\nhello\r\n0\r\n", b"hello", b""),
    "in an upload that is being answered": (
        POST + CHUNKED + b"5\r\nhello\r\n",
        b"hello",
        OK + CHUNKED + b"5\r\nhello\r\n",
    ),
    "before 100": (
        POST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        b"\r\n\r\n",
        b"",
    ),
    "behind 100": (
        POST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ),
}
LEAVE = {"close": Peer.close, "reset": Peer.reset, "half-close": Peer.end}


def soon(harness: Harness, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + SOON
    while not (came := harness.call(condition)) and time.monotonic() < end:
        time.sleep(0.002)
    return came


def idle(throttler: Throttler) -> bool:
    return throttler.breaker.active == throttler.breaker.waiting == 0


class Instance:
    """Reads up to a mark, says something, and then wants to be told that the client left."""

    def __init__(self, harness: Harness, mark: bytes, says: bytes) -> None:
        self.mark, self.says = mark, says
        self.reached, self.told = threading.Event(), threading.Event()
        self.backend: Backend = harness.backend(self._script)

    def _script(self, peer: Peer) -> None:
        if peer is not self.backend.connections[0]:
            peer.message()
            peer.send(ok())
            return
        peer.until(self.mark)
        peer.send(self.says)
        self.reached.set()
        if peer.ending() in ("end", "reset"):
            self.told.set()


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("case", PHASES)
def test_an_instance_learns_at_once_that_its_client_left(
    harness: Harness, case: str, leave: str
) -> None:
    request, mark, says = PHASES[case]
    instance = Instance(harness, mark, says)
    throttler = harness.service(instance.backend)
    client = harness.connect()
    client.send(request)
    assert instance.reached.wait(PATIENCE)
    if b"hello" in says:
        client.until(b"hello")
    LEAVE[leave](client)
    assert instance.told.wait(SOON)
    harness.wait_for(lambda: idle(throttler))
    (peer,) = instance.backend.connections
    if b"chunked" in request:  # RFC 9112 §8: what is not whole must not look so
        assert not peer.received.endswith(b"0\r\n\r\n")


BEHIND = {
    "a request": get(b"/second"),
    "half a request": get(b"/second")[:-2],
    "a hundred requests": get(b"/second") * 100,
    "an upload": POST + b"Content-Length: 9\r\n\r\nhello",
    "much of an upload": POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 100_000,
}


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("case", BEHIND)
def test_what_waits_behind_a_request_hides_no_leaving(
    harness: Harness, case: str, leave: str
) -> None:
    """And of what waits, nothing is run for a client that is not there."""
    instance = Instance(harness, b"\r\n\r\n", b"")
    throttler = harness.service(instance.backend)
    client = harness.connect()
    client.send(get(b"/first") + BEHIND[case])
    assert instance.reached.wait(PATIENCE)
    harness.beat()
    LEAVE[leave](client)
    told = instance.told.wait(SOON)
    for peer in instance.backend.connections:
        peer.close()  # whatever became of it
    assert told
    harness.wait_for(lambda: idle(throttler))
    assert instance.backend.requests == 1


@pytest.mark.parametrize("size", [0, 1_000, 65_536, 200_000])
def test_a_client_that_leaves_before_there_is_an_instance_gives_up_its_place(
    harness: Harness, size: int
) -> None:
    """However much of its body was taken in, and whether more of it is waited for."""
    throttler = harness.service()
    for name, leave in LEAVE.items():
        client = harness.connect()
        client.send(POST + b"Content-Length: %d\r\n\r\n" % (size + 1) + b"x" * size)
        harness.wait_for(lambda: throttler.breaker.waiting)
        harness.beat()
        leave(client)
        free = soon(harness, lambda: idle(throttler))
        if not free:
            harness.publish(harness.endpoints(harness.backend()))  # else nothing ends this test
        assert free, name


def test_a_client_that_leaves_while_its_instance_reads_nothing_is_let_go(harness: Harness) -> None:
    """The connection is not read then, for the body has nowhere to go."""

    def script(peer: Peer) -> None:
        peer.head()
        reached.set()
        over.wait(PATIENCE)

    reached, over = threading.Event(), threading.Event()
    throttler = harness.service(harness.backend(script))
    client = harness.connect()
    client.send(POST + b"Content-Length: 100000000\r\n\r\n")
    assert reached.wait(PATIENCE)
    client.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.send(b"x" * 100_000_000)
    client.reset()
    free = soon(harness, lambda: throttler.breaker.active == 0)
    over.set()
    assert free


def test_a_client_that_leaves_with_its_answer_unread_is_let_go(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(OK + b"Content-Length: 100000000\r\n\r\n")
        peer.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.send(b"x" * 100_000_000)
        full.set()
        peer.sock.settimeout(PATIENCE)
        peer.ending()

    full = threading.Event()
    throttler = harness.service(harness.backend(script))
    client = harness.connect(receive_buffer=4096)
    client.send(get())
    assert full.wait(PATIENCE)
    client.close()
    harness.wait_for(lambda: throttler.breaker.active == 0)


def test_a_place_that_a_leaving_client_gives_up_is_the_next_ones(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        request = peer.message()
        if b"/stay" in request.start:
            reached.set()
            peer.ending()
        else:
            peer.send(ok())

    reached = threading.Event()
    throttler = harness.service(harness.backend(script), concurrency=1)
    first = harness.get(b"/stay")
    assert reached.wait(PATIENCE)
    second, third = harness.get(b"/second"), harness.get(b"/third")
    harness.wait_for(lambda: throttler.breaker.waiting == 2)
    second.close()
    harness.wait_for(lambda: throttler.breaker.waiting == 1)
    first.close()
    assert third.message().status == 200
