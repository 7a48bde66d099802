"""Instances that break the exchange: the client is told, or sees that it was cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable

import pytest

from tests.proxy.harness import Harness, get, post
from tests.proxy.wire import PATIENCE, Backend, Ended, Peer, Script, ok, unused_port
from wakeful.events import Endpoint
from wakeful.proxy.exchange import Exchange, Stage


def saying(answer: bytes, *, reset: bool = False) -> Script:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(answer)
        if reset:
            peer.reset()

    return script


GARBAGE = {
    "not http": b"SSH-2.0-OpenSSH\r\n\r\n",
    "bad version": b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "bad status": b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    "gzip coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space in a name": b"HTTP/1.1 200 OK\r\nX Y : 1\r\nContent-Length: 0\r\n\r\n",
    "nul in a value": b"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 0\r\n\r\n",
    "unasked switch": b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nbytes",
    "switch to nothing": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "interim with a bad coding": b"HTTP/1.1 103 E\r\nTransfer-Encoding: gzip\r\n"
    b"Content-Length: 1\r\n\r\n",
    "head too large": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
    "whole head too large": b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: 0\r\n\r\n"
    % (b"x" * 300_000),
}


@pytest.mark.parametrize("case", GARBAGE)
def test_a_malformed_answer_is_an_error_of_the_instance(harness: Harness, case: str) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(GARBAGE[case])
        peer.ending()

    backend = harness.backend(script)
    throttler = harness.service(backend)
    client = harness.connect()
    client.send(get())
    answer = client.message()
    assert (answer.status, answer.reason) == (502, b"bad_response")
    client.send(get())
    assert client.message().status == 502
    assert len(backend.connections) == 2
    assert throttler.counters.rejected == {"bad_response": 2}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("part", [b"", b"HT", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"])
def test_an_end_before_the_answers_head_is_an_error_and_nothing_is_sent_twice(
    harness: Harness, part: bytes, reset: bool
) -> None:
    backend = harness.backend(saying(part, reset=reset))
    harness.service(backend)
    client = harness.connect()
    client.send(get())
    answer = client.message()
    assert (answer.status, answer.reason) == (502, b"upstream_failed")
    assert backend.requests == 1
    client.send(get(host=b"nobody.test"))  # the client's connection goes on
    assert client.message().status == 404


TRUNCATED = {
    "short body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst",
    "no body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nfirst",
    "half the trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\nxyz\r\n",
}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("case", TRUNCATED)
def test_an_answer_broken_off_is_cut_so_that_the_client_sees_it(
    harness: Harness, case: str, reset: bool
) -> None:
    backend = harness.backend(saying(TRUNCATED[case], reset=reset))
    harness.service(backend)
    client = harness.connect()
    client.send(get())
    with pytest.raises((Ended, ConnectionResetError)):
        client.message()
    assert backend.requests == 1


def test_an_answer_until_the_end_that_ends_in_a_reset_is_cut(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        begun.wait(PATIENCE)
        peer.reset()

    begun = threading.Event()
    harness.service(harness.backend(script))
    client = harness.get()
    client.until(b"first")
    begun.set()
    with pytest.raises((Ended, ConnectionResetError)):
        client.until(b"0\r\n\r\n")


EXTRA = {
    "behind a length": ok() + b"more",
    "another answer": ok() + ok(b"forged"),
    "behind a known head": ok(fields=b"Date: x\r\n") + ok(b"forged", b"Date: x\r\n"),
    "behind 204": b"HTTP/1.1 204 No\r\n\r\n" + ok(b"forged"),
    "behind 304": b"HTTP/1.1 304 No\r\nContent-Length: 6\r\n\r\nforged",
    "behind chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    + ok(b"forged"),
}


@pytest.mark.parametrize("case", EXTRA)
def test_bytes_behind_an_answer_answer_nobody(harness: Harness, case: str) -> None:
    def script(peer: Peer) -> None:
        while True:
            peer.message()
            peer.send(EXTRA[case])

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    for _ in range(3):
        client.send(get())
        answer = client.message()
        assert answer.status in (200, 204, 304)
        assert b"forged" not in answer.body
    assert len(backend.connections) == 3
    assert b"forged" not in client.received


def test_a_body_behind_the_answer_to_head_answers_nobody(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        while True:
            peer.message()
            peer.send(ok(b"HTTP/1.1 200 forged\r\nContent-Length: 0\r\n\r\n"))

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    for _ in range(3):
        client.send(b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert client.message(bodiless=True).status == 200
    assert b"forged" not in client.received
    assert len(backend.connections) == 3


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_an_empty_line_before_an_answer_is_no_answer(harness: Harness, cut: int) -> None:
    """RFC 9112 §2.2 skips it before requests only."""

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"\r\n\r\n"[:cut])
        harness.beat()
        peer.send(b"\r\n\r\n"[cut:] + ok(fields=b"Date: x\r\n"))
        peer.ending()

    harness.service(harness.backend(script))
    for _ in range(2):
        assert harness.get().message().reason == b"bad_response"


def test_bytes_that_nobody_asked_for_end_an_idle_connection(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ok())
        idle.append(peer)
        peer.ending()

    idle: list[Peer] = []
    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    client.send(get())
    assert client.message().status == 200
    harness.wait_for(lambda: idle)
    idle[0].send(ok(b"forged"))
    harness.wait_for(lambda: idle[0].sock.fileno() < 0)
    client.send(get())
    assert client.message().body == b"hello"
    assert len(backend.connections) == 2


def test_trailers_of_an_answer_are_bounded(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n")
        while True:
            peer.send(b"X: 1\r\n" * 1000)

    harness.service(harness.backend(script))
    client = harness.get()
    assert client.head().status == 200
    assert client.ending() in ("end", "reset")


# Instances that end before they read


class Dying:
    """The kernel makes connections for it, and resets them when it ends; it reads nothing."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def end_with_a_request_unread(self) -> None:
        self._harness.wait_for(self._written, "a request written to it")
        self._harness.beat()
        self._listener.close()

    def reset_a_request_unread(self) -> None:
        """As a kernel does that closes the sockets of a process one after the other."""
        self.accept_a_request_unread().reset()
        self._harness.wait_for(self._asked, "the question whether it is still there")

    def accept_a_request_unread(self) -> Peer:
        accepted, _ = self._listener.accept()
        self._harness.wait_for(self._written, "a request written to it")
        self._harness.beat()
        return Peer(accepted)

    def is_asked(self) -> bool:
        """Whether there is one more connection to it."""
        self._listener.setblocking(False)
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def end(self) -> None:
        self._listener.close()
        self._harness.beat()

    def _written(self) -> bool:
        return any(one._stage is Stage.SENT for one in self._exchanges())

    def _asked(self) -> bool:
        return any(
            one._stage is Stage.DOUBTED and one._upstream is not None for one in self._exchanges()
        )

    def _exchanges(self) -> Iterable[Exchange]:
        connections = self._harness.plane.connections
        return [one._current for one in connections if one._current is not None]


