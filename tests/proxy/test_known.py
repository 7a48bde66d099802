"""What the memory of heads may hold: its keys are bytes that others choose."""

from __future__ import annotations

from tests.proxy.harness import Harness, get
from wakeful.proxy.framing import ResponseHead
from wakeful.proxy.known import KnownHeads

HEAD = ResponseHead(200, b"HTTP/1.1 200 OK\r\n")


def test_a_head_is_worth_keeping_when_it_came_before() -> None:
    known: KnownHeads[ResponseHead] = KnownHeads()
    assert not known.again(b"x" * 4096)
    assert known.again(b"x" * 4096)
    known.put(b"x" * 4096, HEAD)
    assert known.get(b"x" * 4096) is HEAD


def test_a_large_head_is_never_worth_keeping() -> None:
    known: KnownHeads[ResponseHead] = KnownHeads()
    assert not known.again(b"x" * 4097)
    assert not known.again(b"x" * 4097)


def test_a_memory_may_be_told_to_keep_whatever_comes() -> None:
    known: KnownHeads[ResponseHead] = KnownHeads(on_sight=True)
    assert known.again(b"x" * 4096)
    assert not known.again(b"x" * 4097)


def test_ever_new_heads_do_not_fill_the_memory() -> None:
    known: KnownHeads[ResponseHead] = KnownHeads()
    for number in range(10_000):
        assert not known.again(b"%d" % number)
        known.put(b"%d" % number, HEAD)
    kept = [number for number in range(10_000) if known.get(b"%d" % number)]
    assert len(kept) <= 1024
    assert 9_999 in kept
    assert len(known._seen) <= 1024


def test_heads_of_answers_are_forgotten_when_their_second_is_over(harness: Harness) -> None:
    harness.service(harness.backend())
    client = harness.connect()
    client.send(get())
    assert client.message().status == 200
    known = harness.plane.known_responses
    harness.call(lambda: known.put(b"Date: now", HEAD))
    harness.call(lambda: known.again(b"Date: now"))

    harness.clock.forward(1)
    harness.sweep()
    assert known.get(b"Date: now") is None
    assert known._seen == set()
    client.send(get())
    assert client.message().status == 200
