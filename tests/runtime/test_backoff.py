"""How long a revision whose starts fail is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wakeful.runtime.backoff import FRESH, Backoff


def failing_tries(count: int) -> list[Backoff]:
    """Each try begins when the one before allows it, and fails at once."""
    backoff, now, all_of_them = FRESH, 100.0, []
    for _ in range(count):
        backoff = backoff.failed(began=now, now=now)
        all_of_them.append(backoff)
        now = backoff.until
    return all_of_them


def test_nothing_is_blocked_before_anything_failed() -> None:
    assert not FRESH.blocks(now=0.0)
    assert not FRESH.blocks(now=-1e9)


def test_the_delay_doubles_from_one_second_to_a_minute() -> None:
    assert [b.delay for b in failing_tries(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_next_try_may_begin_exactly_when_the_delay_is_over() -> None:
    backoff = FRESH.failed(began=5.0, now=7.0)

    assert backoff.until == 8.0
    assert backoff.blocks(now=7.999)
    assert not backoff.blocks(now=8.0)


def test_instances_that_were_asked_for_together_fail_as_one_try() -> None:
    backoff = FRESH.failed(began=0.0, now=1.0)
    backoff = backoff.failed(began=0.0, now=1.5)
    backoff = backoff.failed(began=0.0, now=3.0)

    assert (backoff.failures, backoff.until) == (1, 4.0)


def test_instances_that_fail_in_the_moment_they_are_asked_for_are_one_try_too() -> None:
    backoff = FRESH.failed(began=5.0, now=5.0).failed(began=5.0, now=5.0)

    assert (backoff.failures, backoff.until) == (1, 6.0)


def test_a_slow_failure_of_an_old_try_does_not_hide_a_failure_of_the_next() -> None:
    backoff = FRESH.failed(began=0.0, now=1.0)  # the first of two
    backoff = backoff.failed(began=0.0, now=2.5)  # the second, while the next try is on its way
    backoff = backoff.failed(began=2.0, now=3.0)

    assert (backoff.failures, backoff.until) == (2, 5.0)


def test_a_thousand_failures_are_still_a_minute_apart() -> None:
    last = failing_tries(1100)[-1]
    assert last.until - last.failed_at == 60.0


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), max_size=30))
def test_a_failure_never_allows_the_next_try_earlier(script: list[tuple[float, float]]) -> None:
    backoff, now = FRESH, 0.0
    for elapsed, age in script:
        now += elapsed
        before = backoff
        backoff = backoff.failed(began=now - age, now=now)
        assert backoff.until >= before.until
        assert backoff.blocks(now)
        assert 0.999 < backoff.until - now < 60.001