PUT = post(b"the body").replace(b"POST", b"PUT", 1)


@pytest.mark.parametrize("request_", [get(), PUT], ids=["GET", "PUT"])
def test_a_request_that_an_instance_died_without_reading_is_answered_by_another(
    harness: Harness, request_: bytes
) -> None:
    dying, backend = Dying(harness), harness.backend()
    throttler = harness.service(dying.port, backend, concurrency=1)
    client = harness.connect()
    client.send(request_)
    dying.end_with_a_request_unread()
    assert client.message().status == 200
    assert throttler.counters.retries == 1
    assert backend.requests == 1
    assert backend.received[0].endswith(request_[request_.index(b"\r\n\r\n") :])


def test_a_request_that_the_only_instance_died_without_reading_waits_for_the_next(
    harness: Harness,
) -> None:
    dying, backend = Dying(harness), harness.backend()
    harness.service(dying.port)
    client = harness.get()
    dying.end_with_a_request_unread()
    harness.wait_for(lambda: harness.signals.demands)
    (working,) = harness.endpoints(backend)
    harness.publish([type(working)("i9", working.host, working.port)])
    assert client.message().status == 200


def test_a_post_that_an_instance_died_without_reading_is_not_sent_elsewhere(
    harness: Harness,
) -> None:
    dying, backend = Dying(harness), harness.backend()
    harness.service(dying.port, backend, concurrency=1)
    client = harness.connect()
    client.send(post(b"once"))
    dying.end_with_a_request_unread()
    answer = client.message()
    assert (answer.status, answer.reason) == (502, b"upstream_failed")
    assert backend.requests == 0


