"""What is started for whoever asks, and by what time."""

from __future__ import annotations

import asyncio

from tests.scaler.simulated_proxy import NAME, Outcome, hello, until, world
from wakeful.clock import run_simulated as run
from wakeful.config.model import Metric, Revision, Scale, Template
from wakeful.runtime.driver import DriverError
from wakeful.runtime.memory import Script
from wakeful.runtime.turns import Turns


def test_a_sleeping_service_is_not_started_by_being_known() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            await until(300)
            assert it.starts() == []
            assert it.scaler.awake == ()

    run(main())


def test_the_first_request_waits_for_one_start_and_nothing_else() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            await until(10.5)
            outcome = await it.send(NAME, duration=0.1)

            assert outcome == Outcome("hello-1", waited=0.35)
            assert it.starts() == [10.5]
            assert it.status().cold_starts == 1

    run(main())


def test_a_cold_start_comes_before_those_of_services_that_run_and_grow() -> None:
    growing = [Revision(f"g{n}", 1, Template(image="x:1", concurrency=1)) for n in range(4)]

    async def main() -> None:
        script = Script(start=1, listen=0)
        async with world(*growing, hello(), script=script, turns=Turns(1)) as it:
            for service in growing:
                it.send(service.name, duration=1000)
            await until(60)
            assert it.scaler.waiting_starts == 0
            for service in growing:
                for _ in range(4):
                    it.send(service.name, duration=1000)
            await until(60.1)
            single = await it.send(NAME, duration=0.1)

            # One start that had begun, at most one of theirs (every second is), and its own.
            assert single.waited <= 2.9

    run(main())


def test_fifty_starts_of_one_service_delay_the_cold_start_of_another_by_one_at_most() -> None:
    greedy = Revision("greedy", 1, Template(image="x:1", concurrency=1, max_instances=0))

    async def main() -> None:
        async with world(greedy, hello(), script=Script(start=1, listen=0), turns=Turns(4)) as it:
            crowd = [it.send(greedy.name, duration=1) for _ in range(50)]
            await until(0.5)
            assert it.scaler.waiting_starts == 46
            single = await it.send(NAME, duration=0.1)

            assert single.waited == 1.5  # until the next turn comes free, and its own start
            assert all(one.instance for one in await asyncio.gather(*crowd))
            await until(300)
            assert it.scaler.waiting_starts == 0

    run(main())


def test_a_burst_on_a_sleeping_service_is_provisioned_after_one_start() -> None:
    async def main() -> None:
        async with world(hello(concurrency=10, max_instances=20)) as it:
            outcomes = await asyncio.gather(*(it.send(NAME, duration=1) for _ in range(200)))

            assert it.starts() == [0.0] * 20
            assert {outcome.waited for outcome in outcomes} == {0.35}
            assert it.status().cold_starts == 1

    run(main())


def test_demand_counts_what_is_already_starting() -> None:
    async def main() -> None:
        async with world(hello(concurrency=10), script=Script(start=5)) as it:
            for moment in (0.1, 0.2, 0.3, 0.4):
                await until(moment)
                it.send(NAME, duration=1)
            await until(1.5)
            assert it.starts() == [0.1]

            for _ in range(7):
                it.send(NAME, duration=1)
            await asyncio.sleep(0)
            assert it.size() == 1 or it.size() == 2
            await asyncio.sleep(0.1)
            assert it.starts() == [0.1, 1.5]

    run(main())


def test_demand_never_exceeds_the_maximum() -> None:
    async def main() -> None:
        async with world(hello(concurrency=1, max_instances=3)) as it:
            outcomes = [it.send(NAME, duration=1) for _ in range(12)]
            await asyncio.gather(*outcomes)

            assert it.starts() == [0, 0, 0]
            assert sorted(o.result().waited for o in outcomes) == [
                *[0.35] * 3,
                *[1.35] * 3,
                *[2.35] * 3,
                *[3.35] * 3,
            ]

    run(main())


def test_no_limit_on_concurrency_starts_for_the_target_at_once() -> None:
    async def main() -> None:
        async with world(hello(concurrency=0, scale=Scale(target=10))) as it:
            for _ in range(21):
                it.send(NAME, duration=1)
            await asyncio.sleep(0.1)
            assert it.starts() == [0, 0, 0]  # 7 for each

    run(main())


def test_a_request_rate_says_nothing_of_concurrency_so_one_instance_is_started() -> None:
    async def main() -> None:
        async with world(hello(concurrency=0, scale=Scale(metric=Metric.RPS, target=10))) as it:
            for _ in range(21):
                it.send(NAME, duration=0.2)
            await asyncio.sleep(0.1)
            assert it.starts() == [0]

    run(main())


