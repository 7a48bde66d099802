from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wakeful.scaler.max_window import MaxWindow


@given(st.integers(1, 8), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1))
def test_the_current_value_is_the_largest_of_the_last_slots(
    slots: int, script: list[tuple[int, int]]
) -> None:
    window, slot, recorded = MaxWindow(slots), 0, []
    for step, value in script:
        slot += step
        window = window.record(slot, value)
        recorded.append((slot, value))
        assert window.current() == max(v for at, v in recorded if slot - at < slots)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20))))
def test_only_what_may_become_the_maximum_is_remembered(script: list[tuple[int, int]]) -> None:
    window, slot = MaxWindow(5), 0
    for step, value in script:
        slot += step
        window = window.record(slot, value)
        slots, values = zip(*window.falling, strict=True)
        assert slot - min(slots) < 5
        assert all(older > newer for older, newer in pairwise(values))


def test_recording_leaves_the_window_before_as_it_was() -> None:
    before = MaxWindow(3).record(0, 5)
    before.record(1, 9)
    assert before.current() == 5
