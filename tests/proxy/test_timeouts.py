"""Everything that may take too long, with the clock moved instead of waited for."""

from __future__ import annotations

import queue
import socket
import threading
from dataclasses import replace

import pytest

from tests.proxy.harness import Harness, get, post
from tests.proxy.wire import PATIENCE, Peer, answering, ok
from wakeful.config.model import Queue
from wakeful.events import Outage


def silent(peer: Peer) -> None:
    peer.message()
    peer.rest()


def test_a_head_that_does_not_end_is_given_up(harness: Harness) -> None:
    client = harness.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a")
    harness.beat()
    harness.clock.forward(9)
    client.send(b".te")  # progress buys no time
    harness.beat()
    harness.clock.forward(2)
    answer = client.message()
    assert (answer.status, answer.reason) == (408, b"head_timeout")
    assert client.ending() == "end"


def test_a_head_that_begins_behind_an_answer_is_given_up_as_well(harness: Harness) -> None:
    harness.service(harness.backend())
    client = harness.connect()
    client.send(get() + b"GET / HTTP/1.1\r\n")
    assert client.message().status == 200
    harness.beat()
    client.send(b"Host: a")
    harness.beat()
    harness.clock.forward(11)
    assert client.message().status == 408


@pytest.mark.parametrize(
    ("first", "then"), [(b"\r\n", b"\r\n"), (b"\r", b"\n"), (b"\r\n", b"\r"), (b"\r", b"")]
)
def test_nothing_but_empty_lines_buys_no_time_either(
    harness: Harness, first: bytes, then: bytes
) -> None:
    client = harness.connect()
    client.send(first)
    harness.beat()
    harness.clock.forward(9)
    client.send(then)
    harness.beat()
    harness.clock.forward(2)
    assert client.rest() == b""  # there is no request that an answer could be to


def test_an_idle_connection_is_closed_without_a_word(harness: Harness) -> None:
    harness.service(harness.backend())
    fresh, used = harness.connect(), harness.connect()
    used.send(get())
    assert used.message().status == 200
    harness.beat()
    harness.clock.forward(74)
    used.send(get())
    assert used.message().status == 200
    harness.clock.forward(2)
    assert fresh.ending() == "end"
    harness.sweep()
    assert len(harness.plane.connections) == 1
    harness.clock.forward(74)
    assert used.ending() == "end"


def test_an_instance_that_does_not_begin_to_answer_in_time(harness: Harness) -> None:
    backend = harness.backend(silent)
    harness.service(backend, response_start_timeout=5.0)
    client = harness.get()
    harness.wait_for(lambda: backend.requests)
    harness.clock.forward(6)
    answer = client.message()
    assert (answer.status, answer.reason) == (504, b"response_timeout")


def test_a_request_that_takes_too_long_in_all(harness: Harness) -> None:
    backend = harness.backend(silent)
    harness.service(backend, timeout=5.0)
    client = harness.get()
    harness.wait_for(lambda: backend.requests)
    harness.clock.forward(6)
    answer = client.message()
    assert (answer.status, answer.reason) == (504, b"request_timeout")


def test_a_limit_that_was_changed_is_that_of_the_requests_from_then_on(harness: Harness) -> None:
    backend = harness.backend(silent)
    throttler = harness.service(backend, response_start_timeout=5.0)
    template = replace(throttler.template, response_start_timeout=20.0)
    harness.call(lambda: throttler.retune(replace(throttler.revision, template=template)))
    client = harness.get()
    harness.wait_for(lambda: backend.requests)
    harness.clock.forward(19)
    harness.sweep()
    assert throttler.breaker.active == 1
    harness.clock.forward(2)
    assert client.message().reason == b"response_timeout"


def test_what_a_request_waited_is_part_of_its_whole_time(harness: Harness) -> None:
    throttler = harness.service(timeout=10.0, response_start_timeout=10.0)
    client = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting)
    harness.clock.forward(6)
    harness.sweep()
    backend = harness.backend(silent)
    harness.publish(harness.endpoints(backend))
    harness.wait_for(lambda: backend.requests)
    harness.clock.forward(3)
    harness.sweep()
    assert throttler.breaker.active == 1
    harness.clock.forward(2)
    harness.sweep()
    assert throttler.breaker.active == 0
    assert client.message().reason == b"request_timeout"


