"""What passes through behind a switch of protocols: every byte, each way, and each kind of end."""

from __future__ import annotations

import hashlib
import random
import threading

import pytest

from tests.proxy.harness import Harness, get
from tests.proxy.wire import PATIENCE, Peer, Script, ok

ASK = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: a\r\n\r\n"
)
DATA = random.Random(2).randbytes(1_000_000)


def switching(step: Script) -> Script:
    """Grant the switch, go on, and see it end."""

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH)
        step(peer)
        peer.ending()

    return script


def switched(harness: Harness, script: Script) -> Peer:
    """A client whose wish was granted."""
    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(fields=ASK))
    assert client.head().status == 101
    return client


@pytest.mark.parametrize("size", [1, 1_000, 1_000_000])
def test_what_comes_right_behind_the_request_is_not_lost(harness: Harness, size: int) -> None:
    done = threading.Event()

    def read(peer: Peer) -> None:
        assert peer.take(size) == DATA[:size]
        done.set()

    def script(peer: Peer) -> None:
        assert peer.head().start == b"GET / HTTP/1.1"
        gate.wait(PATIENCE)
        peer.send(SWITCH)
        read(peer)
        peer.ending()

    gate = threading.Event()
    harness.service(harness.backend(script))
    client = harness.connect()
    sender = threading.Thread(
        target=client.send, args=(get(fields=ASK) + DATA[:size],), daemon=True
    )
    sender.start()
    harness.beat()
    gate.set()
    assert client.head().status == 101
    assert done.wait(PATIENCE)
    sender.join(PATIENCE)


@pytest.mark.parametrize("size", [1, 1_000, 1_000_000])
def test_what_comes_right_behind_the_grant_is_not_lost(harness: Harness, size: int) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH + DATA[:size])
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(fields=ASK))
    assert client.head().status == 101
    assert client.take(size) == DATA[:size]


def test_bytes_of_a_tunnel_mean_nothing_to_the_proxy(harness: Harness) -> None:
    forged = get(b"/smuggled", host=b"nobody.test") + b"\r\n\r\n0\r\n\r\nHTTP/1.1 500 X\r\n\r\n"

    def echo(peer: Peer) -> None:
        peer.send(peer.take(len(forged)))

    client = switched(harness, switching(echo))
    client.drip(forged, harness.beat)
    assert client.take(len(forged)) == forged


def test_sixteen_megabytes_go_each_way_at_the_same_time(harness: Harness) -> None:
    def send(peer: Peer) -> None:
        for _ in range(16):
            peer.send(DATA)

    def read(peer: Peer) -> str:
        digest = hashlib.sha256()
        for _ in range(16):
            digest.update(peer.take(len(DATA)))
        return digest.hexdigest()

    def both(peer: Peer) -> None:
        sender = threading.Thread(target=send, args=(peer,), daemon=True)
        sender.start()
        assert read(peer) == wanted
        sender.join(PATIENCE)
        done.set()

    wanted, done = hashlib.sha256(DATA * 16).hexdigest(), threading.Event()
    client = switched(harness, switching(both))
    sender = threading.Thread(target=send, args=(client,), daemon=True)
    sender.start()
    assert read(client) == wanted
    sender.join(PATIENCE)
    assert done.wait(PATIENCE)


@pytest.mark.parametrize("first", ["client", "instance"])
def test_each_direction_ends_by_itself_and_the_place_is_held_until_both_have(
    harness: Harness, first: str
) -> None:
    def script(peer: Peer) -> None:
        if b"Upgrade" not in peer.until(b"\r\n\r\n"):
            peer.send(ok())
            return
        instance.append(peer)
        peer.send(SWITCH)
        over.wait(PATIENCE)

    instance: list[Peer] = []
    over = threading.Event()
    throttler = harness.service(harness.backend(script), concurrency=1)
    client = harness.connect()
    client.send(get(fields=ASK))
    assert client.head().status == 101
    waiting = harness.get()
    one, other = (client, instance[0]) if first == "client" else (instance[0], client)
    one.send(b"last words")
    one.end()
    assert other.rest() == b"last words"
    for _ in range(3):
        harness.sweep()
        assert (throttler.breaker.active, throttler.breaker.waiting) == (1, 1)
    other.send(DATA)  # the other direction is as wide as before
    assert one.take(len(DATA)) == DATA
    other.end()
    assert one.rest() == b""
    assert waiting.message().status == 200
    over.set()


@pytest.mark.parametrize("first", ["client", "instance"])
def test_a_reset_of_a_tunnel_passes_through_as_one(harness: Harness, first: str) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        instance.append(peer)
        peer.send(SWITCH)
        over.wait(PATIENCE)

    instance: list[Peer] = []
    over = threading.Event()
    client = switched(harness, script)
    one, other = (client, instance[0]) if first == "client" else (instance[0], client)
    one.send(b"x")
    other.take(1)
    one.reset()
    assert other.ending() == "reset"
    over.set()


def test_a_silent_tunnel_outlives_the_times_of_requests(harness: Harness) -> None:
    def echo(peer: Peer) -> None:
        peer.send(peer.take(1))

    harness.service(harness.backend(switching(echo)), timeout=5.0, response_start_timeout=5.0)
    client = harness.connect()
    client.send(get(fields=ASK))
    assert client.head().status == 101
    harness.clock.forward(50)
    harness.sweep()
    client.send(b"x")
    assert client.take(1) == b"x"
