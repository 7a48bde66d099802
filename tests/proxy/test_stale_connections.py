"""Idle connections that an instance closes: what may be sent again, and what never."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import pytest

from tests.proxy.harness import Harness, get, post
from tests.proxy.wire import PATIENCE, Backend, Peer, ok
from wakeful.proxy.kernel import closed_unread


class Closing:
    """Answers one request per connection, and ends it when told to."""

    def __init__(self, harness: Harness, *, reset: bool = False) -> None:
        self.harness = harness
        self.reset = reset
        self.leave = threading.Event()
        self.left = threading.Event()
        self.backend: Backend = harness.backend(self._script)

    def _script(self, peer: Peer) -> None:
        peer.message()
        peer.send(ok())
        if len(self.backend.connections) > 1:
            peer.ending()
            return
        self.leave.wait(PATIENCE)
        if self.reset:
            peer.reset()
        else:
            peer.close()
        self.left.set()

    def end(self) -> None:
        self.leave.set()
        assert self.left.wait(PATIENCE)


def kept(harness: Harness, backend: Backend) -> Peer:
    """A client that was answered once, and whose connection and the instance's are kept."""
    harness.service(backend)
    client = harness.connect()
    client.send(get())
    assert client.message().status == 200
    return client


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("request_", [get(), post(b"body")], ids=["GET", "POST"])
def test_a_connection_closed_while_idle_is_not_used_again(
    harness: Harness, request_: bytes, reset: bool
) -> None:
    closing = Closing(harness, reset=reset)
    client = kept(harness, closing.backend)
    closing.end()
    harness.beat()
    client.send(request_)
    assert client.message().status == 200
    assert len(closing.backend.connections) == 2


@pytest.mark.parametrize("request_first", [False, True])
@pytest.mark.parametrize("reset", [False, True])
def test_a_get_that_meets_the_end_of_an_idle_connection_is_answered(
    harness: Harness, reset: bool, request_first: bool
) -> None:
    """The loop learns of the request and of the end at the same moment."""
    closing = Closing(harness, reset=reset)
    client = kept(harness, closing.backend)
    harness.beat()
    release = harness.stall()
    for step in (closing.end, None) if not request_first else (None, closing.end):
        if step is None:
            client.send(get())
        else:
            step()
    release()
    assert client.message().status == 200
    assert closing.backend.requests == 2


@pytest.mark.parametrize("reset", [False, True])
def test_a_post_is_sent_once_at_most(harness: Harness, reset: bool) -> None:
    closing = Closing(harness, reset=reset)
    client = kept(harness, closing.backend)
    harness.beat()
    release = harness.stall()
    client.send(post(b"once"))
    closing.end()
    release()
    answer = client.message()
    posts = sum(data.count(b"POST / ") for data in closing.backend.received)
    assert (answer.status, posts) in ((200, 1), (502, 0))


def test_a_get_that_was_read_and_not_answered_is_not_sent_again(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ok())
        peer.message()

    backend = harness.backend(script)
    client = kept(harness, backend)
    client.send(get())
    answer = client.message()
    assert (answer.status, answer.reason) == (502, b"upstream_failed")
    assert backend.requests == 2


@pytest.mark.parametrize("part", [b"HT", b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=["HT", "103"])
def test_a_get_that_an_instance_began_to_answer_is_not_sent_again(
    harness: Harness, part: bytes
) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ok())
        peer.message()
        peer.send(part)
        peer.reset()

    backend = harness.backend(script)
    client = kept(harness, backend)
    client.send(get())
    answer = client.message()
    if answer.status == 103:
        answer = client.message()
    assert (answer.status, answer.reason) == (502, b"upstream_failed")
    assert backend.requests == 2


# The kernel's account of a connection, as TCP_INFO tells it: (state, segments not acknowledged).
CLOSE_WAIT, CLOSE = 8, 7


@pytest.mark.parametrize(
    ("told", "discarded"),
    [
        ([(CLOSE, 0)], True),
        ([(CLOSE_WAIT, 1)], True),  # the reset is on its way
        ([(CLOSE_WAIT, 0), (CLOSE, 0)], True),  # it came between the two facts
        ([(CLOSE_WAIT, 0), (CLOSE_WAIT, 0)], False),  # it was acknowledged, and read
    ],
)
def test_the_kernel_tells_what_an_instance_that_closed_had_not_read(
    told: list[tuple[int, int]], discarded: bool
) -> None:
    class Kernel(socket.socket):
        def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
            assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
            state, unacknowledged = told.pop(0)
            return struct.pack("=8B5I", state, *[9] * 7, *[9] * 4, unacknowledged)[:size]

    with Kernel() as kernel:
        assert closed_unread(kernel) is discarded
    assert not told


def test_an_instance_that_says_close_is_connected_to_anew(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ok(fields=b"Connection: close\r\n"))
        peer.ending()

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    for _ in range(3):
        client.send(get())
        answer = client.message()
        assert (answer.status, answer.get("Connection")) == (200, None)
    assert len(backend.connections) == 3


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
def test_a_request_that_may_not_be_repeated_is_not_sent_again_after_a_reset(
    harness: Harness, method: bytes
) -> None:
    """The reset alone does not tell whether the instance had read it."""

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ok())
        peer.message()
        peer.reset()

    backend = harness.backend(script)
    client = kept(harness, backend)
    client.send(post(b"once").replace(b"POST", method, 1))
    answer = client.message()
    assert (answer.status, answer.reason) == (502, b"upstream_failed")
    assert backend.requests == 2
