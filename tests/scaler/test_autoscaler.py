"""The loop, on a scripted driver in simulated time; see simulated_proxy for the other side."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.scaler.simulated_proxy import NAME, hello, until, world
from wakeful.clock import run_simulated as run
from wakeful.config.model import Metric, Revision, Scale, Template
from wakeful.events import Backends, Load, Sample
from wakeful.runtime.driver import DriverError
from wakeful.runtime.memory import Script

# Going to sleep


def test_a_service_sleeps_when_its_window_is_empty() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            await until(0.4)
            await it.send(NAME, duration=1)  # ends at 1.75
            await until(60.5)
            assert it.size() == 1

            # The second of the last byte leaves the window of 60 s at 62; the
            # decisions fall on odd seconds; the second one at zero acts.
            await until(70)
            assert it.stops() == [65]
            assert it.scaler.awake == ()
            assert it.status().desired == 0

    run(main())


def test_the_last_instance_is_retained_for_as_long_as_asked() -> None:
    async def main() -> None:
        async with world(hello(scale=Scale(retention=120))) as it:
            await it.send(NAME, duration=1)
            await until(182)
            assert it.stops() == []
            await until(190)
            assert it.stops() == [183]

    run(main())


def test_an_open_connection_keeps_its_instance_however_quiet_it_is() -> None:
    async def main() -> None:
        # A request rate of zero: only the open request speaks for it.
        scale = Scale(metric=Metric.RPS, window=6)
        async with world(hello(concurrency=0, scale=scale)) as it:
            download = it.send(NAME, duration=3600)
            await until(3600)
            assert (it.size(), it.stops()) == (1, [])
            assert it.status().desired == 1

            await download
            await until(3620)
            assert it.size() == 0

    run(main())


def test_an_instance_with_requests_in_it_is_stopped_only_after_the_last() -> None:
    async def main() -> None:
        async with world(hello(concurrency=1, scale=Scale(window=6, utilization=1))) as it:
            long = [it.send(NAME, duration=200) for _ in range(2)]
            short = [it.send(NAME, duration=1) for _ in range(6)]
            await asyncio.gather(*short)
            await until(100)
            assert it.size() == 2
            assert not any(task.done() for task in long)

            kept = {(await task).instance for task in long}
            assert not kept & {s.instance for s in it.driver.stops if s.at < 200}

    run(main())


def test_what_a_burst_needed_is_kept_for_a_window() -> None:
    async def main() -> None:
        async with world(hello(concurrency=10)) as it:
            await asyncio.gather(*(it.send(NAME, duration=0.01) for _ in range(50)))
            assert it.size() == 5
            await until(59)
            assert it.size() == 5
            await until(80)
            assert it.size() == 0

    run(main())


# Retiring


def test_a_retired_revision_serves_its_queue_and_is_then_forgotten() -> None:
    async def main() -> None:
        async with world(hello(concurrency=1, max_instances=1, min_instances=1)) as it:
            await until(1.2)
            requests = [it.send(NAME, duration=10) for _ in range(3)]
            await until(1.3)
            it.scaler.retire(NAME)
            outcomes = await asyncio.gather(*requests)

            assert [o.waited for o in outcomes] == [0, 10, 20]
            assert it.stops() == []
            await until(34)
            assert it.stops() == [32]
            assert NAME not in it.scaler
            assert list(it.scaler.statuses()) == []

    run(main())


def test_a_retired_revision_that_sleeps_with_a_request_at_its_door_still_serves_it() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            request = it.send(NAME, duration=1)
            await asyncio.sleep(0)
            it.scaler.retire(NAME)

            assert (await request).instance == "hello-1"
            await until(4)
            assert NAME not in it.scaler
            assert await it.driver.instances() == []

    run(main())


def test_a_retired_revision_that_sleeps_is_forgotten_at_once() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            it.scaler.retire(NAME)
            it.scaler.retire("nobody-00001")
            assert NAME not in it.scaler
            it.scaler.demand(NAME, Load(0, 1))
            it.scaler.drained(NAME, "hello-1")
            await until(3)
            assert it.starts() == []

    run(main())


def test_a_retired_revision_that_cannot_start_is_forgotten_too() -> None:
    async def main() -> None:
        async with world(hello(), script=Script(start=0.5, failure=DriverError("no"))) as it:
            await it.send(NAME, duration=1)
            it.scaler.retire(NAME)
            it.scaler.demand(NAME, Load(0, 0))
            await until(3)
            assert NAME not in it.scaler

    run(main())


def test_a_revision_that_is_added_again_lives_on() -> None:
    async def main() -> None:
        async with world(hello(min_instances=1)) as it:
            it.send(NAME, duration=10)
            await until(5)
            it.scaler.retire(NAME)
            await until(6.5)
            it.scaler.add(hello(min_instances=1))
            await until(300)
            assert it.size() == 1
            assert it.starts() == [0]

    run(main())


# What it costs


def test_ten_thousand_sleeping_services_are_not_looked_at() -> None:
    async def main() -> None:
        services = [Revision(f"s{n}", 1, Template(image="x:1")) for n in range(10_000)]
        async with world(*services) as it:
            await it.send("s77-00001", duration=10)
            assert it.scaler.awake == ("s77-00001",)
            # 0.0 to 10.35: ticks at 1, 3, 5, 7 and 9, each for the one that is awake.
            assert it.scaler.decisions == 5

    run(main())


def test_a_thousand_requests_in_one_turn_are_one_decision(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "wakeful.scaler")

    async def main() -> None:
        async with world(hello(concurrency=100)) as it:
            await asyncio.gather(*(it.send(NAME, duration=0.1) for _ in range(1000)))

    run(main())
    assert [r.getMessage() for r in caplog.records] == [
        "hello-00001: 0 -> 10 instances (0 active, 1000 waiting)"
    ]


def test_every_change_of_scale_is_told_once_in_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wakeful.scaler")

    async def main() -> None:
        async with world(hello(concurrency=0, scale=Scale(target=80, window=6))) as it:
            it.send(NAME, duration=10)
            await until(5)
            for _ in range(170):
                it.send(NAME, duration=5)
            await until(60)

    run(main())
    assert [r.getMessage() for r in caplog.records] == [
        "hello-00001: 0 -> 1 instances (0 active, 1 waiting)",
        "hello-00001: 1 -> 4 instances (concurrency 57.7, target 56, panic)",
        "hello-00001: 4 -> 2 instances (concurrency 28.6, target 56)",
        "hello-00001: 2 -> 1 instances (concurrency 0.0, target 56)",
        "hello-00001: 1 -> 0 instances (concurrency 0.0, target 56)",
    ]


def test_a_sample_with_requests_in_hand_wakes_a_revision_nobody_asked_for() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            await until(0.5)
            it.scaler.observe(0.5, {NAME: Sample(1.0, 1, Load(0, 1))})
            await asyncio.sleep(0)
            assert it.size() == 1

    run(main())


def test_rejected_requests_alone_wake_nothing() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            await until(0.5)
            it.scaler.observe(0.5, {NAME: Sample(0.0, 50, Load()), "nobody-00001": Sample()})
            assert it.scaler.awake == ()

    run(main())


def test_a_process_that_was_suspended_does_not_take_one_sample_for_one_second() -> None:
    async def main() -> None:
        async with world(hello(concurrency=0)) as it:
            it.send(NAME, duration=1e6)
            await until(0.5)
            it.scaler.observe(0.5, {NAME: Sample(1.0, 1, Load(1, 0))})
            # Thirty quiet seconds in one: an average of one over all of them.
            it.scaler.observe(30.5, {NAME: Sample(100.0, 3000, Load(1, 0))})
            assert it.status().stable == pytest.approx((1 + 30 * 100) / 31)

    run(main())


def test_nothing_is_published_that_does_not_change_anything() -> None:
    async def main() -> None:
        async with world(hello(min_instances=1)) as it:
            await until(300)
            assert [(at, len(b.endpoints)) for at, _, b in it.published] == [(0.35, 1)]
            assert it.published[0][2] != Backends()

    run(main())
