"""Kept connections that end: no idempotent request is lost to it, and nothing else is sent twice.

RFC 9110 §9.2.2, RFC 9112 §9.3.1, §9.5: the end of an idle connection may cross
the next request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.proxy.harness import Harness, get, post
from tests.proxy.wire import PATIENCE, Backend, Peer, ok

BODY = b"Content-Length: 4\r\n\r\nbody"
IDEMPOTENT = {
    "GET": get(b"/second"),
    "HEAD": b"HEAD /second HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "OPTIONS": b"OPTIONS /second HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "DELETE": b"DELETE /second HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "PUT": b"PUT /second HTTP/1.1\r\nHost: a.test\r\n" + BODY,
    "GET with a body": b"GET /second HTTP/1.1\r\nHost: a.test\r\n" + BODY,
}
ONCE = {
    "POST": b"POST /second HTTP/1.1\r\nHost: a.test\r\n" + BODY,
    "POST of nothing": b"POST /second HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
    "PATCH": b"PATCH /second HTTP/1.1\r\nHost: a.test\r\n" + BODY,
    "LOCK": b"LOCK /second HTTP/1.1\r\nHost: a.test\r\n" + BODY,
}
LEAVE = {"close": Peer.close, "reset": Peer.reset}
# A server may close in stages (RFC 9112 §9.6): then the kernel takes a request that nobody reads.
STAGES = {"stages": Peer.end}
IDLE = 0.02  # seconds after which a connection is looked at before it is used


class Ending:
    """Answers all it is asked, but ends its first connection when it is told to."""

    def __init__(self, harness: Harness, leave: str) -> None:
        self._leave = (LEAVE | STAGES)[leave]
        self._told, self._left = threading.Event(), threading.Event()
        self.backend: Backend = harness.backend(self._script)
        harness.service(self.backend)
        self.client = harness.connect()
        self.client.send(get(b"/first"))
        assert self.client.message().status == 200
        harness.beat()

    def _script(self, peer: Peer) -> None:
        if not peer.message().start.endswith(b" /first HTTP/1.1"):
            peer.send(ok() if b"HEAD " not in peer.received else ok()[:-5])
            peer.ending()
            return
        peer.send(ok())
        assert self._told.wait(PATIENCE)
        self._leave(peer)
        self._left.set()
        if self._leave is Peer.end:
            peer.ending()

    def end(self) -> None:
        self._told.set()
        assert self._left.wait(PATIENCE)


def taking_along(leave: str, *, always: bool = False) -> Callable[[Peer], None]:
    """Connections that end with the second request read; or else the first of them only."""

    def script(peer: Peer) -> None:
        while True:
            start = peer.message().start
            kept = b" /first " in peer.received
            if b" /second " in start and (always or kept):
                LEAVE[leave](peer)
                return
            peer.send(ok()[:-5] if start.startswith(b"HEAD ") else ok())

    return script


def seconds(backend: Backend) -> list[int]:
    """How often the second request came, over each connection."""
    return [data.count(b" /second HTTP/1.1\r\n") for data in backend.received]


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("case", IDEMPOTENT)
def test_an_idempotent_request_that_crosses_the_end_of_a_connection_is_answered(
    harness: Harness, case: str, leave: str
) -> None:
    ending = Ending(harness, leave)
    release = harness.stall()  # the request is there before the end is noticed
    ending.client.send(IDEMPOTENT[case])
    ending.end()
    release()
    assert ending.client.message(bodiless=case == "HEAD").status == 200
    assert len(ending.backend.connections) == 2


@pytest.mark.parametrize("leave", LEAVE | STAGES)
@pytest.mark.parametrize("case", IDEMPOTENT | ONCE)
def test_no_request_is_sent_over_a_connection_that_ended_while_it_was_idle(
    harness: Harness, case: str, leave: str
) -> None:
    """Though the loop has not been told of the end yet."""
    ending = Ending(harness, leave)
    harness.clock.forward(IDLE)
    release = harness.stall()
    ending.client.send((IDEMPOTENT | ONCE)[case])
    ending.end()
    release()
    assert ending.client.message(bodiless=case == "HEAD").status == 200
    assert seconds(ending.backend) == [0, 1]


@pytest.mark.parametrize("leave", LEAVE | STAGES)
@pytest.mark.parametrize("case", IDEMPOTENT | ONCE)
def test_a_connection_that_has_ended_costs_no_request(
    harness: Harness, case: str, leave: str
) -> None:
    ending = Ending(harness, leave)
    ending.end()
    harness.beat()
    ending.client.send((IDEMPOTENT | ONCE)[case])
    assert ending.client.message(bodiless=case == "HEAD").status == 200


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("case", ONCE)
def test_any_other_request_that_crosses_the_end_is_sent_once_at_most(
    harness: Harness, case: str, leave: str
) -> None:
    ending = Ending(harness, leave)
    release = harness.stall()
    ending.client.send(ONCE[case])
    ending.end()
    release()
    answer = ending.client.message()
    assert (answer.status, sum(seconds(ending.backend))) in ((200, 1), (502, 0))


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("case", IDEMPOTENT)
def test_an_idempotent_request_that_a_kept_connection_took_along_is_answered(
    harness: Harness, case: str, leave: str
) -> None:
    """It was read and not answered, by an instance that goes on (§9.2.2)."""
    harness.service(backend := harness.backend(taking_along(leave)))
    client = harness.connect()
    client.send(get(b"/first"))
    assert client.message().status == 200
    client.send(IDEMPOTENT[case])
    harness.wait_for(lambda: len(backend.connections) == 2)
    harness.clock.forward(0.25)
    assert client.message(bodiless=case == "HEAD").status == 200
    assert seconds(backend) == [1, 1]


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("case", IDEMPOTENT | ONCE)
def test_a_request_that_each_connection_takes_along_is_not_sent_for_ever(
    harness: Harness, case: str, leave: str
) -> None:
    harness.service(backend := harness.backend(taking_along(leave, always=True)))
    client = harness.connect()
    client.send(get(b"/first"))
    assert client.message().status == 200
    client.send((IDEMPOTENT | ONCE)[case])
    assert client.message(bodiless=case == "HEAD").status == 502
    assert sum(seconds(backend)) == (2 if case in IDEMPOTENT else 1)


@pytest.mark.parametrize("leave", LEAVE)
def test_a_body_that_came_in_parts_is_not_sent_again_without_its_beginning(
    harness: Harness, leave: str
) -> None:
    ending = Ending(harness, leave)
    release = harness.stall()
    ending.client.send(post(b"x" * 200_000).replace(b"POST /", b"PUT /second", 1))
    ending.end()
    release()
    answer = ending.client.message()
    whole = [
        data for data in ending.backend.received if data.endswith(b"\r\n\r\n" + b"x" * 200_000)
    ]
    assert (answer.status, len(whole)) in ((200, 1), (502, 0))
