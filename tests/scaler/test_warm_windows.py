"""Schedules and the scaler: a window is a minimum for its time, and nothing besides."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tests.scaler.simulated_proxy import NAME, Outcome, until, world
from wakeful.clock import run_simulated as run
from wakeful.config.model import Revision, Template, WarmWindow
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import Address, Found, InstanceId
from wakeful.runtime.memory import Script

# Simulated time begins at a full hour.
SOON = WarmWindow("1 * * * *", "10 * * * *", min_instances=2)  # 60 s to 600 s
NOW = WarmWindow("0 * * * *", "10 * * * *", min_instances=2)  # 0 s to 600 s


def hello(*schedule: WarmWindow, **template: Any) -> Revision:
    return Revision("hello", 1, Template(image="hello:1", schedule=schedule, **template))


def test_a_window_starts_its_instances_and_its_end_leaves_the_rest_to_the_traffic() -> None:
    async def main() -> None:
        async with world(hello(SOON)) as it:
            await until(59)
            assert it.scaler.awake == ()
            assert it.status().scheduled == 0
            await until(599)
            assert it.starts() == [60.0, 60.0]
            assert (it.size(), it.status().scheduled) == (2, 2)
            await until(700)
            # Ticks are at odd seconds. At 601 there is no traffic, and KPA halves what is
            # ready; at 603 it wants none and the gate says inactive, at 605 zero.
            assert it.stops() == [601.0, 605.0]
            assert it.scaler.awake == ()
            assert it.status().cold_starts == 0

    run(main())


def test_a_window_comes_again() -> None:
    async def main() -> None:
        async with world(hello(SOON)) as it:
            await until(2 * 3600)
            assert it.starts() == [60.0, 60.0, 3660.0, 3660.0]
            assert len(it.stops()) == 4

    run(main())


def test_a_request_in_a_window_does_not_wait() -> None:
    async def main() -> None:
        async with world(hello(SOON)) as it:
            await until(61)
            assert (await it.send(NAME, duration=1)).waited == 0

    run(main())


def test_a_window_is_a_least_and_traffic_gets_more() -> None:
    async def main() -> None:
        async with world(hello(SOON, concurrency=1)) as it:
            await until(61)
            outcomes = await asyncio.gather(*(it.send(NAME, duration=2) for _ in range(3)))
            assert [outcome.waited for outcome in outcomes] == [0, 0, 0.35]
            await until(599)
            assert it.size() == 2

    run(main())


def test_the_end_of_a_window_stops_nothing_that_is_in_use() -> None:
    async def main() -> None:
        async with world(hello(SOON, concurrency=1)) as it:
            await until(590)
            requests = [it.send(NAME, duration=100) for _ in range(2)]
            await until(689)
            assert it.stops() == []
            assert [outcome.instance for outcome in await asyncio.gather(*requests)] == [
                "hello-1",
                "hello-2",
            ]

    run(main())


def test_who_starts_in_the_middle_of_a_window_has_its_instances_at_once() -> None:
    async def main() -> None:
        async with world(hello(NOW)) as it:
            await until(1)
            assert it.starts() == [0.0, 0.0]

    run(main())


def test_what_is_found_running_counts_for_the_window() -> None:
    async def main() -> None:
        async with world() as it:
            await it.driver.start(hello(NOW), InstanceId("old"))
            it.driver.starts.clear()
            it.add(hello(NOW))
            found = Found(InstanceId("old"), "hello", NAME, Address("old", 8080))
            assert it.scaler.adopt(found)
            await asyncio.sleep(0.5)
            assert len(it.starts()) == 1
            assert it.size() == 2

    run(main())


def test_a_minimum_of_the_service_and_that_of_a_window_are_not_added() -> None:
    async def main() -> None:
        async with world(hello(SOON, min_instances=1)) as it:
            await until(30)
            assert it.size() == 1
            await until(300)
            assert it.size() == 2
            await until(900)
            assert it.size() == 1
            assert it.starts() == [0.0, 60.0]

    run(main())


def test_a_window_never_goes_over_the_maximum() -> None:
    async def main() -> None:
        async with world(hello(replace(NOW, min_instances=5), max_instances=3)) as it:
            await until(300)
            assert it.starts() == [0.0] * 3

    run(main())


def test_a_schedule_that_is_changed_or_taken_away_holds_at_once() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            await until(100)
            it.add(hello(NOW))
            await until(101)
            assert it.starts() == [100.0, 100.0]
            it.add(hello(replace(NOW, min_instances=3)))
            await until(102)
            assert it.starts() == [100.0, 100.0, 101.0]
            it.add(hello())
            await until(300)
            assert it.size() == 0
            assert it.status().scheduled is None

    run(main())


def test_a_retired_revision_has_no_schedule_any_more() -> None:
    async def main() -> None:
        async with world(hello(NOW)) as it:
            await until(10)
            it.scaler.retire(NAME)
            await until(20)
            assert NAME not in it.scaler
            assert len(it.stops()) == 2
            assert it.scaler._timetable._timer is None
            await until(4000)
            assert it.starts() == [0.0, 0.0]

    run(main())


def test_a_start_that_fails_in_a_window_is_tried_again_without_a_request() -> None:
    async def main() -> None:
        script = Script(start=0.25, failure=DriverError("no"))
        async with world(hello(replace(NOW, min_instances=1)), script=script) as it:
            await until(14)
            # Each time at the first tick (at odd seconds) after the back-off of 1, 2 and 4 s.
            assert it.starts() == [0.0, 3.0, 7.0, 13.0]
            it.driver.default = Script()
            await until(60)
            assert it.size() == 1

    run(main())


def test_a_service_that_fell_asleep_before_is_woken_by_its_window() -> None:
    async def main() -> None:
        late = WarmWindow("5 0 * * *", "10 0 * * *")
        async with world(hello(late)) as it:
            assert await it.send(NAME, duration=0.1) == Outcome("hello-1", waited=0.35)
            await until(299)
            assert it.scaler.awake == ()
            await until(599)
            assert it.starts() == [0.0, 300.0]
            assert it.size() == 1

    run(main())


def test_without_windows_a_sleeping_service_has_no_timer() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            await until(10)
            assert it.scaler._timetable._timer is None

    run(main())
