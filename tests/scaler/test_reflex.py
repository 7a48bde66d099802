from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from wakeful.events import Load
from wakeful.scaler.reflex import Reflex, demand, floor, recall

HOLD = 60.0


def test_with_a_limit_it_is_what_queue_and_in_flight_need() -> None:
    assert demand(Load(), concurrency=10, target=7) == 0
    assert demand(Load(active=10), concurrency=10, target=7) == 1
    assert demand(Load(active=10, waiting=1), concurrency=10, target=7) == 2
    assert demand(Load(waiting=25), concurrency=10, target=7) == 3


def test_without_a_limit_only_what_waits_for_a_first_instance_asks() -> None:
    assert demand(Load(active=500), concurrency=0, target=70) == 0
    assert demand(Load(waiting=1), concurrency=0, target=70) == 1
    assert demand(Load(active=1, waiting=140), concurrency=0, target=70) == 3
    assert demand(Load(waiting=1000), concurrency=0, target=inf) == 1


def test_what_is_ignored_asks_for_nothing_but_takes_room_from_those_who_wait() -> None:
    assert demand(Load(active=4, ignored=4), concurrency=1, target=1) == 0
    assert demand(Load(active=4, ignored=3), concurrency=1, target=1) == 1
    assert demand(Load(active=4, waiting=1, ignored=4), concurrency=1, target=1) == 5


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 100))
def test_what_is_asked_for_leaves_nobody_waiting_and_no_instance_without_work(
    active: int, waiting: int, concurrency: int
) -> None:
    wanted = demand(Load(active=active, waiting=waiting), concurrency, target=1.0)
    assert wanted * concurrency >= active + waiting
    assert wanted == 0 or (wanted - 1) * concurrency < active + waiting


def test_a_peak_is_kept_for_a_window_since_it_was_last_reached() -> None:
    reflex = recall(Reflex(), 5, 0.0, HOLD)
    reflex = recall(reflex, 2, 10.0, HOLD)
    assert floor(reflex, 10.0, HOLD) == 5

    reflex = recall(reflex, 5, 30.0, HOLD)
    assert floor(reflex, 90.0, HOLD) == 5
    assert floor(reflex, 90.1, HOLD) == 0


def test_when_a_peak_is_over_what_is_needed_now_takes_its_place() -> None:
    reflex = recall(Reflex(), 5, 0.0, HOLD)
    reflex = recall(reflex, 2, 60.1, HOLD)
    assert floor(reflex, 60.1, HOLD) == 2


def test_a_higher_peak_takes_the_place_of_a_lower_one_at_once() -> None:
    reflex = recall(recall(Reflex(), 2, 0.0, HOLD), 6, 1.0, HOLD)
    assert reflex == Reflex(peak=6, since=1.0)


scripts = st.lists(st.tuples(st.integers(0, 9), st.floats(0.1, 100)), min_size=1, max_size=30)


@given(scripts)
def test_it_never_holds_less_than_is_needed_nor_more_than_was_needed_lately(
    script: list[tuple[int, float]],
) -> None:
    now, reflex, asked = 0.0, Reflex(), []
    for wanted, pause in script:
        now += pause
        reflex = recall(reflex, wanted, now, HOLD)
        asked.append((now, wanted))
        lately = max(w for at, w in asked if now - at <= HOLD)
        assert wanted <= floor(reflex, now, HOLD) <= lately


@given(scripts, st.floats(0.01, 100))
def test_it_keeps_nothing_longer_than_a_window_after_the_last_demand(
    script: list[tuple[int, float]], later: float
) -> None:
    now, reflex = 0.0, Reflex()
    for wanted, pause in script:
        now += pause
        reflex = recall(reflex, wanted, now, HOLD)
    reflex = recall(reflex, 0, now + 30.0, HOLD)
    end = now + HOLD + later
    assert floor(reflex, end, HOLD) == 0
    assert floor(recall(reflex, 0, end, HOLD), end, HOLD) == 0
