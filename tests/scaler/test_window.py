from __future__ import annotations

from math import ceil, isclose

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wakeful.config.model import Aggregation
from wakeful.scaler.window import (
    LinearWindow,
    WeightedWindow,
    Window,
    round_digits,
    round_half_away,
    smoothing,
    window,
)

# Eighths add up without rounding, so the models below may add in any order.
values = st.integers(0, 8000).map(lambda eighths: eighths / 8)
scripts = st.lists(st.tuples(st.integers(-40, 40), values), max_size=60)


class Naive:
    """What a window should say, from all that was ever recorded, slowly."""

    def __init__(self, seconds: int, granularity: int) -> None:
        self.size = ceil(seconds / granularity)
        self.granularity = granularity
        self.buckets: dict[int, float] = {}
        self.first: int | None = None
        self.last = 0

    def record(self, second: int, value: float) -> None:
        bucket = second // self.granularity
        if self.first is None or bucket >= self.last + self.size:
            self.first, self.buckets = bucket, {}
        elif bucket <= self.last - self.size:
            return
        self.first = min(self.first, bucket)
        self.last = bucket if not self.buckets else max(self.last, bucket)
        self.buckets[bucket] = self.buckets.get(bucket, 0.0) + value

    def recent(self, second: int) -> list[float]:
        """The buckets of the window that ends at ``second``, newest first."""
        oldest = max(self.last, second // self.granularity) - self.size
        return [self.buckets.get(at, 0.0) for at in range(self.last, oldest, -1)]

    def linear(self, second: int) -> float:
        recent = self.recent(second)
        if self.first is None or not recent:
            return 0.0
        return round_digits(sum(recent) / min(len(recent), self.last - self.first + 1), 6)

    def weighted(self, second: int) -> float:
        weight = smoothing(self.size)
        silent = max(0, second // self.granularity - self.last)
        return sum(
            value * weight * (1 - weight) ** (silent + age)
            for age, value in enumerate(self.recent(second))
        )


def replay(ours: Window, naive: Naive, script: list[tuple[int, float]]) -> list[int]:
    """Record the script in both, moving through time; the seconds worth a question."""
    now, asked = 1_000, []
    for step, value in script:
        now = max(now, now + step)
        second = now + min(step, 0)  # a negative step is a record that comes late
        ours.record(second, value)
        naive.record(second, value)
        asked.append(now)
    return asked


@given(scripts, st.integers(1, 30), st.integers(1, 4), st.integers(0, 40))
def test_a_linear_window_says_what_a_list_of_all_records_would(
    script: list[tuple[int, float]], seconds: int, granularity: int, later: int
) -> None:
    ours, naive = LinearWindow(seconds, granularity), Naive(seconds, granularity)
    asked = replay(ours, naive, script)
    for second in {*asked[-1:], *(at + later for at in asked[-1:])}:
        assert isclose(ours.average(second), naive.linear(second), abs_tol=1e-9)


class Running:
    """The sum as Knative has it, a total that is added to and subtracted from, oldest first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.buckets: dict[int, float] = {}
        self.total = 0.0
        self.first = self.last = 0

    def record(self, second: int, value: float) -> None:
        if not self.last or second - self.last >= self.size:
            self.buckets, self.total, self.first = {}, 0.0, second
        for old in sorted(one for one in self.buckets if one <= second - self.size):
            self.total -= self.buckets.pop(old)
        self.last = second
        self.buckets[second] = self.buckets.get(second, 0.0) + value
        self.total += value

    def average(self) -> float:
        return round_digits(self.total / min(self.last - self.first + 1, self.size), 6)


# Halves of the last decimal, so that the last bit of a sum decides.
halves = st.sampled_from([0.0, 0.0, 0.5e-6, 1.5e-6, 2.5e-6, 0.1, 0.2, 0.3, 1e3 + 0.1])


# 0.7 + 0.1 - 0.7 - 0.1 leaves -2.8e-17, and half of the last decimal is less than half.
@example([(1, 0.7), (1, 0.1), (1, 0.0), (1, 0.0), (1, 1e-6)], 2)
@given(st.lists(st.tuples(st.integers(0, 3), halves), max_size=40), st.integers(1, 6))
def test_an_average_halfway_is_rounded_as_knatives_running_total_says(
    script: list[tuple[int, float]], seconds: int
) -> None:
    ours, running = LinearWindow(seconds), Running(seconds)
    now = 1_000
    for step, value in script:
        now += step
        ours.record(now, value)
        running.record(now, value)
        assert ours.average(now) == running.average()


@given(scripts, st.integers(1, 30), st.integers(1, 4), st.integers(0, 40))
def test_a_weighted_window_says_what_a_list_of_all_records_would(
    script: list[tuple[int, float]], seconds: int, granularity: int, later: int
) -> None:
    ours, naive = WeightedWindow(seconds, granularity), Naive(seconds, granularity)
    asked = replay(ours, naive, script)
    for second in {*asked[-1:], *(at + later for at in asked[-1:])}:
        expected = 0.0 if ours.empty(second) else naive.weighted(second)
        assert isclose(ours.average(second), expected, rel_tol=1e-9, abs_tol=1e-12)


@given(scripts, st.integers(1, 30), st.integers(1, 30))
def test_resizing_keeps_the_newest_buckets(
    script: list[tuple[int, float]], before: int, after: int
) -> None:
    ours, naive = LinearWindow(before), Naive(before, 1)
    asked = replay(ours, naive, script)
    kept = naive.recent(naive.last)[:after]
    ours.resize(after)
    if asked and before != after:
        # As in Knative, the old window counts as full from now on.
        assert ours.average(naive.last) == round_digits(sum(kept) / len(kept), 6)
        ours.record(naive.last + 1, 0.0)
        kept = [0.0, *kept][:after]
        assert ours.average(naive.last + 1) == round_digits(sum(kept) / len(kept), 6)


@given(scripts, st.integers(1, 30))
def test_resizing_to_the_same_length_changes_nothing(
    script: list[tuple[int, float]], seconds: int
) -> None:
    ours, same = LinearWindow(seconds), LinearWindow(seconds)
    asked = replay(ours, Naive(seconds, 1), script)
    replay(same, Naive(seconds, 1), script)
    same.resize(seconds)
    assert [same.average(second) for second in asked] == [ours.average(second) for second in asked]


def test_before_the_window_is_full_the_average_is_over_the_seconds_seen() -> None:
    ours = LinearWindow(60)
    ours.record(100, 6.0)
    assert ours.average(100) == 6.0
    ours.record(101, 0.0)
    assert ours.average(101) == 3.0


def test_a_silence_shrinks_the_window_instead_of_diluting_it() -> None:
    ours = LinearWindow(4)
    for second, value in enumerate([4.0, 4.0, 8.0, 8.0]):
        ours.record(second, value)
    assert ours.average(3) == 6.0
    assert ours.average(5) == 8.0


def test_a_gap_between_records_counts_as_zeros() -> None:
    ours = LinearWindow(60)
    ours.record(0, 9.0)
    ours.record(2, 0.0)
    assert ours.average(2) == 3.0


@pytest.mark.parametrize("aggregation", Aggregation)
def test_one_window_after_the_last_record_the_average_is_zero_and_not_yet_unknown(
    aggregation: Aggregation,
) -> None:
    ours = window(aggregation, 60)
    assert ours.empty(0)
    ours.record(0, 5.0)
    assert ours.average(59) > 0
    assert (ours.average(60), ours.empty(60)) == (0.0, False)
    assert (ours.average(61), ours.empty(61)) == (0.0, True)


def test_a_late_record_changes_what_is_remembered_of_its_second() -> None:
    ours = LinearWindow(4)
    ours.record(10, 4.0)
    ours.record(8, 5.0)
    assert ours.average(10) == 3.0


def test_a_record_exactly_one_window_old_is_dropped() -> None:
    ours = LinearWindow(4)
    ours.record(10, 4.0)
    ours.record(6, 500.0)
    assert ours.average(10) == 4.0
    ours.record(7, 4.0)
    assert ours.average(10) == 2.0


def test_less_than_half_a_millionth_is_no_load() -> None:
    ours = LinearWindow(60)
    ours.record(0, 0.0000004)
    assert ours.average(0) == 0.0


def test_what_adding_and_subtracting_leaves_over_does_not_outlive_the_load() -> None:
    ours = LinearWindow(3)
    for second in range(1000):
        ours.record(second, 1e9 + second * 0.1)
    for second in range(1000, 1004):
        ours.record(second, 0.0)
    assert ours.average(1003) == 0.0
    ours.record(1004, 0.3)
    assert ours.average(1004) == 0.1


def test_a_record_in_a_new_weighted_window_reads_as_a_fifth_of_itself() -> None:
    ours = WeightedWindow(60)
    ours.record(0, 100.0)
    assert ours.average(0) == 20.0


def test_a_resized_weighted_window_weighs_by_its_new_length() -> None:
    ours = WeightedWindow(60)
    ours.resize(6)
    ours.record(0, 100.0)
    assert ours.average(0) == pytest.approx(78.45565309968155)


@pytest.mark.parametrize(("seconds", "granularity"), [(0, 1), (-1, 1), (6, 0)])
def test_a_window_has_a_length(seconds: int, granularity: int) -> None:
    with pytest.raises(ValueError, match="a window of"):
        LinearWindow(seconds, granularity)


@pytest.mark.parametrize(
    ("value", "whole"),
    [(0.5, 1), (1.5, 2), (2.5, 3), (-0.5, -1), (-2.5, -3), (0.49999999999999994, 0), (7, 7)],
)
def test_halves_are_rounded_away_from_zero(value: float, whole: int) -> None:
    assert round_half_away(value) == whole


def test_a_window_that_sleeps_is_a_few_words_however_long_it_is() -> None:
    def buckets(of: Window) -> int:
        return len(of._buckets or ())

    hour = LinearWindow(3600)
    hour.record(0, 0.0)
    assert buckets(hour) == 0
    hour.record(1, 1.0)
    assert buckets(hour) == 3600
    for second in range(2, 3602):
        hour.record(second, 0.0)
    assert buckets(hour) == 0
