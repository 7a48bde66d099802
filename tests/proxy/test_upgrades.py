"""WebSockets and other switches of protocol: one pipe, from the first byte to the last."""

from __future__ import annotations

import threading

import pytest

from tests.proxy.harness import Harness, get, post
from tests.proxy.wire import PATIENCE, Peer, answering, ok

ASK = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: a\r\n\r\n"
)


def echo(peer: Peer) -> None:
    """Switch, and give back whatever comes, until the other side ends."""
    head = peer.head()
    assert (head.get("Upgrade"), head.get("Connection")) == (b"websocket", b"Upgrade")
    peer.send(SWITCH)
    while True:
        peer.send(peer.take(1))


def test_bytes_pass_both_ways_after_the_switch(harness: Harness) -> None:
    throttler = harness.service(harness.backend(echo), concurrency=1)
    client = harness.connect()
    client.send(get(fields=ASK))
    head = client.head()
    assert head.status == 101
    assert (head.get("Upgrade"), head.get("Connection")) == (b"websocket", b"Upgrade")
    assert head.get("Sec-WebSocket-Accept") == b"a"
    for n in range(20):
        client.send(b"\x81\x02%02d" % n)
        assert client.take(4) == b"\x81\x02%02d" % n
    assert throttler.breaker.active == 1  # an open tunnel is a request in the instance
    client.close()
    harness.wait_for(lambda: throttler.breaker.active == 0)
    ((key, histogram),) = throttler.counters.durations.items()
    assert (key, sum(histogram.counts)) == ((b"GET", 101), 1)
    assert (throttler.counters.received, throttler.counters.sent) == (80, 80)


def test_bytes_right_behind_the_handshake_are_not_lost_in_either_direction(
    harness: Harness,
) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH + b"early from the instance")
        assert peer.take(len(b"early from the client")) == b"early from the client"
        peer.send(b", heard")
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(fields=ASK) + b"early from the client")
    assert client.head().status == 101
    wanted = b"early from the instance, heard"
    assert client.take(len(wanted)) == wanted


def test_an_upgrade_behind_other_requests_waits_for_its_turn(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        assert peer.message().start == b"GET /plain HTTP/1.1"
        gate.wait(PATIENCE)
        peer.send(ok())
        echo(peer)

    gate = threading.Event()
    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(b"/plain") + get(fields=ASK) + b"GET /frame HTTP/1.1\r\n\r\n")
    harness.beat()
    gate.set()
    assert client.message().status == 200
    assert client.head().status == 101
    assert client.take(23) == b"GET /frame HTTP/1.1\r\n\r\n"


def test_much_more_behind_the_handshake_than_is_held_still_arrives(harness: Harness) -> None:
    throttler = harness.service()
    client = harness.connect()
    client.send(get(fields=ASK))
    big = bytes(range(256)) * 4000
    sender = threading.Thread(target=client.send, args=(big,), daemon=True)
    sender.start()
    harness.wait_for(lambda: throttler.breaker.waiting)
    harness.publish(harness.endpoints(harness.backend(echo_much)))
    assert client.head().status == 101
    assert client.take(len(big)) == big
    sender.join()


def echo_much(peer: Peer) -> None:
    peer.head()
    peer.send(SWITCH)
    peer.send(peer.take(256 * 4000))


def test_either_side_may_end_while_the_other_goes_on(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH)
        assert peer.rest() == b"all of it"
        peer.send(b"and the answer")

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(fields=ASK) + b"all of it")
    assert client.head().status == 101
    client.end()
    assert client.rest() == b"and the answer"


def test_the_instance_may_end_first(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH + b"bye")
        peer.end()
        assert peer.rest() == b"last words"

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(fields=ASK))
    assert client.head().status == 101
    assert client.rest() == b"bye"
    client.send(b"last words")
    client.end()


def test_a_reset_passes_through_as_one(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH + b"half a mess")
        gate.wait(PATIENCE)
        peer.reset()

    gate = threading.Event()
    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(fields=ASK))
    client.until(b"half a mess")
    gate.set()
    assert client.ending() == "reset"


def test_a_refused_switch_leaves_http_on_both_connections(harness: Harness) -> None:
    no = b"HTTP/1.1 426 No\r\nContent-Length: 2\r\n\r\nno"
    backend = harness.backend(answering(no, ok()))
    harness.service(backend)
    client = harness.connect()
    client.send(get(fields=ASK))
    answer = client.message()
    assert (answer.status, answer.body) == (426, b"no")
    client.send(get())
    assert client.message().status == 200
    assert len(backend.connections) == 1