def test_an_instance_that_takes_connections_until_its_last_moment_has_died_all_the_same(
    harness: Harness,
) -> None:
    dying, backend = Dying(harness), harness.backend()
    throttler = harness.service(dying.port, backend, concurrency=1)
    client = harness.get()
    dying.reset_a_request_unread()
    dying.end()
    harness.clock.forward(0.25)
    assert client.message().status == 200
    assert (throttler.counters.retries, backend.requests) == (1, 1)


def test_the_address_of_an_instance_that_is_known_to_have_ended_is_not_asked_again(
    harness: Harness,
) -> None:
    """It may be another's by now: of another service."""
    dying, backend = Dying(harness), harness.backend()
    harness.service(dying.port, backend, concurrency=1)
    client = harness.get()
    accepted = dying.accept_a_request_unread()
    harness.publish(others(harness, backend), ended=("i0",))
    accepted.reset()
    assert client.message().status == 200
    assert backend.requests == 1
    assert not dying.is_asked()
    dying.end()


def test_whoever_is_known_to_have_ended_is_not_waited_for(harness: Harness) -> None:
    dying, backend = Dying(harness), harness.backend()
    harness.service(dying.port, backend, concurrency=1)
    client = harness.get()
    dying.reset_a_request_unread()
    _, *others = harness.endpoints(dying.port, backend)
    harness.publish(others, ended=("i0",))
    assert client.message().status == 200
    assert backend.requests == 1
    dying.end()


