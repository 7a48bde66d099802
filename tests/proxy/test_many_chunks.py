"""Many small chunks cost much for their bytes: who sends them is not served before all others."""

from __future__ import annotations

import threading

from tests.proxy.harness import Harness, get
from tests.proxy.wire import PATIENCE, Peer, ok
from wakeful.proxy.chunked import MANY_CHUNKS
from wakeful.proxy.downstream import Downstream
from wakeful.proxy.upstream import Upstream

TINY = b"1\r\na\r\n"
FEW = TINY * MANY_CHUNKS
MANY = TINY * (MANY_CHUNKS + 1)
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = 200_000


def joined(harness: Harness) -> tuple[Downstream, Upstream]:
    """The client's connection and the instance's, of the one request that there is."""
    (connection,) = harness.plane.connections
    exchange = connection._current
    assert exchange is not None
    assert exchange._upstream is not None
    return connection, exchange._upstream


def test_they_arrive_in_either_direction(harness: Harness) -> None:
    asked = []

    def script(peer: Peer) -> None:
        asked.append(peer.message())
        peer.send(HEAD + TINY * CHUNKS + b"0\r\n\r\n")

    harness.service(harness.backend(script))
    client = harness.connect()
    for turn in range(2):
        client.send(POST + TINY * CHUNKS + b"0\r\n\r\n")
        assert client.message().body == b"a" * CHUNKS
        assert asked[turn].body == b"a" * CHUNKS


def test_a_client_that_sends_them_is_read_again_after_all_others(harness: Harness) -> None:
    harness.service(harness.backend())
    client = harness.connect()
    client.send(POST)
    harness.wait_for(lambda: harness.plane.connections)
    (connection,) = harness.plane.connections
    harness.wait_for(lambda: connection._current)
    transport = connection._transport
    assert transport is not None

    def read(data: bytes) -> bool:
        connection.data_received(data)
        return transport.is_reading()

    assert harness.call(lambda: read(FEW) and read(FEW))
    assert not harness.call(lambda: read(MANY))
    harness.wait_for(transport.is_reading)


def test_an_instance_that_sends_them_is_read_again_after_all_others(harness: Harness) -> None:
    over = threading.Event()

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(HEAD)
        assert over.wait(PATIENCE)
        peer.send(b"0\r\n\r\n")
        peer.message()
        peer.send(ok())

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get())
    client.head()
    connection, upstream = joined(harness)

    def read(data: bytes, *, paused: bool = False) -> bool:
        upstream.data_received(data)
        if paused:
            connection.pause_writing()
        return upstream.transport.is_reading()

    assert harness.call(lambda: read(FEW) and read(FEW))
    assert not harness.call(lambda: read(MANY))
    harness.wait_for(upstream.transport.is_reading)
    assert not harness.call(lambda: read(MANY, paused=True))
    harness.beat()
    assert not harness.call(upstream.transport.is_reading)  # its client does not keep up
    harness.call(connection.resume_writing)
    assert harness.call(upstream.transport.is_reading)
    over.set()
    client.until(b"\r\n0\r\n\r\n")
    client.send(get())
    assert client.message().status == 200


def test_one_read_of_them_is_taken_apart_in_as_many_turns(harness: Harness) -> None:
    asked = []

    def script(peer: Peer) -> None:
        while True:
            asked.append(peer.message())
            peer.send(ok())

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    client.send(POST)
    harness.wait_for(lambda: backend.requests)
    (connection,) = harness.plane.connections
    exchange = connection._current
    assert exchange is not None

    def read() -> int:
        connection.data_received(TINY * (3 * MANY_CHUNKS) + b"0\r\n\r\n" + get(b"/next"))
        return exchange.received

    assert harness.call(read) == MANY_CHUNKS
    assert client.message().status == 200
    assert client.message().status == 200
    assert [message.body for message in asked] == [b"a" * (3 * MANY_CHUNKS), b""]
    assert b"GET /next HTTP/1.1\r\n" in backend.received[0]


def test_what_makes_no_sense_behind_them_is_refused(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(POST + MANY + b"no size\r\n" + get(b"/smuggled"))
    assert client.message().status == 400
    client.ending()
    assert not backend.requests


def test_an_answer_of_them_is_whole_though_its_instance_is_gone(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(HEAD + TINY)
        peer.message()

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get())
    client.until(TINY)
    _, upstream = joined(harness)

    def last_words() -> None:
        upstream.data_received(TINY * (3 * MANY_CHUNKS) + b"0\r\n\r\n")
        upstream.transport.abort()  # as if it had been reset

    harness.call(last_words)
    client.until(b"\r\n0\r\n\r\n")
    assert client.received.count(b"a") >= 3 * MANY_CHUNKS
    client.send(get())
    client.head()


def test_who_leaves_in_the_middle_of_them_leaves_nothing(harness: Harness) -> None:
    throttler = harness.service(harness.backend())
    client = harness.connect()
    client.send(POST)
    harness.wait_for(lambda: harness.plane.connections)
    (connection,) = harness.plane.connections
    harness.wait_for(lambda: connection._current)
    transport = connection._transport
    assert transport is not None

    def leave() -> None:
        connection.data_received(TINY * (3 * MANY_CHUNKS))
        transport.abort()

    harness.call(leave)
    harness.wait_for(lambda: not harness.plane.connections)
    assert throttler.breaker.active == throttler.stats.in_hand == 0


def test_who_leaves_in_the_middle_of_such_an_answer_leaves_nothing(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(HEAD)
        peer.rest()

    throttler = harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get())
    client.head()
    connection, upstream = joined(harness)
    transport = connection._transport
    assert transport is not None

    def leave() -> None:
        upstream.data_received(TINY * (3 * MANY_CHUNKS))
        transport.abort()

    harness.call(leave)
    harness.wait_for(lambda: not harness.plane.connections)
    harness.beat()
    assert throttler.breaker.active == throttler.stats.in_hand == 0
