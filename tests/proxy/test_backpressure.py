"""Whoever is slow makes the other side wait, not the proxy's memory grow."""

from __future__ import annotations

import os
import threading

import pytest

from tests.proxy.harness import Harness, get, post
from tests.proxy.wire import PATIENCE, Peer
from wakeful.events import Outage

PIECE = b"x" * 1_000_000
PIECES = 200
MEGABYTE = 1 << 20


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_slow_reader_of_a_large_answer_costs_little_memory(harness: Harness) -> None:
    sent = []

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(PIECE) * PIECES))
        for _ in range(PIECES):
            peer.send(PIECE)
            sent.append(len(PIECE))
        whole.set()
        peer.ending()

    whole = threading.Event()
    harness.service(harness.backend(script))
    before = resident()
    client = harness.connect()
    client.send(get())
    client.head()
    _stands_still(harness, sent)
    assert sum(sent) < len(PIECE) * PIECES
    assert resident() - before < 20 * MEGABYTE
    left = len(PIECE) * PIECES
    while left:
        left -= len(client.take(min(left, 1_000_000)))
        del client.received[: client._taken]
        client._taken = 0
    assert resident() - before < 20 * MEGABYTE
    assert whole.wait(PATIENCE)


def test_an_instance_that_takes_a_large_body_slowly_costs_little_memory(harness: Harness) -> None:
    gate = threading.Event()
    sent: list[int] = []

    def script(peer: Peer) -> None:
        length = int(peer.head().get("Content-Length") or b"")
        gate.wait(PATIENCE)
        while length:
            length -= len(peer.take(min(length, 1_000_000)))
            del peer.received[: peer._taken]
            peer._taken = 0
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    harness.service(harness.backend(script))
    before = resident()
    client = harness.connect()
    upload = threading.Thread(target=_upload, args=(client, sent), daemon=True)
    upload.start()
    harness.wait_for(lambda: harness.plane.in_hand())
    _stands_still(harness, sent)
    assert sum(sent) < len(PIECE) * PIECES
    assert resident() - before < 20 * MEGABYTE
    gate.set()
    assert client.message().status == 200
    upload.join()
    assert resident() - before < 20 * MEGABYTE


def test_a_body_without_an_instance_yet_is_held_within_bounds(harness: Harness) -> None:
    sent: list[int] = []
    throttler = harness.service()
    client = harness.connect()
    upload = threading.Thread(target=_upload, args=(client, sent), daemon=True)
    upload.start()
    harness.wait_for(lambda: throttler.breaker.waiting)
    _stands_still(harness, sent)
    (connection,) = harness.plane.connections
    exchange = connection._current
    assert exchange is not None
    assert exchange._body is not None
    assert exchange._body.size < MEGABYTE
    _give_up(harness, client, upload)


def test_requests_behind_a_slow_one_are_not_read_without_bound(harness: Harness) -> None:
    sent: list[int] = []
    throttler = harness.service()
    client = harness.connect()

    def flood() -> None:
        try:
            for _ in range(PIECES):
                client.send(get(fields=b"X: %b\r\n" % (b"x" * 1000)) * 1000)
                sent.append(1_000_000)
        except OSError:
            return

    flooding = threading.Thread(target=flood, daemon=True)
    flooding.start()
    harness.wait_for(lambda: throttler.breaker.waiting)
    _stands_still(harness, sent)
    (connection,) = harness.plane.connections
    assert len(connection._next) < 1000
    _give_up(harness, client, flooding)


@pytest.mark.parametrize("behind", [b"", get() * 4000], ids=["a body", "requests"])
def test_a_client_that_leaves_while_it_is_not_read_is_seen_to_have_left(
    harness: Harness, behind: bytes
) -> None:
    throttler = harness.service()
    client = harness.get() if behind else harness.connect()
    client.send(behind or post(b"x" * 100_000)[:-1])
    harness.wait_for(lambda: throttler.breaker.waiting)
    (connection,) = harness.plane.connections
    harness.wait_for(lambda: not connection._reading, "reading pauses")
    client.close()
    harness.wait_for(harness._empty, "nothing is in hand")


def _upload(client: Peer, sent: list[int]) -> None:
    try:
        size = len(PIECE) * PIECES
        client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(PIECES):
            client.send(PIECE)
            sent.append(len(PIECE))
    except OSError:
        return


def _stands_still(harness: Harness, sent: list[int]) -> None:
    """The side that sends could not go on for a good while."""
    last, calm = -1, 0
    while calm < 20:
        harness.sweep()
        calm, last = (calm + 1, last) if last == len(sent) else (0, len(sent))


def _give_up(harness: Harness, client: Peer, sender: threading.Thread) -> None:
    """Its end is behind more than the kernel holds, so its requests must be answered."""
    client.close()
    sender.join()
    harness.publish((), outage=Outage("start_failed", "never", until=harness.clock() + 1000))
