"""A data plane that is told to stop finishes what it has."""

from __future__ import annotations

import threading

import pytest

from tests.proxy.harness import Harness, get
from tests.proxy.wire import PATIENCE, Peer, ok


def test_open_requests_are_finished_and_idle_connections_close(harness: Harness) -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        peer.message()
        gate.wait(PATIENCE)
        peer.send(ok())
        peer.ending()

    backend = harness.backend(script)
    harness.service(backend)
    idle, busy = harness.connect(), harness.get()
    harness.wait_for(lambda: backend.requests and len(harness.plane.connections) == 2)
    finished = harness.spawn(harness.plane.drain())
    assert idle.ending() == "end"
    with pytest.raises(ConnectionRefusedError):
        harness.connect()
    gate.set()
    answer = busy.message()
    assert (answer.status, answer.get("Connection")) == (200, b"close")
    assert busy.ending() == "end"
    busy.close()
    finished()


def test_a_connection_whose_answer_had_begun_closes_after_it(harness: Harness) -> None:
    """Its head had promised to keep it."""
    gate = threading.Event()

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ok(b"12")[:-1])
        gate.wait(PATIENCE)
        peer.send(b"2")
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.get()
    client.until(b"\r\n\r\n1")
    finished = harness.spawn(harness.plane.drain())
    harness.wait_for(lambda: harness.plane.draining)
    gate.set()
    assert client.rest() == b"2"
    finished()


def test_requests_that_wait_are_served_before_the_end(harness: Harness) -> None:
    throttler = harness.service()
    client = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting)
    finished = harness.spawn(harness.plane.drain())
    harness.publish(harness.endpoints(harness.backend()))
    assert client.message().status == 200
    client.close()
    finished()


def test_pipelined_requests_are_not_begun_after_an_answer_that_says_close(
    harness: Harness,
) -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        peer.message()
        gate.wait(PATIENCE)
        peer.send(ok())
        peer.ending()

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    client.send(get() + get(b"/second"))
    harness.wait_for(lambda: backend.requests)
    finished = harness.spawn(harness.plane.drain())
    harness.wait_for(lambda: harness.plane.draining)
    gate.set()
    assert client.message().get("Connection") == b"close"
    assert client.ending() == "end"
    client.close()
    finished()
    assert backend.requests == 1


def test_close_cuts_what_is_left(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.ending()

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.get()
    harness.wait_for(lambda: backend.requests)
    harness.call(harness.plane.close)
    assert client.ending() == "reset"


def test_a_forgotten_revision_is_drained(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    assert harness.get().message().status == 200
    harness.call(lambda: harness.plane.route([]))
    harness.call(lambda: harness.plane.forget("a-00001"))
    assert harness.signals.drains == [("a-00001", "i0")]
    assert harness.get().message().status == 404
