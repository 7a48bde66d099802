"""Slots and the queue, seen from outside: nobody over the limit, nobody lost, nothing kept."""

from __future__ import annotations

import threading

import pytest

from tests.proxy.harness import Harness, get, post
from tests.proxy.wire import PATIENCE, Peer, answering, ok
from wakeful.events import Endpoint


class Counting:
    """Holds each request until released; knows how many are in it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = self.total = 0
        self.release = threading.Semaphore(0)

    def script(self, peer: Peer) -> None:
        while True:
            peer.message()
            with self.lock:
                self.now += 1
                self.total += 1
                self.most = max(self.most, self.now)
            assert self.release.acquire(timeout=PATIENCE)
            with self.lock:
                self.now -= 1
            peer.send(ok())


def test_an_instance_never_has_more_than_its_limit_and_everybody_is_answered(
    harness: Harness,
) -> None:
    counting = Counting()
    throttler = harness.service(harness.backend(counting.script), concurrency=2)
    clients = [harness.get() for _ in range(30)]
    harness.wait_for(lambda: throttler.breaker.waiting == 28)
    harness.wait_for(lambda: counting.now == 2)
    for _ in range(30):
        counting.release.release()
    assert [client.message().status for client in clients] == [200] * 30
    assert (counting.most, counting.total) == (2, 30)


def test_those_who_wait_are_served_in_order(harness: Harness) -> None:
    backend = harness.backend()
    throttler = harness.service(concurrency=1)
    clients = []
    for n in range(10):
        clients.append(harness.get(b"/%d" % n))
        harness.wait_for(lambda: throttler.breaker.waiting == len(clients))
    harness.publish(harness.endpoints(backend))
    assert [client.message().status for client in clients] == [200] * 10
    (stream,) = backend.received
    assert [line.split()[1] for line in stream.split(b"\r\n") if line[:4] == b"GET "] == [
        b"/%d" % n for n in range(10)
    ]


def test_a_client_that_leaves_the_queue_is_forgotten(harness: Harness) -> None:
    counting = Counting()
    backend = harness.backend(counting.script)
    throttler = harness.service(backend, concurrency=1)
    first = harness.get()
    harness.wait_for(lambda: counting.now == 1)
    second = harness.get(b"/gone")
    harness.wait_for(lambda: throttler.breaker.waiting == 1)
    second.close()
    harness.wait_for(lambda: throttler.breaker.waiting == 0)
    assert throttler.stats.in_hand == 1
    counting.release.release()
    assert first.message().status == 200
    assert b"/gone" not in b"".join(backend.received)


def test_a_client_that_leaves_in_the_middle_of_an_answer_is_let_go_at_once(
    harness: Harness,
) -> None:
    endings = []

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        endings.append(peer.ending())

    throttler = harness.service(harness.backend(script))
    client = harness.get()
    client.until(b"hello")
    client.close()
    harness.wait_for(lambda: endings)
    harness.wait_for(lambda: throttler.breaker.active == 0)


def test_a_client_that_leaves_while_a_connection_is_made_is_let_go(harness: Harness) -> None:
    backend = harness.backend()
    throttler = harness.service(backend)
    release = harness.stall()
    clients = [harness.get() for _ in range(20)]
    for client in clients:
        client.close()
    release()
    harness.wait_for(lambda: not harness.plane.connections)
    assert throttler.breaker.active == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_no_whole_request(
    harness: Harness, chunked: bool
) -> None:
    whole = []

    def script(peer: Peer) -> None:
        whole.append(peer.message())

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    client.send(post(b"half and the rest", chunked=chunked)[:-8])
    harness.wait_for(lambda: b"half" in b"".join(backend.received))
    client.close()
    backend.join()
    assert whole == []


def test_a_vanished_instance_finishes_what_it_has_and_is_drained_once(harness: Harness) -> None:
    counting = Counting()
    throttler = harness.service(harness.backend(counting.script), concurrency=10)
    clients = [harness.get() for _ in range(3)]
    harness.wait_for(lambda: counting.now == 3)
    new = harness.backend(answering(ok(b"new")))
    harness.publish([Endpoint("i1", "127.0.0.1", new.port)])
    assert harness.signals.drains == []
    assert harness.get().message().body == b"new"
    for _ in range(3):
        counting.release.release()
    assert [client.message().body for client in clients] == [b"hello"] * 3
    harness.wait_for(lambda: harness.signals.drains)
    clients[0].send(get())
    assert clients[0].message().body == b"new"
    assert harness.signals.drains == [("a-00001", "i0")]
    assert throttler.load().busy == ()


def test_an_idle_instance_that_vanishes_is_drained_at_once_and_its_connections_close(
    harness: Harness,
) -> None:
    backend = harness.backend()
    harness.service(backend)
    assert harness.get().message().status == 200
    harness.publish([])
    assert harness.signals.drains == [("a-00001", "i0")]
    peer = backend.connections[0]
    harness.wait_for(lambda: peer.sock.fileno() < 0)


def test_the_scaler_is_told_once_a_request_has_to_wait(harness: Harness) -> None:
    counting = Counting()
    throttler = harness.service(harness.backend(counting.script), concurrency=1)
    client = harness.get()
    harness.wait_for(lambda: counting.now == 1)
    assert harness.signals.demands == []
    other = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting == 1)
    ((revision, load),) = harness.signals.demands
    assert (revision, load.active, load.waiting, load.busy) == ("a-00001", 1, 1, (("i0", 1),))
    counting.release.release(2)
    assert client.message().status == other.message().status == 200


# The counters


def test_what_happened_is_counted_by_method_and_status(harness: Harness) -> None:
    backend = harness.backend(
        answering(ok(), ok(b"12345"), b"HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n")
    )
    throttler = harness.service(backend, max_request_body=100)
    client = harness.connect()
    for message in (
        get(),
        post(b"abc"),
        get(),
        get().replace(b"GET", b"PROPFIND"),
        post(b"x" * 101),
    ):
        client.send(message)
        refusal = client.message()
    harness.wait_for(lambda: throttler.stats.in_hand == 0)
    durations = throttler.counters.durations
    assert {key: sum(one.counts) for key, one in durations.items()} == {
        (b"GET", 200): 1,
        (b"POST", 200): 1,
        (b"GET", 404): 1,
        (b"_OTHER", 404): 1,
        (b"POST", 413): 1,
    }
    assert throttler.counters.sent == 10 + len(refusal.body)
    assert throttler.counters.rejected == {"body_too_large": 1}


def test_cold_starts_are_counted_with_the_time_until_the_answer(harness: Harness) -> None:
    throttler = harness.service()
    client = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting)
    harness.clock.forward(3)
    harness.publish(harness.endpoints(harness.backend()))
    assert client.message().status == 200
    client.send(get())
    assert client.message().status == 200
    cold = throttler.counters.cold_starts
    assert sum(cold.counts) == 1
    assert 3 <= cold.sum < 60


def test_samples_hold_the_traffic_since_the_last_one(harness: Harness) -> None:
    throttler = harness.service()
    harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting)
    harness.clock.forward(10)
    sample = harness.call(lambda: harness.plane.samples(harness.clock()))["a-00001"]
    assert (sample.requests, sample.load.waiting) == (1, 1)
    assert 0.9 < sample.concurrency <= 1
    harness.publish(harness.endpoints(harness.backend()))
    harness.wait_for(lambda: throttler.stats.in_hand == 0)
    assert harness.call(lambda: harness.plane.samples(harness.clock()))["a-00001"].requests == 0
    assert harness.call(lambda: harness.plane.samples(harness.clock())) == {}
