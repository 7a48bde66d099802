"""Percents by hand; Knative's recorded ones are in tests/scaler/test_knative_vectors.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.proxy.rollout import (
    SECOND,
    Pace,
    Rollout,
    Share,
    begin,
    in_force,
    resized,
    settled,
    step,
)


def percents(rollout: Rollout) -> list[tuple[str, int]]:
    return [(share.revision, share.percent) for share in rollout.shares]


def test_a_new_revision_gets_one_percent_of_the_newest_before_it() -> None:
    first = begin(settled("a"), "b", now=7)
    assert percents(first) == [("a", 99), ("b", 1)]
    assert (first.newest, first.over, first.began, first.pace) == ("b", False, 7, None)

    second = begin(first, "c", now=9)
    assert percents(second) == [("a", 99), ("c", 1)]  # b had nothing but this one
    assert second.began == 9

    both = Rollout((Share("a", 60), Share("b", 40)))
    assert percents(begin(both, "c", now=0)) == [("a", 60), ("b", 39), ("c", 1)]


def test_one_percent_cannot_be_shared_so_it_moves_at_once() -> None:
    moved = begin(settled("a", 1), "b", now=0)
    assert percents(moved) == [("b", 1)]
    assert in_force(moved, 60, now=0) is moved


def test_nothing_moves_before_the_first_percent_is_in_force() -> None:
    first = begin(settled("a"), "b", now=0)
    assert step(first, now=1000 * SECOND) is first


def test_a_first_percent_that_is_in_force_at_once_makes_steps_of_a_second() -> None:
    # 99 percent in the 10 - 1 seconds that are left: nine steps of eleven.
    pace = in_force(begin(settled("a"), "b", now=0), 10, now=0).pace
    assert pace == Pace(size=11, interval=SECOND, due=SECOND)


def test_steps_are_no_shorter_than_the_first_took() -> None:
    # It took 4.2 s, so 5; 99 percent in three steps of five seconds.
    pace = in_force(begin(settled("a"), "b", now=0), 20, now=4_200_000_000).pace
    assert pace == Pace(size=33, interval=5 * SECOND, due=9_200_000_000)


def test_steps_are_no_smaller_than_one_percent() -> None:
    # 99 steps of one percent in 991 - 1 seconds.
    pace = in_force(begin(settled("a"), "b", now=0), 991, now=0).pace
    assert pace == Pace(size=1, interval=10 * SECOND, due=10 * SECOND)


def test_a_pace_is_set_once() -> None:
    rollout = in_force(begin(settled("a"), "b", now=0), 10, now=0)
    assert in_force(rollout, 500, now=9) is rollout


def test_the_youngest_gives_first_and_goes_when_it_has_nothing_left() -> None:
    three = Rollout(
        (Share("a", 50), Share("b", 30), Share("c", 20)), pace=Pace(size=25, interval=10, due=100)
    )
    assert step(three, now=99) is three
    once = step(three, now=100)
    assert percents(once) == [("a", 50), ("b", 5), ("c", 45)]
    twice = step(once, now=112)
    assert percents(twice) == [("a", 30), ("c", 70)]
    assert twice.pace == Pace(size=25, interval=10, due=122)
    thrice = step(twice, now=122)
    assert percents(thrice) == [("a", 5), ("c", 95)]
    assert step(thrice, now=132) == settled("c")


@pytest.mark.parametrize(
    ("percent", "shares"),
    [
        (100, [("a", 20), ("b", 30), ("c", 50)]),
        (80, [("a", 20), ("b", 30), ("c", 30)]),
        (70, [("a", 10), ("b", 30), ("c", 30)]),
        (60, [("b", 30), ("c", 30)]),
        (45, [("b", 15), ("c", 30)]),
        (30, [("c", 30)]),
        (10, [("c", 10)]),
        (0, [("c", 0)]),
    ],
)
def test_with_more_to_share_the_newest_wins_and_with_less_the_oldest_loses_first(
    percent: int, shares: list[tuple[str, int]]
) -> None:
    pace = Pace(size=5, interval=SECOND, due=9)
    three = Rollout((Share("a", 20), Share("b", 30), Share("c", 30)), percent=80, pace=pace)
    changed = resized(three, percent)
    assert (percents(changed), changed.percent) == (shares, percent)
    assert changed.pace == (pace if len(shares) > 1 else None)
    assert percents(resized(settled("a", 0), 40)) == [("a", 40)]


@given(
    percent=st.integers(2, 100),
    duration=st.floats(1, 5000),
    took=st.integers(0, 100 * SECOND),
    joins=st.lists(st.integers(0, 40), max_size=3),
)
def test_every_rollout_ends_with_the_newest_and_shares_never_leave_the_sum(
    percent: int, duration: float, took: int, joins: list[int]
) -> None:
    now = 0
    rollout = in_force(begin(settled("r0", percent), "r1", now), duration, now + took)
    newest_before = 0
    steps = 0
    while not rollout.over:
        assert sum(share.percent for share in rollout.shares) == percent
        assert all(share.percent > 0 for share in rollout.shares)
        assert rollout.shares[-1].percent >= newest_before
        newest_before = rollout.shares[-1].percent
        assert rollout.pace is not None
        assert rollout.pace.due > now
        now = rollout.pace.due
        rollout = step(rollout, now)
        steps += 1
        if joins and joins[0] <= steps:
            rollout = begin(rollout, f"r{steps + 1}", now)
            rollout = in_force(rollout, duration, now)
            newest_before = 0
            joins.pop(0)
    assert percents(rollout) == [(rollout.newest, percent)]


@pytest.mark.parametrize("duration", [10, 60, 380, 3600])
def test_a_rollout_takes_about_as_long_as_it_was_told(duration: float) -> None:
    rollout = in_force(begin(settled("a"), "b", now=0), duration, now=0)
    now = 0
    while rollout.pace is not None:
        now = rollout.pace.due
        rollout = step(rollout, now)
    # Steps are rounded to whole percents: at 1.5 each, to two.
    assert 0.75 * duration <= now / SECOND <= 1.5 * duration
