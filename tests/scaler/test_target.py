from __future__ import annotations

import pytest

from wakeful.config.model import Metric, Scale
from wakeful.scaler.target import Target, panic_window_seconds, resolve_target


def test_without_a_limit_an_instance_is_meant_for_a_hundred_requests() -> None:
    assert resolve_target(Scale(), 0) == Target(value=70, total=100)


def test_a_hard_limit_is_the_total_and_70_percent_of_it_the_target() -> None:
    assert resolve_target(Scale(), 10) == Target(value=7, total=10)


def test_a_soft_target_never_exceeds_the_hard_limit() -> None:
    assert resolve_target(Scale(target=50, utilization=1), 10) == Target(value=10, total=10)
    assert resolve_target(Scale(target=5, utilization=1), 10) == Target(value=5, total=5)


def test_requests_per_second_have_nothing_to_do_with_the_hard_limit() -> None:
    rps = Scale(metric=Metric.RPS, utilization=0.5)
    assert resolve_target(rps, 1) == Target(value=100, total=200)
    assert resolve_target(Scale(metric=Metric.RPS, target=30, utilization=1), 1).total == 30


def test_a_target_is_never_so_small_that_one_request_asks_for_a_crowd() -> None:
    assert resolve_target(Scale(target=0.001), 0).value == 0.01


@pytest.mark.parametrize(
    ("window", "fraction", "seconds"),
    [
        (60, 0.10, 6),
        (10, 0.10, 1),
        (6, 0.01, 1),  # never less than a second
        (15, 0.10, 2),  # 1.5
        (25, 0.10, 3),  # 2.5, where Python's round says 2
        (50, 0.29, 15),  # 14.5, where 50 * 0.29 is a little less
        (3600, 1.0, 3600),
    ],
)
def test_the_panic_window_is_whole_seconds_and_halves_round_up(
    window: float, fraction: float, seconds: int
) -> None:
    assert panic_window_seconds(window, fraction) == seconds
