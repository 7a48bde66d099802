"""Tunnels whose instance is to go: told, given their time, and ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.proxy.harness import Harness
from tests.proxy.test_upgrades import ASK, SWITCH
from tests.proxy.wire import PATIENCE, Peer
from wakeful.proxy.throttler import Throttler
from wakeful.proxy.websocket import GOING_AWAY

HELLO = b"\x81\x05hello"
CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe9"  # a client masks, here with zeros


class Instance:
    """Switches, and says what it is told to."""

    def __init__(self, switch: bytes = SWITCH) -> None:
        self.switch = switch
        self.peer: Peer | None = None
        self.joined, self.over = threading.Event(), threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.head()
        peer.send(self.switch)
        self.peer = peer
        self.joined.set()
        self.over.wait(PATIENCE)

    def client(self) -> Peer:
        """Whom it switched for; who asked may know of that before this thread."""
        assert self.joined.wait(PATIENCE)
        assert self.peer is not None
        return self.peer

    def say(self, data: bytes) -> None:
        self.client().send(data)

    def hears(self, data: bytes) -> None:
        assert self.client().take(len(data)) == data

    def end(self) -> None:
        """Nothing more comes from it; it still listens."""
        self.client().end()

    def leave(self) -> None:
        self.client().close()
        self.over.set()


def replaced(harness: Harness) -> None:
    """No route leads to the revision any more."""
    harness.call(lambda: harness.plane.retire("a-00001"))


def stopping(harness: Harness) -> Callable[[], None]:
    """Call what is returned to wait for the end of it."""
    ended = harness.spawn(harness.plane.drain())
    harness.wait_for(lambda: harness.plane.draining)
    return ended


CAUSES = pytest.mark.parametrize("cause", [replaced, stopping])


def joined(harness: Harness, instance: Instance) -> Peer:
    harness.service(harness.backend(instance))
    client = harness.get(fields=ASK)
    assert client.head().status == 101
    return client


@CAUSES
def test_a_websocket_is_told_and_closes_in_good_order(
    cause: Callable[[Harness], object], harness: Harness
) -> None:
    instance = Instance()
    client = joined(harness, instance)
    instance.say(HELLO)
    assert client.take(len(HELLO)) == HELLO

    cause(harness)
    assert client.take(len(GOING_AWAY)) == GOING_AWAY
    client.send(CLOSE)
    instance.hears(CLOSE)
    instance.say(b"\x88\x02\x03\xe9")  # its own goodbye, which would be a second one
    instance.leave()
    assert client.rest() == b""


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_a_frame_that_has_begun_is_finished_first(cut: int, harness: Harness) -> None:
    instance = Instance()
    client = joined(harness, instance)
    instance.say(HELLO + HELLO[:cut])
    assert client.take(len(HELLO) + cut) == HELLO + HELLO[:cut]

    replaced(harness)
    instance.say(HELLO[cut:] + HELLO)
    rest = HELLO[cut:] + GOING_AWAY
    assert client.take(len(rest)) == rest
    instance.say(HELLO)
    instance.leave()
    assert client.rest() == b""


def test_frames_right_behind_the_handshake_are_counted(harness: Harness) -> None:
    instance = Instance(SWITCH + HELLO[:3])
    client = joined(harness, instance)
    replaced(harness)
    instance.say(HELLO[3:])
    expected = HELLO + GOING_AWAY
    assert client.take(len(expected)) == expected
    instance.leave()


@CAUSES
@pytest.mark.parametrize("protocol", [b"websocket", b"other"])
def test_who_does_not_go_is_ended_in_time(
    cause: Callable[[Harness], object], protocol: bytes, harness: Harness
) -> None:
    instance = Instance(SWITCH.replace(b"websocket", protocol))
    throttler = harness.service(harness.backend(instance), tunnel_drain_timeout=30.0)
    client = harness.get(fields=ASK.replace(b"websocket", protocol))
    assert client.head().status == 101
    cause(harness)
    if protocol == b"websocket":
        assert client.take(len(GOING_AWAY)) == GOING_AWAY
    harness.clock.forward(29)
    harness.sweep()
    assert throttler.breaker.active == 1
    client.send(b"still here")
    instance.hears(b"still here")
    harness.beat()
    harness.clock.forward(1)
    assert client.ending() == "end"
    instance.over.set()
    harness.wait_for(lambda: throttler.breaker.active == 0)


def without_a_last_word(harness: Harness) -> tuple[Instance, Peer, Throttler]:
    """A tunnel whose instance only listens any more."""
    instance = Instance()
    throttler = harness.service(harness.backend(instance), tunnel_drain_timeout=30.0)
    client = harness.get(fields=ASK)
    assert client.head().status == 101
    instance.end()
    assert client.rest() == b""
    return instance, client, throttler


def test_one_that_can_be_told_nothing_has_its_time(harness: Harness) -> None:
    instance, client, throttler = without_a_last_word(harness)
    replaced(harness)
    client.send(b"still here")
    instance.hears(b"still here")
    harness.beat()
    harness.clock.forward(30)
    harness.wait_for(lambda: throttler.breaker.active == 0)
    instance.over.set()


def test_one_that_can_be_told_nothing_does_not_end_the_stop_before_its_time(
    harness: Harness,
) -> None:
    instance, client, _ = without_a_last_word(harness)
    ended = stopping(harness)
    client.send(b"still here")
    instance.hears(b"still here")
    harness.beat()
    harness.clock.forward(30)
    ended()
    instance.over.set()


def test_a_tunnel_of_a_revision_that_was_replaced_before_it_was_joined_is_told_too(
    harness: Harness,
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        asked.set()
        go_on.wait(PATIENCE)
        peer.send(SWITCH)
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.get(fields=ASK)
    assert asked.wait(PATIENCE)
    replaced(harness)
    go_on.set()
    assert client.head().status == 101
    assert client.take(len(GOING_AWAY)) == GOING_AWAY
    client.close()


def test_other_services_are_told_nothing(harness: Harness) -> None:
    staying, going = Instance(), Instance()
    harness.service(harness.backend(staying), host="stays.test")
    harness.service(harness.backend(going), host="goes.test")
    one, other = (
        harness.get(host=b"stays.test", fields=ASK),
        harness.get(host=b"goes.test", fields=ASK),
    )
    assert (one.head().status, other.head().status) == (101, 101)
    harness.call(lambda: harness.plane.retire("goes-00001"))
    assert other.take(len(GOING_AWAY)) == GOING_AWAY
    staying.say(HELLO)
    assert one.take(len(HELLO)) == HELLO
    staying.leave()
    going.leave()
    one.close()
    other.close()