def test_request_rates_are_held_against_their_target() -> None:
    async def main() -> None:
        scale = Scale(metric=Metric.RPS, target=10, utilization=1.0)
        async with world(hello(concurrency=0, scale=scale)) as it:
            for second in range(40):
                for _ in range(30):
                    it.send(NAME, duration=0.01)
                await until(second + 1)
            assert it.status().stable == 30
            assert it.size() == 3

    run(main())


def test_the_first_activation_starts_the_initial_scale_and_the_next_only_what_is_needed() -> None:
    async def main() -> None:
        async with world(hello(scale=Scale(initial=3))) as it:
            await until(5)
            assert it.starts() == []
            await it.send(NAME, duration=0.1)
            assert it.starts() == [5, 5, 5]

            await until(200)
            assert it.size() == 0
            await it.send(NAME, duration=0.1)
            assert it.starts() == [5, 5, 5, 200]

    run(main())


def test_activation_scale_is_what_any_request_starts() -> None:
    async def main() -> None:
        async with world(hello(scale=Scale(activation=4))) as it:
            await it.send(NAME, duration=0.1)
            assert it.starts() == [0, 0, 0, 0]

    run(main())


def test_a_service_that_is_only_polled_goes_to_zero_and_is_not_woken() -> None:
    async def main() -> None:
        async with world(hello(concurrency=1)) as it:
            await it.send(NAME, duration=0.15)  # over at 0.5
            polls = []
            for second in range(10, 200, 10):
                await until(second)
                polls.append(it.poll(NAME, duration=4))
            await asyncio.gather(*polls)

            answered = [poll.result().instance is not None for poll in polls]
            # Ticks are at odd seconds. At 61 the window is empty and the gate says
            # inactive, at 63 zero; but the poll of 60 is in the instance until 64.
            assert answered == [True] * 6 + [False] * 13
            assert it.stops() == [65.0]
            assert it.starts() == [0.0]

    run(main())


def test_an_instance_in_use_by_a_poll_alone_is_not_stopped() -> None:
    async def main() -> None:
        async with world(hello(concurrency=1)) as it:
            await it.send(NAME, duration=0.1)
            poll = it.poll(NAME, duration=300)
            await until(299)
            assert it.stops() == []
            await poll
            await asyncio.sleep(5)
            assert it.size() == 0

    run(main())


def test_who_waits_behind_a_poll_gets_an_instance_of_its_own() -> None:
    async def main() -> None:
        async with world(hello(concurrency=1)) as it:
            await it.send(NAME, duration=0.1)
            it.poll(NAME, duration=30)
            await until(2)
            outcome = await it.send(NAME, duration=0.1)
            assert outcome == Outcome("hello-2", waited=0.35)

    run(main())


def test_what_a_page_asked_for_is_started_and_kept_for_a_window() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            assert it.show(NAME) == "starting"  # and its reader goes away
            await until(200)
            assert it.starts() == [0.0]
            # Ticks are at odd seconds. At 1 it is seen to be ready, so until 61 it
            # is kept as active; then come Knative's two steps to zero.
            assert it.stops() == [63.0]
            assert it.status().cold_starts == 1

    run(main())


def test_a_page_that_reloads_finds_an_instance_that_took_longer_than_a_window() -> None:
    async def main() -> None:
        async with world(hello(scale=Scale(window=6)), script=Script(start=40)) as it:
            shown = []
            for second in range(0, 46, 5):
                await until(second)
                shown.append(it.show(NAME))
            assert shown == ["starting"] * 9 + ["the real page"]
            assert it.starts() == [0.0]
            assert it.stops() == []

    run(main())


def test_a_reader_who_leaves_does_not_end_a_start_that_takes_longer_than_a_window() -> None:
    async def main() -> None:
        async with world(hello(scale=Scale(window=6)), script=Script(start=40)) as it:
            assert it.show(NAME) == "starting"
            await until(43)
            assert it.show(NAME) == "the real page"
            assert it.starts() == [0.0]

    run(main())


def test_a_failed_start_is_tried_again_when_the_page_asks_again() -> None:
    async def main() -> None:
        failing = Script(start=0.25, failure=DriverError("no such program"))
        async with world(hello(), script=failing) as it:
            assert it.show(NAME) == "starting"
            await until(0.5)
            assert it.show(NAME) == "start_failed"
            await until(30)
            assert it.starts() == [0.0]  # nobody is there any more
            assert it.show(NAME) == "starting"
            await until(30.5)
            assert it.starts() == [0.0, 30.0]

    run(main())


def test_a_minimum_is_started_at_once_and_never_put_to_sleep() -> None:
    async def main() -> None:
        async with world(hello(min_instances=2)) as it:
            await until(600)
            assert it.starts() == [0, 0]
            assert it.stops() == []
            assert it.scaler.awake == (NAME,)

    run(main())
