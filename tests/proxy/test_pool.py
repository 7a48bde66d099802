"""Which of the idle connections to an instance is used next, and which come of age."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from tests.proxy.harness import Harness
from tests.proxy.wire import PATIENCE, Peer, ok
from wakeful.proxy.upstream import Upstream

LATER = 1e9  # seconds: than anything on the machine's clock
MOMENT = 0.001
REST = 0.5


class Waiter:
    """A request that may be sent again."""

    repeatable = True

    def connected(self, upstream: Upstream) -> None:
        raise AssertionError("nothing was to be connected")

    def connect_failed(self, error: OSError) -> None:
        raise AssertionError("nothing was to be connected")


class Kept:
    """A pool that made three connections, all of them in use, and its time."""

    def __init__(self, harness: Harness) -> None:
        together = threading.Barrier(3)

        def answer(peer: Peer) -> None:
            peer.message()
            together.wait(PATIENCE)
            peer.send(ok())
            peer.rest()

        self.harness = harness
        backend = harness.backend(answer)
        throttler = harness.service(backend)
        for client in [harness.get() for _ in together.parties * [None]]:
            assert client.message().status == 200
        (slot,) = throttler.slots
        self.pool = slot.pool
        harness.wait_for(lambda: len(self.pool) == 3)
        self.now = 0.0
        self.all = [one for _ in range(3) if (one := self.take()) is not None]
        assert len(self.all) == 3
        self.now = LATER
        self._ends = {peer.sock.getpeername(): peer for peer in backend.connections}

    def take(self) -> Upstream | None:
        self.now += MOMENT
        return self.harness.call(lambda: self.pool.take(self.now, Waiter()))

    def give(self, *upstreams: Upstream) -> None:
        for upstream in upstreams:
            self.now += MOMENT
            self.harness.call(partial(self.pool.give, upstream, self.now))

    def rest(self) -> None:
        self.now += REST

    def rest_one(self) -> list[Upstream]:
        """All of them, of which the pool knows that the first has rested; the others are in use."""
        a, b, _ = self.all
        self.give(a)
        self.rest()
        self.give(b)
        assert self.take() is b
        return self.all

    def close_idle(self, before: float) -> bool:
        return self.harness.call(lambda: self.pool.close_idle(before))

    def end(self, upstream: Upstream) -> None:
        """The instance closes it."""
        self._ends[upstream.transport.get_extra_info("sockname")].end()

    @property
    def open(self) -> list[Upstream]:
        return self.harness.call(lambda: [one for one in self.all if one.is_open])


@pytest.fixture
def kept(harness: Harness) -> Iterator[Kept]:
    kept = Kept(harness)
    yield kept
    for one in kept.all:
        harness.call(one.close)


def test_connections_in_steady_use_take_turns(kept: Kept) -> None:
    a, b, c = kept.all
    kept.give(a, b, c)
    assert [kept.take(), kept.take(), kept.take()] == [a, b, c]
    kept.give(b)
    kept.give(a)
    assert kept.take() is b
    kept.give(c)
    assert [kept.take(), kept.take(), kept.take()] == [a, c, None]


def test_of_connections_that_rested_the_latest_used_is_next(kept: Kept) -> None:
    a, b, c = kept.all
    kept.give(a, b, c)
    kept.rest()
    assert [kept.take(), kept.take(), kept.take()] == [c, b, a]


def test_those_that_are_more_than_needed_are_not_used_and_come_of_age(kept: Kept) -> None:
    a, b, c = kept.all
    kept.give(a, b, c)
    kept.rest()
    for _ in range(4):
        assert kept.take() is c
        kept.give(c)
    assert [kept.take(), kept.take()] == [c, b]  # one is not enough
    kept.give(c, b)
    assert [kept.take(), kept.take()] == [c, b]
    kept.give(c, b)
    assert kept.close_idle(LATER + REST)
    assert kept.open == [b, c]


def test_what_idled_for_too_long_is_closed_whether_others_are_in_use_or_not(kept: Kept) -> None:
    _, b, c = kept.rest_one()
    kept.give(c)
    kept.rest()
    kept.give(b)
    assert len(kept.pool) == 3
    assert kept.close_idle(before=LATER + REST)
    assert (kept.open, len(kept.pool)) == ([b, c], 2)
    assert kept.close_idle(before=LATER + 2 * REST)
    assert (kept.open, len(kept.pool)) == ([b], 1)
    assert not kept.close_idle(before=LATER + 3 * REST)
    assert (kept.open, len(kept.pool)) == ([], 0)


@pytest.mark.parametrize("rested", [False, True])
def test_a_connection_that_its_instance_closed_is_not_used(kept: Kept, rested: bool) -> None:
    a, b, c = kept.all
    kept.give(a, b, c)
    if rested:
        kept.rest()
        assert kept.take() is c
        kept.give(c)
    kept.end(a)
    kept.end(b)
    kept.harness.wait_for(lambda: len(kept.pool) == 1, "the ends of two")
    assert [kept.take(), kept.take()] == [c, None]


@pytest.mark.parametrize("rested", [False, True])
def test_a_connection_that_closes_is_not_used(kept: Kept, rested: bool) -> None:
    a, b, c = kept.all
    kept.give(a, b, c)
    if rested:
        kept.rest()

    def closed() -> Upstream | None:
        """Before the loop is told of the end."""
        c.close()
        a.close()
        return kept.pool.take(kept.now, Waiter())

    assert kept.harness.call(closed) is b


def test_a_closed_pool_keeps_nothing(kept: Kept) -> None:
    _, b, c = kept.rest_one()
    kept.give(b)
    kept.harness.call(kept.pool.close)
    assert kept.open == [c]
    kept.give(c)
    assert (kept.open, len(kept.pool)) == ([], 0)