class Unreachable:
    """What is sent to it arrives nowhere: beyond its 2 KB of room, as if its network was gone."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.port = int(self._listener.getsockname()[1])

    def take(self, method: bytes) -> tuple[Peer, Peer]:
        """A client with a request that is here whole, and its connection to this instance."""
        client = self._harness.connect()
        client.send(post(bytes(50_000)).replace(b"POST", method, 1))
        self._harness.wait_for(lambda: self._exchange._body and self._exchange._body.done)
        self._harness.publish(self._harness.endpoints(self.port))
        accepted, _ = self._listener.accept()
        self._harness.wait_for(lambda: self._exchange._stage is Stage.SENT)
        return client, Peer(accepted)

    def end(self) -> None:
        self._listener.close()

    @property
    def _exchange(self) -> Exchange:
        (connection,) = self._harness.plane.connections
        assert connection._current is not None
        return connection._current


def others(harness: Harness, backend: Backend) -> list[Endpoint]:
    return list(harness.endpoints(0, backend))[1:]


def test_a_request_that_did_not_reach_an_instance_before_its_end_is_answered_by_another(
    harness: Harness,
) -> None:
    unreachable, backend = Unreachable(harness), harness.backend()
    throttler = harness.service()
    client, accepted = unreachable.take(b"PUT")
    harness.publish(others(harness, backend), ended=("i0",))
    harness.clock.forward(1)
    assert client.message().status == 200
    assert (throttler.counters.retries, backend.requests) == (1, 1)
    assert backend.received[0].endswith(bytes(50_000))
    accepted.close()
    unreachable.end()


def test_a_post_that_did_not_reach_an_instance_is_not_sent_elsewhere(harness: Harness) -> None:
    unreachable, backend = Unreachable(harness), harness.backend()
    harness.service()
    client, accepted = unreachable.take(b"POST")
    harness.publish(others(harness, backend), ended=("i0",))
    harness.clock.forward(1)
    answer = client.message()
    assert (answer.status, answer.reason) == (502, b"upstream_failed")
    assert backend.requests == 0
    accepted.close()
    unreachable.end()


def test_a_request_that_an_instance_had_no_room_for_before_its_end_is_answered_by_another(
    harness: Harness,
) -> None:
    """The end was read, nothing else came, and the kernel still had all of it to send."""
    unreachable, backend = Unreachable(harness), harness.backend()
    harness.service()
    client, accepted = unreachable.take(b"PUT")
    unreachable.end()
    accepted.end()
    harness.wait_for(lambda: harness.signals.demands)
    harness.publish(others(harness, backend))
    assert client.message().status == 200
    assert backend.requests == 1
    accepted.close()


def test_a_client_that_leaves_meanwhile_ends_the_question(harness: Harness) -> None:
    dying = Dying(harness)
    throttler = harness.service(dying.port)
    client = harness.get()
    dying.reset_a_request_unread()
    client.close()
    harness.wait_for(lambda: throttler.breaker.active == 0)
    dying.end()


def test_an_instance_that_resets_what_it_has_read_and_lives_is_not_asked_again(
    harness: Harness,
) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.reset()

    resetting, backend = harness.backend(script), harness.backend()
    harness.service(resetting, backend, concurrency=1)
    client = harness.get()
    harness.wait_for(lambda: len(resetting.connections) == 2, "the question whether it lives")
    harness.clock.forward(0.25)
    answer = client.message()
    assert (answer.status, answer.reason) == (502, b"upstream_failed")
    assert (resetting.requests, backend.requests) == (1, 0)


# Connections that cannot be made


def test_an_instance_that_refuses_is_passed_over(harness: Harness) -> None:
    backend = harness.backend()
    throttler = harness.service(unused_port(), backend, concurrency=1)
    assert harness.get().message().status == 200
    assert throttler.counters.retries == 1
    assert backend.requests == 1


def test_a_body_is_not_lost_on_the_way_to_another_instance(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(unused_port(), backend, concurrency=1)
    client = harness.connect()
    client.send(post(b"the body"))
    assert client.message().status == 200
    assert backend.received[0].endswith(b"\r\n\r\nthe body")


def test_a_request_waits_for_the_scaler_when_the_only_instance_refuses(harness: Harness) -> None:
    throttler = harness.service(unused_port())
    client = harness.get()
    harness.wait_for(lambda: throttler.counters.retries)
    harness.wait_for(lambda: harness.signals.demands)
    assert harness.signals.demands[0][1].waiting == 1
    backend = harness.backend()
    (working,) = harness.endpoints(backend)
    harness.publish([type(working)("i9", working.host, working.port)])
    assert client.message().status == 200
    assert harness.signals.drains == [("a-00001", "i0")]


def test_the_only_fixed_upstream_that_refuses_is_an_error_at_once(harness: Harness) -> None:
    throttler = harness.fixed(unused_port())
    answer = harness.get().message()
    assert (answer.status, answer.reason) == (502, b"upstream_unreachable")
    assert throttler.counters.retries == 0


def test_the_other_fixed_upstream_answers_for_one_that_refuses(harness: Harness) -> None:
    backend = harness.backend()
    harness.fixed(unused_port(), backend.port, concurrency=1)
    clients = [harness.get() for _ in range(5)]
    assert [client.message().status for client in clients] == [200] * 5


def test_an_instance_that_never_accepts_again_is_given_up_in_the_end(harness: Harness) -> None:
    throttler = harness.service(unused_port())
    throttler_wait = throttler.SUSPECT_SECONDS
    type(throttler).SUSPECT_SECONDS = 0.001
    try:
        answer = harness.get().message()
    finally:
        type(throttler).SUSPECT_SECONDS = throttler_wait
    assert (answer.status, answer.reason) == (502, b"upstream_unreachable")
    assert throttler.counters.retries == 7
