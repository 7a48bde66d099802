"""Idle connections that an instance closes: what may be sent again, and what never."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.proxy.harness import Harness, get, post
from tests.proxy.wire import PATIENCE, Backend, Peer, ok
from wakeful.proxy.exchange import Stage
from wakeful.proxy.kernel import unread


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


def kept(harness: Harness, backend: Backend, **template: Any) -> Peer:
    """A client that was answered once, and whose connection and the instance's are kept."""
    harness.service(backend, **template)
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


class Leaving:
    """Answers the first request, ends its connection with the second in it, and answers others."""

    def __init__(self, harness: Harness, **template: Any) -> None:
        self.harness = harness
        self.leave = threading.Event()
        self.backend: Backend = harness.backend(self._script)
        self.client = kept(harness, self.backend, **template)
        self.client.send(get())
        harness.wait_for(lambda: self.backend.requests == 2)

    def _script(self, peer: Peer) -> None:
        peer.message()
        if peer is self.backend.connections[0]:
            peer.send(ok())
            peer.message()
            self.leave.wait(PATIENCE)
        else:
            self.leave.wait(PATIENCE)
            peer.send(ok())
            peer.ending()

    def take_along(self) -> None:
        """End the connection, and be asked by another whether there is an instance."""
        self.leave.set()
        self.harness.wait_for(lambda: len(self.backend.connections) == 2)


def refused(client: Peer) -> bool:
    answer = client.message()
    return (answer.status, answer.reason) == (502, b"upstream_failed")


def test_a_get_that_a_kept_connection_took_along_is_sent_again_in_a_moment(
    harness: Harness,
) -> None:
    leaving = Leaving(harness)
    leaving.take_along()
    assert leaving.backend.requests == 2
    harness.clock.forward(0.25)
    assert leaving.client.message().status == 200
    assert leaving.backend.requests == 3
    (throttler,) = harness.plane.throttlers.values()
    assert throttler.breaker.active == 0


def test_a_get_that_a_dying_instance_took_along_is_not_sent_again(harness: Harness) -> None:
    leaving = Leaving(harness)
    other = harness.backend()
    harness.publish(harness.endpoints(leaving.backend, other))
    leaving.backend.close()
    leaving.leave.set()
    assert refused(leaving.client)
    assert (leaving.backend.requests, other.requests) == (2, 0)


@pytest.mark.parametrize("early", [True, False])
def test_a_get_that_an_instance_took_along_is_not_sent_again_when_its_end_is_known(
    harness: Harness, early: bool
) -> None:
    leaving = Leaving(harness)
    other = harness.backend()
    _, another = harness.endpoints(leaving.backend, other)
    if early:
        harness.publish([another], ended=("i0",))
        leaving.leave.set()
    else:
        leaving.take_along()
        harness.publish([another], ended=("i0",))
    assert refused(leaving.client)
    assert (leaving.backend.requests, other.requests) == (2, 0)


def test_an_instance_that_takes_connections_until_its_last_moment_is_not_sent_a_get_again(
    harness: Harness,
) -> None:
    leaving = Leaving(harness)
    leaving.take_along()
    leaving.backend.connections[1].reset()
    harness.beat()
    harness.clock.forward(0.25)
    assert refused(leaving.client)
    assert leaving.backend.requests == 2


def test_a_get_that_an_instance_worked_on_before_it_ended_the_connection_is_not_sent_again(
    harness: Harness,
) -> None:
    leaving = Leaving(harness)
    harness.clock.forward(1.0)
    leaving.leave.set()
    assert refused(leaving.client)
    assert (leaving.backend.requests, len(leaving.backend.connections)) == (2, 1)


def test_a_get_that_is_sent_again_has_the_time_for_its_answer_that_it_had(
    harness: Harness,
) -> None:
    leaving = Leaving(harness, response_start_timeout=20.0)
    leaving.take_along()
    leaving.leave.clear()
    harness.clock.forward(0.25)
    harness.wait_for(lambda: leaving.backend.requests == 3)
    harness.clock.forward(20.0)
    answer = leaving.client.message()
    assert (answer.status, answer.reason) == (504, b"response_timeout")
    leaving.leave.set()