def test_requests_behind_a_refused_switch_are_requests(harness: Harness) -> None:
    no = b"HTTP/1.1 426 No\r\nContent-Length: 2\r\n\r\nno"
    backend = harness.backend(answering(no, ok(b"1"), no, ok(b"2")))
    harness.service(backend)
    client = harness.connect()
    client.send(get(fields=ASK) + get() + get(fields=ASK) + get())
    assert [client.message().body for _ in range(4)] == [b"no", b"1", b"no", b"2"]
    assert len(backend.connections) == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_a_switch_to_http_2_is_not_offered_and_its_request_is_served(
    harness: Harness, chunked: bool
) -> None:
    def script(peer: Peer) -> None:
        for body in (b"with a body", b"", b"plain"):
            request = peer.message()
            assert request.get("Upgrade") is request.get("Connection") is None
            assert request.get("HTTP2-Settings") is None
            assert request.body == body
            peer.send(ok(body))

    harness.service(harness.backend(script))
    client = harness.connect()
    ask = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
    client.send(
        post(b"with a body", chunked=chunked, fields=ask) + get(fields=ask) + post(b"plain")
    )
    assert [client.message().body for _ in range(3)] == [b"with a body", b"", b"plain"]


def test_the_body_of_an_unoffered_switch_may_come_byte_by_byte(harness: Harness) -> None:
    harness.service(harness.backend(lambda peer: peer.send(ok(peer.message().body))))
    client = harness.connect()
    ask = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    client.drip(post(b"bytes", chunked=True, fields=ask), harness.beat)
    assert client.message().body == b"bytes"


@pytest.mark.parametrize("talkative", ["client", "instance"])
def test_a_tunnel_in_which_nothing_passes_is_ended_in_time(
    harness: Harness, talkative: str
) -> None:
    speak, ended = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH)
        if talkative == "instance":
            speak.wait(PATIENCE)
            peer.send(b"x")
        assert peer.ending() == "end"
        ended.set()

    throttler = harness.service(harness.backend(script), tunnel_idle_timeout=60.0)
    client = harness.connect()
    client.send(get(fields=ASK))
    assert client.head().status == 101
    harness.clock.forward(59)
    harness.sweep()
    if talkative == "client":
        client.send(b"x")
    else:
        speak.set()
        assert client.take(1) == b"x"
    harness.beat()
    harness.sweep()
    harness.clock.forward(59)
    harness.sweep()
    assert throttler.breaker.active == 1
    harness.clock.forward(1)
    assert client.ending() == "end"
    assert ended.wait(PATIENCE)
    harness.wait_for(lambda: throttler.breaker.active == 0)


def test_a_switch_to_what_was_not_offered_is_a_broken_answer(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(SWITCH.replace(b"websocket", b"other"))
        peer.ending()

    harness.service(harness.backend(script))
    answer = harness.get(fields=ASK).message()
    assert (answer.status, answer.reason) == (502, b"bad_response")


def test_one_of_several_protocols_is_chosen(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH)
        peer.ending()

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.get(
        fields=b"Connection: upgrade\r\nUpgrade: h2c, other\r\nUpgrade: websocket\r\n"
    )
    assert client.head().get("Upgrade") == b"websocket"
    assert b"\r\nUpgrade: other, websocket\r\n" in backend.received[0]


def test_a_required_upgrade_is_passed_on_with_its_name(harness: Harness) -> None:
    """RFC 9110 §15.5.22: the one answer in which Upgrade concerns the client."""
    required = b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: x/1\r\n"
    harness.service(harness.backend(answering(required + b"Content-Length: 0\r\n\r\n")))
    answer = harness.get().message()
    assert (answer.status, answer.get("Upgrade")) == (426, b"x/1")
    assert answer.get("Connection") == b"Upgrade"


def test_a_tunnel_outlives_every_timeout(harness: Harness) -> None:
    harness.service(harness.backend(echo), timeout=5.0, response_start_timeout=5.0)
    client = harness.connect()
    client.send(get(fields=ASK))
    assert client.head().status == 101
    harness.clock.forward(1000)
    harness.sweep()
    client.send(b"x")
    assert client.take(1) == b"x"


@pytest.mark.parametrize("close_first", [False, True])
def test_a_client_that_leaves_at_the_moment_of_the_switch_leaves_nothing(
    harness: Harness, close_first: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        gate.wait(PATIENCE)
        peer.send(SWITCH)
        sent.set()
        peer.ending()

    gate, sent = threading.Event(), threading.Event()
    backend = harness.backend(script)
    throttler = harness.service(backend)
    client = harness.get(fields=ASK)
    harness.wait_for(lambda: backend.requests)
    release = harness.stall()
    if close_first:
        client.close()
    gate.set()
    assert sent.wait(PATIENCE)
    client.close()
    release()
    harness.wait_for(lambda: throttler.breaker.active == 0)


def test_tunnels_are_cut_when_the_data_plane_closes(harness: Harness) -> None:
    harness.service(harness.backend(echo))
    client = harness.connect()
    client.send(get(fields=ASK))
    assert client.head().status == 101
    harness.call(harness.plane.close)
    assert client.ending() == "reset"
