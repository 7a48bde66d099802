from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from wakeful.runtime.instance import InstanceId
from wakeful.runtime.ladder import Spare, next_due, overdue


def spare(name: str, used: float, until: float = inf, memory: int = 10) -> Spare:
    return Spare(InstanceId(name), used, until, memory)


def test_a_spare_is_stopped_when_its_time_is_up_and_not_before() -> None:
    spares = [spare("a", 0, until=900), spare("b", 0, until=901)]
    assert overdue(spares, 100, now=899.9) == []
    assert overdue(spares, 100, now=900) == ["a"]
    assert next_due(spares) == 900
    assert next_due([]) == inf


def test_beyond_the_budget_the_least_recently_used_go_first() -> None:
    spares = [spare("b", 2), spare("d", 4), spare("a", 1), spare("c", 3)]
    assert overdue(spares, 40, now=5) == []
    assert overdue(spares, 39, now=5) == ["a"]
    assert overdue(spares, 20, now=5) == ["a", "b"]
    assert overdue(spares, 0, now=5) == ["a", "b", "c", "d"]


def test_one_whose_time_is_up_takes_nothing_of_the_budget() -> None:
    assert overdue([spare("a", 1), spare("b", 2, until=3)], 10, now=3) == ["b"]


def test_a_large_one_is_not_kept_at_the_cost_of_one_used_later() -> None:
    assert overdue([spare("large", 1, memory=95), spare("small", 2)], 100, now=5) == ["large"]
    # Nor is a small one kept that was used before it.
    spares = [spare("old", 0), spare("large", 1, memory=95), spare("new", 2)]
    assert overdue(spares, 100, now=5) == ["old", "large"]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 40))),
    st.integers(0, 100),
    st.integers(0, 50),
)
def test_what_is_kept_fits_and_is_what_was_used_latest(
    drawn: list[tuple[int, int, int]], budget: int, now: int
) -> None:
    spares = [spare(f"i{n}", used, until, memory) for n, (used, until, memory) in enumerate(drawn)]
    stopped = set(overdue(spares, budget, now))
    kept = [each for each in spares if each.instance not in stopped]
    assert sum(each.memory for each in kept) <= budget
    assert all(each.until > now for each in kept)
    dropped = [each for each in spares if each.instance in stopped and each.until > now]
    if dropped and kept:
        assert max(each.used for each in dropped) <= min(each.used for each in kept)
    if dropped:  # with the latest of them it would have been too much
        latest = max(dropped, key=lambda each: each.used)
        assert sum(each.memory for each in kept) + latest.memory > budget
