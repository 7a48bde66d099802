"""Everything that may take too long, with the clock moved instead of waited for."""

from __future__ import annotations

import socket
import threading

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
