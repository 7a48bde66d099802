"""One timer for all schedules, on a wall clock that may be set."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.scaler.test_schedule import moment
from wakeful.clock import run_simulated
from wakeful.config.model import WarmWindow
from wakeful.scaler.timetable import Timetable

DAY = (WarmWindow("0 8 * * *", "0 18 * * *", min_instances=2),)
NIGHT = (WarmWindow("0 22 * * *", "0 6 * * *"),)
MINUTE, HOUR = 60.0, 3600.0


class Clock:
    """The wall clock; the loop's own begins at zero."""

    def __init__(self, at: str) -> None:
        self.ahead = moment(at)
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.ahead + asyncio.get_running_loop().time()


class Changes(list[tuple[float, str, int]]):
    """What was said, and when: seconds since the beginning."""

    def __call__(self, revision: str, minimum: int) -> None:
        self.append((round(asyncio.get_running_loop().time(), 3), revision, minimum))


def run(main: Coroutine[Any, Any, None]) -> None:
    run_simulated(main)


def test_a_change_is_said_when_it_comes() -> None:
    async def main() -> None:
        changes = Changes()
        table = Timetable(changes, Clock("2024-01-15T07:30+00:00"))
        assert table.put("a", DAY) == 0
        assert table.put("b", NIGHT) == 0
        await asyncio.sleep(24 * HOUR)
        table.close()
        assert changes == [
            (0.5 * HOUR, "a", 2),
            (10.5 * HOUR, "a", 0),
            (14.5 * HOUR, "b", 1),
            (22.5 * HOUR, "b", 0),
        ]

    run(main())


def test_who_comes_in_the_middle_of_a_window_is_told_at_once() -> None:
    async def main() -> None:
        changes = Changes()
        table = Timetable(changes, Clock("2024-01-15T12:00+00:00"))
        assert table.put("a", DAY) == 2
        assert table.put("a", DAY) == 2
        await asyncio.sleep(7 * HOUR)
        table.close()
        assert changes == [(6 * HOUR, "a", 0)]

    run(main())


def test_a_later_schedule_with_an_earlier_change_is_not_missed() -> None:
    async def main() -> None:
        changes = Changes()
        table = Timetable(changes, Clock("2024-01-15T17:59:30+00:00"))
        table.put("b", NIGHT)
        table.put("a", DAY)
        await asyncio.sleep(MINUTE)
        table.close()
        assert changes == [(30.0, "a", 0)]

    run(main())


def test_another_schedule_takes_the_place_of_the_first() -> None:
    async def main() -> None:
        changes = Changes()
        table = Timetable(changes, Clock("2024-01-15T12:00+00:00"))
        assert table.put("a", DAY) == 2
        assert table.put("a", NIGHT) == 0
        await asyncio.sleep(11 * HOUR)
        table.close()
        assert changes == [(10 * HOUR, "a", 1)]

    run(main())


def test_without_schedules_there_is_no_timer() -> None:
    async def main() -> None:
        clock = Clock("2024-01-15T07:30+00:00")
        table = Timetable(Changes(), clock)
        table.put("a", DAY)
        table.put("b", DAY)
        table.drop("a")
        table.drop("unknown")
        assert table.put("b", ()) == 0
        looks = clock.looks
        await asyncio.sleep(HOUR)
        assert clock.looks == looks

    run(main())


def test_however_many_there_are_the_clock_is_looked_at_once_a_minute() -> None:
    async def main() -> None:
        clock = Clock("2024-01-15T12:00+00:00")
        changes = Changes()
        table = Timetable(changes, clock)
        for number in range(500):
            table.put(f"s{number}", DAY)
        clock.looks = 0
        await asyncio.sleep(5 * HOUR)
        assert clock.looks == 5 * 60
        await asyncio.sleep(1.5 * HOUR)
        table.close()
        assert changes == [(6 * HOUR, f"s{number}", 0) for number in range(500)]

    run(main())


def test_a_clock_that_is_set_is_noticed_within_a_minute() -> None:
    async def main() -> None:
        clock = Clock("2024-01-15T07:00+00:00")
        changes = Changes()
        table = Timetable(changes, clock)
        table.put("a", DAY)
        await asyncio.sleep(30.0)
        clock.ahead += 2 * HOUR  # 09:00:30
        await asyncio.sleep(MINUTE)
        assert changes == [(60.0, "a", 2)]
        clock.ahead -= 2 * HOUR  # 07:01:30
        await asyncio.sleep(MINUTE)
        assert changes[1:] == [(120.0, "a", 0)]
        clock.ahead += 30 * 24 * HOUR
        await asyncio.sleep(MINUTE)
        assert changes[2:] == []  # it is 07:03 then too
        await asyncio.sleep(HOUR)
        assert changes[2:] == [(HOUR, "a", 2)]
        table.close()

    run(main())


def test_a_clock_that_is_set_back_before_the_first_look_is_noticed() -> None:
    async def main() -> None:
        clock = Clock("2024-01-15T08:00:10+00:00")
        changes = Changes()
        table = Timetable(changes, clock)
        assert table.put("a", DAY) == 2
        clock.ahead -= HOUR
        assert table.put("b", DAY) == 0
        await asyncio.sleep(MINUTE)
        table.close()
        assert changes == [(60.0, "a", 0)]

    run(main())
