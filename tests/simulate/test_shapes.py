"""Made-up traffic: how many requests, and when."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.simulate.shapes import Kind, Segment, at_random, evenly, segments


def moments(kind: Kind, low: float, high: float, length: float) -> list[float]:
    return list(evenly(segments(kind, low, high, length)))


def between(found: list[float], begin: float, end: float) -> int:
    return sum(begin - 1e-6 <= moment < end - 1e-6 for moment in found)


def test_a_constant_rate_is_even() -> None:
    found = list(evenly([Segment(2, 3, first=4, last=4)]))
    assert found == pytest.approx([2 + n / 4 for n in range(12)])


def test_a_step_is_high_from_a_tenth_to_nine_tenths() -> None:
    found = moments(Kind.STEP, 0, 200, 60)
    assert len(found) == 200 * 48
    assert found[0] == 6
    assert found[-1] == pytest.approx(54 - 1 / 200)
    gaps = [later - one for one, later in pairwise(found)]
    assert gaps == pytest.approx([1 / 200] * len(gaps))


def test_outside_of_its_step_there_is_the_lower_rate() -> None:
    found = moments(Kind.STEP, 10, 100, 100)
    assert between(found, 0, 10) == between(found, 90, 100) == 100
    assert between(found, 10, 90) == 8000


def test_a_ramp_goes_up_and_down_in_straight_lines() -> None:
    found = moments(Kind.RAMP, 0, 100, 20)
    # The first n requests are there when 5*t**2 = n.
    assert found[:500] == pytest.approx([(n / 5) ** 0.5 for n in range(500)])
    assert len(found) == 1000
    assert between(found, 15, 20) == 125


def test_a_spike_is_a_twentieth_of_the_time_from_half_time_on() -> None:
    found = moments(Kind.SPIKE, 1, 50, 200)
    assert between(found, 0, 100) == 100
    assert between(found, 100, 110) == 500
    assert between(found, 110, 200) == 90


def test_a_sine_has_four_periods_and_the_mean_of_its_ends() -> None:
    found = moments(Kind.SINE, 20, 60, 400)
    assert len(found) == pytest.approx(40 * 400, abs=1)
    quarter = [between(found, begin, begin + 100) for begin in range(0, 400, 100)]
    assert quarter == pytest.approx([4000] * 4, abs=1)
    # Around its lowest and its highest point it is nearly as low and as high as it gets.
    assert between(found, 0, 2) == pytest.approx(2 * 20, abs=1)
    assert between(found, 49, 51) == pytest.approx(2 * 60, abs=1)


@given(
    kind=st.sampled_from([Kind.STEP, Kind.RAMP, Kind.SPIKE, Kind.SINE]),
    low=st.floats(0, 50),
    more=st.floats(0, 200),
    length=st.floats(0.1, 100),
)
def test_requests_come_in_order_within_the_time_and_never_faster_than_the_highest_rate(
    kind: Kind, low: float, more: float, length: float
) -> None:
    found = moments(kind, low, low + more, length)
    assert all(0 <= moment <= length for moment in found)
    assert all(later - one >= 1 / (low + more) - 1e-6 for one, later in pairwise(found))


@given(low=st.floats(0, 50), more=st.floats(0, 200), length=st.floats(1, 100))
def test_as_many_requests_come_as_the_rate_adds_up_to(
    low: float, more: float, length: float
) -> None:
    ramp = moments(Kind.RAMP, low, low + more, length)
    assert abs(len(ramp) - (low + more / 2) * length) <= 1
    step = moments(Kind.STEP, low, low + more, length)
    assert abs(len(step) - (low + more * 0.8) * length) <= 1


def test_poisson_arrivals_have_exponential_gaps() -> None:
    found = list(at_random(50, 400, Random(7).expovariate))
    assert len(found) == pytest.approx(20_000, rel=0.03)  # 4 standard deviations
    gaps = [later - one for one, later in pairwise(found)]
    # An exponential gap is longer than its mean with a chance of 1/e.
    assert sum(gap > 1 / 50 for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.015)
    assert max(found) < 400


def test_at_a_rate_of_nothing_nothing_comes() -> None:
    assert list(at_random(0, 100, Random(1).expovariate)) == []
    assert moments(Kind.SINE, 0, 0, 100) == []
    (flat,) = segments(Kind.POISSON, 0, 30, 100)
    assert flat == Segment(0, 100, 30, 30)
