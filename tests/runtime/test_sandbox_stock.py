"""How many sandboxes are kept ready, given when they were asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.runtime.sandbox_stock import MEMORY, MOST, REFILL, wanted

# In seconds; a refill takes 5 and a burst is remembered for 900.
CASES = [
    ("nobody ever asked: the next one may come", [], 0.0, 1),
    ("one at a time", [0, 5, 10, 15], 16.0, 1),
    ("two before there could be another", [0, 4.9], 5.0, 2),
    ("a burst", [100, 100, 100.1, 101], 102.0, 4),
    ("two bursts: the larger one", [0, 0, 0, 50, 50], 60.0, 3),
    ("a slow row of three within a refill", [0, 2, 4, 6, 8], 9.0, 3),
    ("a burst is remembered", [0, 0, 0], 899.0, 3),
    ("and forgotten", [0, 0, 0], 900.0, 1),
    ("no more than the most", [7.0] * 50, 8.0, 8),
]


@pytest.mark.parametrize(("story", "asked", "now", "stock"), CASES, ids=[one[0] for one in CASES])
def test_as_many_are_kept_as_were_asked_for_at_once(
    story: str, asked: list[float], now: float, stock: int
) -> None:
    assert (REFILL, MEMORY, MOST) == (5, 900, 8)
    assert wanted(asked, now) == stock


@given(st.lists(st.floats(0, 2000)), st.floats(0, 3000))
def test_it_is_the_most_within_any_refill_as_counted_by_hand(
    asked: list[float], now: float
) -> None:
    moments = sorted(moment for moment in asked if moment <= now)
    lately = [moment for moment in moments if moment > now - MEMORY]
    by_hand = max((sum(m - REFILL < one <= m for one in lately) for m in lately), default=1)
    assert wanted(moments, now) == min(by_hand, MOST)
