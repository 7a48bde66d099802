"""Counts over time, waits, and curves made of them."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.simulate.course import Ledger, Steps, Waits, counted, summed
from wakeful.simulate.curves import curves

LIVES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 9)).map(
        lambda life: (float(life[0]), float(life[0] + life[1]))
    ),
    max_size=12,
)


def steps(*changes: tuple[float, int]) -> Steps:
    made = Steps()
    for moment, value in changes:
        made.set(moment, value)
    return made


@given(LIVES)
def test_a_count_over_time_is_how_many_live_at_each_moment(
    lives: list[tuple[float, float]],
) -> None:
    made = counted(lives)
    alive = {half: sum(b <= half / 2 < e for b, e in lives) for half in range(70)}
    assert all(made.at(half / 2) == count for half, count in alive.items())
    assert made.peak == max(alive.values())
    assert made.most(3, 12) == max(alive[half] for half in range(6, 24))


@given(LIVES, LIVES)
def test_counts_are_added_up_moment_by_moment(
    one: list[tuple[float, float]], other: list[tuple[float, float]]
) -> None:
    both = summed([counted(one), counted(other)])
    whole = counted([*one, *other])
    assert (both.moments, both.values) == (whole.moments, whole.values)


def test_the_later_of_two_values_at_one_moment_counts() -> None:
    made = steps((0, 2), (3, 5), (3, 1))
    assert (made.at(0), made.at(2.9), made.at(3)) == (2, 2, 1)
    assert made.most(0, 3) == 2


@given(
    waits=st.lists(st.one_of(st.just(0.0), st.floats(0.001, 90)), min_size=1, max_size=60),
    percent=st.integers(1, 100),
)
def test_a_percentile_is_the_shortest_wait_that_so_many_do_not_exceed(
    waits: list[float], percent: int
) -> None:
    made = Waits()
    for wait in waits:
        made.add(wait)
    found = made.percentile(percent)
    assert found in waits
    assert 100 * sum(wait <= found for wait in waits) >= percent * len(waits)
    assert 100 * sum(wait < found for wait in waits) < percent * len(waits)


def test_percentiles_of_a_hundred_waits_are_known_by_heart() -> None:
    made = Waits()
    for n in range(100, 0, -1):
        made.add(n / 10)
    assert [made.percentile(p) for p in (1, 50, 95, 99, 100)] == [0.1, 5.0, 9.5, 9.9, 10.0]
    assert made.percentile(50) == statistics.median_low([n / 10 for n in range(1, 101)])
    made.add(1000.0)  # what comes later counts too
    assert made.percentile(100) == 1000.0


def test_of_no_waits_every_percentile_is_nothing() -> None:
    assert Waits().percentile(99) == 0
    both = Waits.of_all([Waits(), Waits()])
    assert (both.count, both.percentile(50)) == (0, 0)


def test_waits_of_several_are_one_crowd() -> None:
    one, other = Waits(), Waits()
    for wait in (0.0, 0.0, 3.0):
        one.add(wait)
    other.add(1.0)
    both = Waits.of_all([one, other])
    assert [both.percentile(p) for p in (50, 75, 100)] == [0.0, 1.0, 3.0]
    assert one.percentile(100) == 3.0


def test_a_curve_has_the_mean_of_the_demand_and_the_most_of_everything_else() -> None:
    ledger = Ledger("hello")
    ledger.queued(4)
    ledger.queued(2)
    ledger.sample(1.0, 2.0, waiting=1)
    ledger.sample(2.0, 4.0, waiting=0)
    ledger.sample(5.0, 6.0, waiting=7)  # nothing between 2 and 4
    ledger.ready.set(0.5, 1)
    ledger.ready.set(3.9, 0)
    ledger.desired.set(4.0, 9)
    drawn = curves(ledger.course(8.0, [(1.0, 2.0), (1.5, 6.0)]), points=4)
    assert drawn.step == 2
    assert drawn.demand == pytest.approx([3.0, 0.0, 3.0, 0.0])
    assert drawn.queue == [4, 0, 7, 0]
    assert drawn.ready == [1, 1, 0, 0]
    assert drawn.desired == [0, 0, 9, 9]
    assert drawn.instances == [2, 1, 1, 0]
    fine = curves(ledger.course(8.0, []), points=16)
    assert fine.demand == [2, 2, 4, 4, 0, 0, 0, 0, 6, 6, 0, 0, 0, 0, 0, 0]
    assert fine.queue == [4, 4, 0, 0, 0, 0, 0, 0, 7, 7, 0, 0, 0, 0, 0, 0]