def test_an_answer_that_began_in_time_may_take_longer_than_its_beginning(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        late.wait(PATIENCE)
        peer.send(b"later")

    late = threading.Event()
    harness.service(harness.backend(script), response_start_timeout=5.0, timeout=60.0)
    client = harness.get()
    client.head()
    harness.clock.forward(20)
    harness.sweep()
    late.set()
    assert client.take(10) == b"firstlater"


def test_an_answer_that_takes_too_long_in_all_is_cut(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        assert peer.ending() in ("end", "reset")

    harness.service(harness.backend(script), timeout=60.0)
    client = harness.get()
    assert client.head().status == 200
    harness.clock.forward(61)
    assert client.ending() in ("end", "reset")
    assert client.received.endswith(b"first")


class Dripping:
    """An instance that sends a piece of its answer when it is told to."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes] = queue.Queue()
        self.ended: list[str] = []

    def script(self, peer: Peer) -> None:
        peer.message()
        try:
            while piece := self._pieces.get(timeout=PATIENCE):
                peer.send(piece)
        except OSError:
            pass  # it was cut off
        self.ended.append(peer.ending())

    def send(self, piece: bytes) -> None:
        self._pieces.put(piece)


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_an_answer_of_which_nothing_comes_is_cut(harness: Harness, version: bytes) -> None:
    dripping = Dripping()
    harness.service(harness.backend(dripping.script), response_idle_timeout=10.0)
    client = harness.connect()
    client.send(get().replace(b"HTTP/1.1", version))
    dripping.send(b"HTTP/1.1 200 OK\r\n\r\n")
    client.head()
    for piece in (b"one", b"two", b"three", b"four"):  # 32 s in all
        harness.clock.forward(8)
        harness.sweep()
        dripping.send(piece)
        client.until(piece)
    harness.clock.forward(8)
    harness.sweep()
    assert harness.call(harness.plane.in_hand) == 1
    harness.clock.forward(3)
    # HTTP/1.0 would take the end for the end of the answer.
    assert client.ending() == ("end" if version == b"HTTP/1.1" else "reset")
    assert not client.received.endswith(b"0\r\n\r\n")
    dripping.send(b"")
    harness.wait_for(lambda: dripping.ended)


def test_a_silence_within_an_answer_is_no_matter_without_a_limit(harness: Harness) -> None:
    dripping = Dripping()
    harness.service(harness.backend(dripping.script), timeout=3600.0)
    client = harness.get()
    dripping.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    client.head()
    harness.clock.forward(3000)
    harness.sweep()
    dripping.send(b"hello")
    dripping.send(b"")
    assert client.take(5) == b"hello"


# Seconds of silence and in all; 20 pass.
@pytest.mark.parametrize(
    ("before", "after"),
    [((10.0, 60.0), (0.0, 60.0)), ((10.0, 60.0), (30.0, 60.0)), ((0.0, 15.0), (10.0, 60.0))],
)
def test_an_answer_is_not_cut_by_a_limit_that_is_gone_or_was_not_there_when_it_began(
    harness: Harness, before: tuple[float, float], after: tuple[float, float]
) -> None:
    dripping = Dripping()
    silence, whole = before
    throttler = harness.service(
        harness.backend(dripping.script), response_idle_timeout=silence, timeout=whole
    )
    client = harness.get()
    dripping.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    client.head()
    silence, whole = after
    template = replace(throttler.template, response_idle_timeout=silence, timeout=whole)
    harness.call(lambda: throttler.retune(replace(throttler.revision, template=template)))
    harness.clock.forward(20)
    harness.sweep()
    dripping.send(b"hello")
    dripping.send(b"")
    assert client.take(5) == b"hello"


def test_what_passed_in_silence_does_not_put_off_the_end_of_the_whole_time(
    harness: Harness,
) -> None:
    dripping = Dripping()
    harness.service(harness.backend(dripping.script), response_idle_timeout=10.0, timeout=12.0)
    client = harness.get()
    dripping.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    client.head()
    harness.clock.forward(8)
    harness.sweep()
    dripping.send(b"hello")
    client.until(b"hello")
    harness.clock.forward(5)
    assert client.ending() == "end"
    dripping.send(b"")
    harness.wait_for(lambda: dripping.ended)


def test_waiting_too_long_behind_others(harness: Harness) -> None:
    backend = harness.backend(silent)
    throttler = harness.service(backend, concurrency=1, queue=Queue(timeout=5.0))
    harness.get()
    harness.wait_for(lambda: backend.requests)
    client = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting)
    harness.clock.forward(6)
    answer = client.message()
    assert (answer.status, answer.reason) == (504, b"queue_timeout")
    assert backend.requests == 1


def test_waiting_too_long_for_a_first_instance(harness: Harness) -> None:
    throttler = harness.service(queue=Queue(timeout=5.0))
    client = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting)
    assert [load.waiting for _, load in harness.signals.demands] == [1]
    harness.clock.forward(6)
    answer = client.message()
    assert (answer.status, answer.reason) == (504, b"cold_start_timeout")
    client.send(get())
    harness.wait_for(lambda: throttler.breaker.waiting)


def test_the_whole_time_is_over_before_the_queues(harness: Harness) -> None:
    throttler = harness.service(queue=Queue(timeout=50.0), timeout=5.0)
    client = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting)
    harness.clock.forward(6)
    answer = client.message()
    assert (answer.status, answer.reason) == (504, b"request_timeout")


def test_a_request_that_arrives_in_time_is_held_and_served(harness: Harness) -> None:
    throttler = harness.service()
    client = harness.connect()
    client.send(post(b"held body"))
    harness.wait_for(lambda: throttler.breaker.waiting)
    backend = harness.backend()
    harness.publish(harness.endpoints(backend))
    assert client.message().status == 200
    assert backend.received[0].endswith(b"\r\n\r\nheld body")


def test_a_full_queue_refuses_at_once(harness: Harness) -> None:
    throttler = harness.service(queue=Queue(limit=2))
    waiting = [harness.get() for _ in range(2)]
    harness.wait_for(lambda: throttler.breaker.waiting == 2)
    client = harness.get()
    answer = client.message()
    assert (answer.status, answer.reason, answer.get("Retry-After")) == (503, b"queue_full", b"1")
    harness.publish(harness.endpoints(harness.backend()))
    assert [one.message().status for one in waiting] == [200, 200]
    client.send(get())
    assert client.message().status == 200


def test_an_outage_answers_those_who_wait_and_those_who_come(harness: Harness) -> None:
    throttler = harness.service()
    early = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting)
    outage = Outage("start_failed", "exit code 3", until=harness.clock() + 20)
    harness.publish((), outage=outage)
    late = harness.get()
    for client in (early, late):
        answer = client.message()
        assert (answer.status, answer.reason) == (503, b"start_failed")
        assert answer.body == b"exit code 3\n"
        assert 15 <= int(answer.get("Retry-After") or b"") <= 20
    harness.clock.forward(21)
    late.send(get())
    harness.wait_for(lambda: throttler.breaker.waiting)
    harness.publish(harness.endpoints(harness.backend()))
    assert late.message().status == 200


def test_an_outage_beside_a_running_instance_refuses_nobody(harness: Harness) -> None:
    outage = Outage("start_failed", "exit code 3", until=harness.clock() + 20)
    harness.service(harness.backend(), outage=outage)
    assert harness.get().message().status == 200


def test_idle_connections_to_instances_are_closed_in_time(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.get()
    assert client.message().status == 200
    harness.beat()
    harness.clock.forward(61)
    peer = backend.connections[0]
    harness.wait_for(lambda: peer.sock.fileno() < 0)  # its script read the end
    client.send(get())
    assert client.message().status == 200
    assert len(backend.connections) == 2


BODY = b"x" * 60_000  # less than the water mark at which an instance is made to wait


def narrow(harness: Harness) -> Peer:
    """A client that has its last answer, most of it still in the proxy's hands."""
    harness.service(harness.backend(answering(ok(BODY))))
    client = harness.connect(receive_buffer=4096)
    harness.wait_for(lambda: harness.plane.connections)
    (connection,) = harness.plane.connections
    transport = connection._transport
    assert transport is not None
    sock = transport.get_extra_info("socket")
    harness.call(lambda: sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096))
    client.send(get(fields=b"Connection: close\r\n"))
    harness.wait_for(lambda: connection._closing)
    assert harness.call(transport.get_write_buffer_size) > 20_000
    return client


def test_a_slow_reader_gets_the_last_answer_whole(harness: Harness) -> None:
    """It is not lost to the time that is given to a client for closing its side."""
    client = narrow(harness)
    client.head()
    got = b""
    while len(got) < len(BODY):
        harness.clock.forward(1.0)
        harness.sweep()
        got += client.take(min(4000, len(BODY) - len(got)))
    assert client.ending() == "end"


def test_a_client_that_reads_nothing_of_the_last_answer_is_given_up(harness: Harness) -> None:
    narrow(harness)
    for seconds in (3, 70):
        harness.clock.forward(seconds)
        harness.sweep()
        assert len(harness.plane.connections) == 1
    for _ in range(4):  # the kernel may have taken a little more at first
        harness.clock.forward(80)
        harness.sweep()
    assert len(harness.plane.connections) == 0


def test_many_connections_are_looked_at_a_few_at_a_time(harness: Harness) -> None:
    harness.service(harness.backend())
    clients = [harness.connect() for _ in range(150)]
    for client in clients:
        client.send(get())
        assert client.message().status == 200
    plane = harness.plane

    def look_once() -> int:
        assert plane._sweeping is not None
        plane._sweeping.cancel()  # no other sweep comes, nor is one set
        harness.clock.forward(plane.limits.idle_timeout + 1)
        plane._look([*plane.connections], 0)
        return sum(one._closing for one in plane.connections)

    assert harness.call(look_once) == 64
    for client in clients:
        assert client.ending() == "end"
