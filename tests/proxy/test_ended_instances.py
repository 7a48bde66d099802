"""Instances that end without a word: their network went with them, and no connection says so."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.proxy.harness import Harness, get, post
from tests.proxy.test_upgrades import ASK, SWITCH
from tests.proxy.wire import Ended, Peer, Script, answering, ok


def saying(begun: threading.Event, words: bytes = b"") -> Script:
    """Read a request, say so much, and then nothing for ever."""

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(words)
        begun.set()
        peer.ending()

    return script


def pass_on(harness: Harness) -> None:
    """Whatever was on its way when the instance ended has come by now."""
    harness.clock.forward(1.1)
    harness.sweep()


def test_a_request_in_an_instance_that_has_ended_is_answered_soon(harness: Harness) -> None:
    begun = threading.Event()
    throttler = harness.service(harness.backend(saying(begun)))
    client = harness.connect()
    client.send(get())
    assert begun.wait(10)
    harness.publish([], ended=("i0",))
    assert throttler.breaker.active == 1  # its answer may be on its way
    pass_on(harness)
    answer = client.message()
    assert (answer.status, answer.reason) == (502, b"upstream_failed")
    assert throttler.breaker.active == 0
    assert harness.signals.drains == [("a-00001", "i0")]


def test_an_answer_that_comes_after_the_news_is_passed_on(harness: Harness) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.message()
        begun.set()
        go_on.wait(10)
        peer.send(ok(b"late"))
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get())
    assert begun.wait(10)
    harness.publish([], ended=("i0",))
    harness.sweep()
    go_on.set()
    assert client.message().body == b"late"
    pass_on(harness)
    client.send(get(host=b"nobody.test"))  # the client's connection is as good as ever
    assert client.message().status == 404


def test_an_answer_that_an_ended_instance_had_begun_is_cut(harness: Harness) -> None:
    begun = threading.Event()
    part = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst"
    harness.service(harness.backend(saying(begun, part)))
    client = harness.connect()
    client.send(get())
    client.until(b"first")
    harness.publish([], ended=("i0",))
    pass_on(harness)
    with pytest.raises((Ended, ConnectionResetError)):
        client.take(4)


def test_an_upgraded_connection_into_an_ended_instance_is_cut(harness: Harness) -> None:
    begun = threading.Event()
    throttler = harness.service(harness.backend(saying(begun, SWITCH)))
    client = harness.connect()
    client.send(get(fields=ASK))
    assert client.head().status == 101
    harness.publish([], ended=("i0",))
    pass_on(harness)
    with pytest.raises((Ended, ConnectionResetError)):
        client.take(1)
    harness.wait_for(lambda: throttler.breaker.active == 0)


def test_what_had_not_reached_the_instance_goes_to_another(harness: Harness) -> None:
    """A connection to it that is neither made nor refused, and then its end."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as waiting:
        port: int = full.getsockname()[1]
        waiting.connect(("127.0.0.1", port))  # the one that fits
        throttler = harness.service(port)
        client = harness.connect()
        client.send(post(b"whole"))
        harness.wait_for(lambda: throttler.breaker.active == 1)
        _, other = harness.endpoints(port, harness.backend(answering(ok(b"other"))))
        harness.publish([other], ended=("i0",))
        # At once: the address may be another's by now, and that might answer.
        assert client.message().body == b"other"


def test_other_instances_have_nothing_to_do_with_it(harness: Harness) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.message()
        begun.set()
        go_on.wait(10)
        peer.send(ok(b"unharmed"))
        peer.ending()

    backend = harness.backend(script)
    throttler = harness.service(backend)
    client = harness.connect()
    client.send(get())
    assert begun.wait(10)
    (its, _) = harness.endpoints(backend, 1)
    harness.publish([its], ended=("i1",))
    pass_on(harness)
    assert throttler.breaker.active == 1
    go_on.set()
    assert client.message().body == b"unharmed"
