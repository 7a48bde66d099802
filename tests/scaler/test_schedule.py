"""When a window is open: by the calendar, the clocks of a zone, and daylight saving."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import inf, nextafter
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeful.config.model import WarmWindow
from wakeful.scaler.schedule import Scheduled, scheduled

BERLIN = "Europe/Berlin"
OFFICE = WarmWindow("0 8 * * mon-fri", "0 18 * * mon-fri", BERLIN, 2)


def moment(text: str) -> float:
    """Unix time of a time with its offset."""
    return datetime.fromisoformat(text).timestamp()


def asks(windows: WarmWindow | list[WarmWindow], at: str) -> tuple[int, str]:
    """How many at that time, and until when; said with the offset of the question."""
    given = datetime.fromisoformat(at)
    found = scheduled([windows] if isinstance(windows, WarmWindow) else windows, given.timestamp())
    assert found.since == given.timestamp()
    if found.until == inf:
        return found.minimum, "for ever"
    until = datetime.fromtimestamp(found.until, given.tzinfo)
    return found.minimum, until.isoformat(timespec="minutes")


def test_without_windows_nothing_is_asked_for() -> None:
    assert scheduled([], 5.0) == Scheduled(0, 5.0, inf)


# 15 January 2024 is a Monday.
@pytest.mark.parametrize(
    ("at", "minimum", "until"),
    [
        ("2024-01-15T07:59:59+01:00", 0, "2024-01-15T08:00+01:00"),
        ("2024-01-15T08:00:00+01:00", 2, "2024-01-15T18:00+01:00"),
        ("2024-01-15T17:59:59.999+01:00", 2, "2024-01-15T18:00+01:00"),
        ("2024-01-15T18:00:00+01:00", 0, "2024-01-16T08:00+01:00"),
        ("2024-01-19T18:00:00+01:00", 0, "2024-01-22T08:00+01:00"),
        ("2024-01-21T12:00:00+01:00", 0, "2024-01-22T08:00+01:00"),
    ],
)
def test_office_hours(at: str, minimum: int, until: str) -> None:
    assert asks(OFFICE, at) == (minimum, until)


def test_a_zone_is_what_its_clocks_show() -> None:
    def daily(zone: str) -> WarmWindow:
        return WarmWindow("0 8 * * *", "0 9 * * *", zone)

    # Noon in UTC in July: 14:00 in Berlin, 08:00 in New York, 21:00 in Tokyo.
    noon = "2024-07-01T12:00+00:00"
    assert asks(daily(BERLIN), noon) == (0, "2024-07-02T06:00+00:00")
    assert asks(daily("America/New_York"), noon) == (1, "2024-07-01T13:00+00:00")
    assert asks(daily("Asia/Tokyo"), noon) == (0, "2024-07-01T23:00+00:00")
    assert asks(daily("UTC"), noon) == (0, "2024-07-02T08:00+00:00")


@pytest.mark.parametrize(
    ("at", "minimum", "until"),
    [
        ("2024-01-15T21:59+00:00", 0, "2024-01-15T22:00+00:00"),
        ("2024-01-15T23:00+00:00", 1, "2024-01-16T06:00+00:00"),
        ("2024-01-16T00:00+00:00", 1, "2024-01-16T06:00+00:00"),
        ("2024-01-16T05:59+00:00", 1, "2024-01-16T06:00+00:00"),
        ("2024-01-16T06:00+00:00", 0, "2024-01-16T22:00+00:00"),
    ],
)
def test_a_window_over_midnight(at: str, minimum: int, until: str) -> None:
    assert asks(WarmWindow("0 22 * * *", "0 6 * * *"), at) == (minimum, until)


def test_the_last_moment_before_a_start_does_not_miss_it() -> None:
    start = moment("2024-01-15T08:00+01:00")
    before = nextafter(start, 0)
    assert scheduled([OFFICE], before) == Scheduled(0, before, start)


def test_a_window_over_a_weekend_and_one_of_a_leap_day() -> None:
    weekend = WarmWindow("0 22 * * fri", "0 6 * * mon")
    assert asks(weekend, "2024-01-21T12:00+00:00") == (1, "2024-01-22T06:00+00:00")
    leap = WarmWindow("0 0 29 2 *", "0 0 1 3 *")
    assert asks(leap, "2024-02-29T23:59+00:00") == (1, "2024-03-01T00:00+00:00")
    assert asks(leap, "2024-03-01T00:00+00:00") == (0, "2028-02-29T00:00+00:00")


def test_a_window_that_ends_when_the_next_begins_is_always_open() -> None:
    whole_day = WarmWindow("0 8 * * *", "0 8 * * *")
    assert asks(whole_day, "2024-01-15T07:59+00:00") == (1, "2024-01-15T08:00+00:00")
    assert asks(whole_day, "2024-01-15T08:00+00:00") == (1, "2024-01-16T08:00+00:00")


def test_an_end_in_the_minute_of_a_start_is_the_end_of_the_window_before() -> None:
    # Begins every hour and ends at noon and at half past noon.
    window = WarmWindow("0 * * * *", "0,30 12 * * *")
    assert asks(window, "2024-01-15T12:00+00:00") == (1, "2024-01-15T12:30+00:00")
    assert asks(window, "2024-01-15T12:30+00:00") == (0, "2024-01-15T13:00+00:00")


def test_of_several_windows_the_most_counts_and_the_earliest_change() -> None:
    lunch = WarmWindow("30 11 * * *", "0 13 * * *", BERLIN, 5)
    day = "2024-01-15T{}:00+01:00"
    assert asks([OFFICE, lunch], day.format("11:00")) == (2, "2024-01-15T11:30+01:00")
    assert asks([lunch, OFFICE], day.format("12:00")) == (5, "2024-01-15T13:00+01:00")
    assert asks([OFFICE, lunch], day.format("13:00")) == (2, "2024-01-15T18:00+01:00")
    assert asks([OFFICE, lunch], day.format("19:00")) == (0, "2024-01-16T08:00+01:00")


def test_a_time_that_never_comes_changes_nothing() -> None:
    never = "0 0 */30 2 sun#5"  # neither the 1st nor the 31st of February is a fifth Sunday
    at = "2024-01-15T12:00+00:00"
    assert asks(WarmWindow(never, "0 8 * * *"), at) == (0, "for ever")
    assert asks(WarmWindow("0 8 * * *", never), at) == (1, "for ever")


# In Berlin the clocks go from 02:00 to 03:00 on 31 March 2024 ...
@pytest.mark.parametrize(
    ("start", "end", "at", "minimum", "until"),
    [
        # A start that is skipped comes right after the gap; so does an end.
        ("30 2", "0 12", "2024-03-31T01:59:59+01:00", 0, "2024-03-31T02:00+01:00"),
        ("30 2", "0 12", "2024-03-31T03:00:00+02:00", 1, "2024-03-31T12:00+02:00"),
        ("0 0", "30 2", "2024-03-31T01:59:59+01:00", 1, "2024-03-31T02:00+01:00"),
        ("0 0", "30 2", "2024-03-31T03:00:00+02:00", 0, "2024-04-01T00:00+02:00"),
        # What lies in the gap with both ends is not there that day.
        ("10 2", "40 2", "2024-03-31T03:00:00+02:00", 0, "2024-04-01T02:10+02:00"),
        # The day has 23 hours.
        ("0 22", "0 6", "2024-03-30T23:00:00+01:00", 1, "2024-03-31T05:00+01:00"),
    ],
)
def test_clocks_that_go_forward(start: str, end: str, at: str, minimum: int, until: str) -> None:
    window = WarmWindow(f"{start} * * *", f"{end} * * *", BERLIN)
    assert asks(window, at) == (minimum, until)


# ... and from 03:00 back to 02:00 on 27 October.
@pytest.mark.parametrize(
    ("start", "end", "at", "minimum", "until"),
    [
        # It begins the first time that the clocks show it, and does not begin again.
        ("30 2", "0 12", "2024-10-27T02:29:59+02:00", 0, "2024-10-27T02:30+02:00"),
        ("30 2", "0 12", "2024-10-27T02:30:00+02:00", 1, "2024-10-27T13:00+02:00"),
        ("30 2", "0 12", "2024-10-27T02:15:00+01:00", 1, "2024-10-27T12:00+01:00"),
        # It ends the first time, and is over the second time.
        ("0 1", "30 2", "2024-10-27T02:15:00+02:00", 1, "2024-10-27T02:30+02:00"),
        ("0 1", "30 2", "2024-10-27T02:15:00+01:00", 0, "2024-10-28T01:00+01:00"),
        ("10 2", "40 2", "2024-10-27T02:20:00+02:00", 1, "2024-10-27T02:40+02:00"),
        ("10 2", "40 2", "2024-10-27T02:20:00+01:00", 0, "2024-10-28T02:10+01:00"),
        # The day has 25 hours.
        ("0 22", "0 6", "2024-10-26T23:00:00+02:00", 1, "2024-10-27T07:00+02:00"),
    ],
)
def test_clocks_that_go_back(start: str, end: str, at: str, minimum: int, until: str) -> None:
    window = WarmWindow(f"{start} * * *", f"{end} * * *", BERLIN)
    assert asks(window, at) == (minimum, until)


TIMES = st.tuples(st.integers(0, 59), st.integers(0, 4))


def watched(
    start: tuple[int, int], end: tuple[int, int], zone: ZoneInfo
) -> Iterator[tuple[float, bool]]:
    """A clock that is looked at every minute for two days and a night in October or March."""
    began = datetime(2024, 10, 26, tzinfo=UTC)
    seen = began.astimezone(zone).replace(tzinfo=None) - timedelta(days=2)
    is_open = False
    for minute in range(2 * 24 * 60):
        now = began + timedelta(minutes=minute)
        shown = now.astimezone(zone).replace(tzinfo=None)
        while seen < shown:  # each minute that it shows for the first time, or skips
            seen += timedelta(minutes=1)
            if (seen.minute, seen.hour) == end:
                is_open = False
            if (seen.minute, seen.hour) == start:
                is_open = True
        yield now.timestamp(), is_open


@given(TIMES, TIMES, st.sampled_from([BERLIN, "Australia/Lord_Howe", "America/St_Johns", "UTC"]))
@settings(max_examples=20, deadline=None)
def test_it_is_what_somebody_who_watches_the_clock_would_do(
    start: tuple[int, int], end: tuple[int, int], zone: str
) -> None:
    window = WarmWindow("{} {} * * *".format(*start), "{} {} * * *".format(*end), zone)
    for at, is_open in watched(start, end, ZoneInfo(zone)):
        if at % 600 == 0:
            assert scheduled([window], at).minimum == is_open


@given(
    st.lists(
        st.builds(
            WarmWindow,
            st.sampled_from(["0 8 * * *", "30 2 * * *", "0 22 * * fri", "*/7 1-3 * * *"]),
            st.sampled_from(["0 18 * * *", "30 2 * * *", "0 6 * * mon", "5 * * * *"]),
            st.sampled_from([BERLIN, "UTC", "Antarctica/Troll"]),
            st.integers(1, 3),
        ),
        max_size=2,
    ),
    st.floats(moment("2024-03-29T00:00+00:00"), moment("2024-04-02T00:00+00:00")),
    st.floats(0, 1),
)
@settings(deadline=None)
def test_an_answer_holds_until_it_says(windows: list[WarmWindow], at: float, part: float) -> None:
    found = scheduled(windows, at)
    assert found.until > at
    later = min(at + part * (min(found.until, at + 1e6) - at), nextafter(found.until, 0))
    assert found.holds(at)
    assert found.holds(later)
    assert not found.holds(found.until)
    assert scheduled(windows, later).minimum == found.minimum
    assert scheduled(windows, later).until == found.until
