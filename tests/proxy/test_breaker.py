from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.proxy.breaker import Breaker, QueueFull


def test_a_free_place_is_taken_at_once_and_given_to_the_longest_waiting() -> None:
    breaker: Breaker[str] = Breaker(max_waiting=2, capacity=1)
    assert breaker.try_acquire()
    assert not breaker.try_acquire()
    breaker.wait("first")
    breaker.wait("second")
    with pytest.raises(QueueFull):
        breaker.wait("third")
    assert list(breaker.release()) == ["first"]
    breaker.leave("second")
    assert list(breaker.release()) == []
    assert (breaker.active, breaker.waiting) == (0, 0)


def test_who_comes_back_is_first_in_line() -> None:
    breaker: Breaker[str] = Breaker(max_waiting=1, capacity=1)
    assert breaker.try_acquire()
    breaker.wait("patient")
    breaker.release_to_front("returned")  # also into a full queue: it was accepted once
    assert list(breaker.resize(2)) == ["returned", "patient"]


def test_nobody_overtakes_the_queue() -> None:
    breaker: Breaker[str] = Breaker(max_waiting=1, capacity=0)
    breaker.wait("first")
    breaker.capacity = 5
    assert not breaker.try_acquire()
    assert list(breaker.resize(5)) == ["first"]
    assert breaker.try_acquire()


def test_a_place_that_nobody_held_cannot_be_released() -> None:
    breaker: Breaker[str] = Breaker(max_waiting=1, capacity=1)
    with pytest.raises(AssertionError):
        breaker.release()
    with pytest.raises(AssertionError):
        breaker.release_to_front("x")


VERBS = ["request", "release", "resize", "leave", "return", "turn away"]


@given(st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 5)), max_size=60))
def test_every_ticket_ends_once_in_order_and_within_the_bounds(
    script: list[tuple[str, int]],
) -> None:
    breaker: Breaker[int] = Breaker(max_waiting=5)
    held: list[int] = []
    queue: list[int] = []  # the model: who must be next
    ended: list[int] = []

    def admit(admitted: list[int]) -> None:
        assert admitted == queue[: len(admitted)]
        del queue[: len(admitted)]
        held.extend(admitted)

    for ticket, (verb, n) in enumerate(script):
        before = breaker.active
        if verb == "request":
            if breaker.try_acquire():
                assert not queue
                held.append(ticket)
            elif len(queue) >= 5:
                with pytest.raises(QueueFull):
                    breaker.wait(ticket)
            else:
                breaker.wait(ticket)
                queue.append(ticket)
        elif verb == "release" and held:
            ended.append(held.pop(n % len(held)))
            admit(list(breaker.release()))
        elif verb == "resize":
            admit(list(breaker.resize(n)))
        elif verb == "leave" and queue:
            ended.append(queue.pop(n % len(queue)))
            breaker.leave(ended[-1])
        elif verb == "return" and held:
            back = held.pop(n % len(held))
            breaker.release_to_front(back)
            queue.insert(0, back)
            admit(list(breaker.resize(breaker.capacity)))
        elif verb == "turn away":
            away = breaker.turn_away()
            assert away == queue
            ended += away
            queue.clear()
        assert breaker.active == len(held) <= max(breaker.capacity, before)
        assert breaker.waiting == len(queue)
        assert not queue or breaker.active >= breaker.capacity  # nobody waits beside a free place
        everybody = held + queue + ended
        assert len(everybody) == len(set(everybody))


def test_negative_bounds_are_refused() -> None:
    for bounds in ((-1, 1), (1, -1)):
        with pytest.raises(ValueError, match="negative"):
            Breaker(*bounds)