def test_a_get_that_has_no_time_left_for_an_answer_is_not_sent_again(harness: Harness) -> None:
    leaving = Leaving(harness, response_start_timeout=20.0)
    leaving.take_along()
    harness.clock.forward(20.0)
    answer = leaving.client.message()
    assert (answer.status, answer.reason) == (504, b"response_timeout")
    assert leaving.backend.requests == 2


@pytest.mark.parametrize("told", [False, True])
def test_a_get_that_was_sent_again_is_sent_nowhere_else(harness: Harness, told: bool) -> None:
    """Though the instance dies with its second copy unread: it may have run the first."""
    die = threading.Event()

    def script(peer: Peer) -> None:
        if peer is not dying.connections[0]:
            assert die.wait(PATIENCE)
            peer.reset()
            return
        peer.message()
        peer.send(ok())
        peer.message()

    dying, other = harness.backend(script), harness.backend()
    client = kept(harness, dying)
    client.send(get())
    harness.wait_for(lambda: len(dying.connections) == 2)
    one, another = harness.endpoints(dying, other)
    harness.publish([one, another])
    harness.clock.forward(0.25)
    (connection,) = harness.plane.connections
    exchange = connection._current
    assert exchange is not None
    harness.wait_for(lambda: exchange._stage is Stage.SENT, "the second copy")
    if told:
        harness.publish([another], ended=("i0",))
    dying.close()
    die.set()
    assert refused(client)
    assert other.requests == 0


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
@pytest.mark.parametrize("part", [b"HT", b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=["HT", "103"])
def test_a_get_that_an_instance_began_to_answer_is_not_sent_again(
    harness: Harness, part: bytes, leave: Callable[[Peer], None]
) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ok())
        peer.message()
        peer.send(part)
        leave(peer)

    backend = harness.backend(script)
    client = kept(harness, backend)
    client.send(get())
    answer = client.message()
    if answer.status == 103:
        answer = client.message()
    assert (answer.status, answer.reason) == (502, b"upstream_failed")
    assert backend.requests == 2


def test_connections_kept_to_an_instance_that_refused_one_are_closed_in_time_too(
    harness: Harness,
) -> None:
    throttler = harness.service(harness.backend())
    client = harness.connect()
    client.send(get())
    assert client.message().status == 200
    (slot,) = throttler.slots
    harness.wait_for(lambda: len(slot.pool) == 1)
    harness.call(lambda: throttler.suspect(slot))
    harness.sweep()
    harness.wait_for(lambda: throttler.slots == (slot,), "trust in it")
    harness.clock.forward(harness.plane.limits.pool_idle)
    harness.wait_for(lambda: len(slot.pool) == 0, "the connection's end")


# What the kernel tells of a connection that the other side has ended


class Joined:
    """A connection, and the instance's end of it; that one has room for some 2 KB."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            self.ours = socket.create_connection(listener.getsockname())
            self.its, _ = listener.accept()
        self.ours.settimeout(PATIENCE)

    def __enter__(self) -> Joined:
        return self

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self.its.close()


def read_before_the_end(joined: Joined) -> None:
    joined.ours.sendall(b"all of it")
    assert joined.its.recv(100) == b"all of it"
    joined.its.close()


def written_behind_the_end(joined: Joined) -> None:
    joined.its.close()
    joined.ours.sendall(b"none of it")


def more_than_it_had_room_for(joined: Joined) -> None:
    joined.ours.sendall(bytes(50_000))
    joined.its.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        (read_before_the_end, False),
        (written_behind_the_end, True),
        (more_than_it_had_room_for, True),
    ],
)
def test_the_kernel_tells_what_an_instance_that_ended_had_not_read(
    course: Callable[[Joined], None], expected: bool
) -> None:
    with Joined() as joined:
        assert not unread(joined.ours)
        course(joined)
        assert joined.ours.recv(1) == b""
        assert unread(joined.ours) is expected


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
