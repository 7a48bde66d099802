"""What the chaos does, and when."""

from __future__ import annotations

import pytest

from benchmarks.chaos_schedule import Event, schedule


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("seconds", [20.0, 240.0])
def test_every_kind_is_done_once_at_least_and_all_within_the_time(
    seed: int, seconds: float
) -> None:
    found = schedule(seed, seconds, apart=4.0)
    assert {event for _, event in found} == set(Event)
    assert all(0 < at < seconds for at, _ in found)
    assert [at for at, _ in found] == sorted(at for at, _ in found)


def test_a_longer_time_has_more_of_them() -> None:
    assert len(schedule(1, 20.0, apart=4.0)) == len(Event)
    assert len(schedule(1, 240.0, apart=4.0)) == 60


def test_the_seed_says_which() -> None:
    assert schedule(1, 240.0, apart=4.0) == schedule(1, 240.0, apart=4.0)
    assert schedule(1, 240.0, apart=4.0) != schedule(2, 240.0, apart=4.0)
