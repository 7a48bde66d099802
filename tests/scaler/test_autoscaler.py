"""The loop, on a scripted driver in simulated time; see simulated_proxy for the other side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from tests.scaler.simulated_proxy import Outcome, World, now, until, world
from wakeful.clock import run_simulated
from wakeful.config.model import Aggregation, Metric, Revision, Scale, Template
from wakeful.events import Backends, Load, Sample
from wakeful.runtime.driver import DriverError, ImageNotFound
from wakeful.runtime.instance import Address, Exit, Found, InstanceId
from wakeful.runtime.memory import Script
from wakeful.runtime.turns import Turns


def hello(
    concurrency: int = 10,
    min_instances: int = 0,
    max_instances: int = 10,
    scale: Scale = Scale(),  # noqa: B008 (frozen)
) -> Revision:
    template = Template(
        image="hello:1",
        concurrency=concurrency,
        min_instances=min_instances,
        max_instances=max_instances,
        scale=scale,
    )
    return Revision("hello", 1, template)


def run(main: Coroutine[Any, Any, None]) -> None:
    run_simulated(main)


NAME = "hello-00001"


# Waking


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


# Other settings for what runs


def retuned(revision: Revision, scale: Scale, **settings: Any) -> Revision:
    return replace(revision, template=replace(revision.template, scale=scale, **settings))


async def steadily(it: World, held: int, seconds: int) -> None:
    """So many requests in hand all the time, from now on."""
    start = round(now())
    for second in range(start, start + seconds):
        await until(second)
        for _ in range(held):
            it.send(NAME, duration=1)


def test_a_window_that_changes_length_keeps_what_it_remembers() -> None:
    async def main() -> None:
        before = hello(concurrency=10, scale=Scale(window=60))
        async with world(before) as it:
            await steadily(it, held=20, seconds=30)
            await until(30.9)
            instances = it.starts()

            it.scaler.add(retuned(before, Scale(window=10)))
            await until(41.5)  # 10 s of silence fill the shorter window, a tick later it shows
            assert it.status().stable < 2
            await until(46)
            assert it.size() == 0
            assert it.starts() == instances

    run(main())


def test_another_metric_begins_with_empty_windows() -> None:
    async def main() -> None:
        before = hello(concurrency=10, max_instances=4)
        async with world(before) as it:
            await steadily(it, held=20, seconds=10)
            await until(10.5)
            assert it.status().stable > 10
            it.scaler.add(retuned(before, Scale(metric=Metric.RPS, target=1000)))
            await until(14.5)
            assert it.status().stable < 10  # of 20 requests in hand, none arrived since

    run(main())


@pytest.mark.parametrize(("most", "size"), [(2, 2), (8, 8)])
def test_bounds_change_under_a_running_revision(most: int, size: int) -> None:
    async def main() -> None:
        before = hello(concurrency=10, max_instances=4)
        async with world(before) as it:
            for _ in range(80):
                it.send(NAME, duration=100)
            await until(5)
            assert it.size() == 4
            it.scaler.add(retuned(before, Scale(), max_instances=most))
            await until(10)
            # Both instances that may stay and those that may not are in use.
            assert it.status().desired == size
            assert it.status().ready + it.status().draining == max(4, size)

    run(main())


def test_a_longer_delay_holds_back_from_the_next_decision_on() -> None:
    async def main() -> None:
        before = hello(concurrency=10)
        async with world(before) as it:
            await it.send(NAME, duration=1)
            it.scaler.add(retuned(before, Scale(down_delay=200)))
            await until(250)
            assert it.size() == 1
            await until(275)
            assert it.size() == 0

    run(main())


@pytest.mark.parametrize(
    ("aggregation", "least", "most"),
    [
        # 30 s of 10 requests in 40 s; or 10 * 0.8 ** 10, a fifth being forgotten each second
        (Aggregation.LINEAR, 7, 8),
        (Aggregation.WEIGHTED_EXPONENTIAL, 1, 1.4),
    ],
)
def test_a_weighted_average_forgets_sooner(
    aggregation: Aggregation, least: float, most: float
) -> None:
    async def main() -> None:
        async with world(hello(concurrency=10, scale=Scale(aggregation=aggregation))) as it:
            await steadily(it, held=10, seconds=30)
            await until(40.5)
            assert least <= it.status().stable <= most

    run(main())


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


# Instances that end by themselves


def test_an_instance_that_exits_is_replaced_at_once() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            it.send(NAME, duration=100)
            await until(20.5)
            it.driver.crash(InstanceId("hello-1"))
            await until(20.6)

            assert it.starts() == [0, 20.5]
            await until(21)
            assert it.status().ready == 1
            assert it.status().crashes == 1

    run(main())


def test_exits_of_instances_nobody_knows_are_ignored() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            it.scaler.exited(Exit(InstanceId("nobody"), "exit code 1"))
            await it.send(NAME, duration=1)
            it.scaler.exited(Exit(InstanceId("nobody"), "exit code 1"))
            assert it.starts() == [0]

    run(main())


# Starts that fail


def test_requests_for_a_broken_image_are_told_at_once_and_tries_are_spaced_out() -> None:
    async def main() -> None:
        broken = Script(start=0.5, failure=ImageNotFound("pull access denied"))
        async with world(hello(), script=broken) as it:
            outcomes = []
            for n in range(240):  # a client that asks every quarter of a second
                await until(n / 4)
                outcomes.append(it.send(NAME, duration=1))
            await until(61)

            assert it.starts() == [0, 1.5, 4, 8.5, 17, 33.5]
            assert {o.result().detail for o in outcomes} == {'image "hello:1" not found'}
            assert max(o.result().waited for o in outcomes) == 0.5
            assert it.status().starts_failed == 6

    run(main())


def test_nothing_is_tried_again_for_traffic_that_has_gone_away() -> None:
    async def main() -> None:
        async with world(hello(), script=Script(start=0.5, failure=DriverError("no"))) as it:
            await it.send(NAME, duration=1)
            await until(500)
            assert it.starts() == [0]
            assert it.scaler.awake == ()

    run(main())


def test_a_minimum_is_tried_again_without_any_traffic() -> None:
    async def main() -> None:
        broken = Script(start=0, failure=DriverError("no"))
        async with world(hello(min_instances=1), script=broken) as it:
            await until(60)
            # Delays of 1, 2, 4, 8, 16 seconds, each rounded up to the next tick.
            assert it.starts() == [0, 1, 3, 7, 15, 31]

            it.driver.default = Script()
            await until(70)
            assert it.status().ready == 1

    run(main())


def test_while_nothing_works_one_instance_tries_for_all() -> None:
    async def main() -> None:
        async with world(hello(concurrency=1, max_instances=3)) as it:
            it.driver.upcoming.extend([Script(start=0, failure=DriverError("no"))] * 3)
            for _ in range(3):
                it.send(NAME, duration=5)
            await until(2.5)
            for _ in range(3):
                it.send(NAME, duration=5)
            await until(2.9)
            assert it.starts() == [0, 0, 0, 2.5]

            await until(6)
            assert it.starts() == [0, 0, 0, 2.5, 3, 3]

    run(main())


def test_an_instance_that_never_listens_fails_its_requests_after_a_minute() -> None:
    async def main() -> None:
        async with world(hello(), script=Script(listen=None)) as it:
            outcome = await it.send(NAME, duration=1)
            assert outcome == Outcome(
                None, 60.0, "did not listen on port 8080 within 60s: connection refused"
            )
            await until(61)
            assert it.stops() == [60]

    run(main())


def test_requests_wait_on_while_one_of_several_starts_may_still_succeed() -> None:
    async def main() -> None:
        async with world(hello(concurrency=1, max_instances=2)) as it:
            it.driver.upcoming.append(Script(start=0.1, failure=DriverError("no")))
            first, second = it.send(NAME, duration=10), it.send(NAME, duration=10)
            await until(30)

            assert first.result() == Outcome("hello-2", 0.35)
            # What failed is tried again while the other is in use.
            assert second.result() == Outcome("hello-3", 3.35)
            assert it.starts() == [0, 0, 3]

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


# Starting over


def found(instance: str, revision: str = NAME) -> Found:
    return Found(InstanceId(instance), "hello", revision, Address(instance, 8080))


def test_instances_that_run_already_are_adopted_and_count() -> None:
    async def main() -> None:
        async with world() as it:
            revision = hello(min_instances=2)
            for name in ("old-1", "old-2"):
                await it.driver.start(revision, InstanceId(name))
            it.driver.starts.clear()

            it.add(revision)
            assert it.scaler.adopt(found("old-1"))
            assert it.scaler.adopt(found("old-2"))
            await until(100)
            assert it.starts() == []
            assert it.status().ready == 2

    run(main())


def test_what_is_adopted_has_had_its_initial_scale_already() -> None:
    async def main() -> None:
        async with world(hello(scale=Scale(initial=3))) as it:
            await it.driver.start(hello(), InstanceId("old-1"))
            it.scaler.adopt(found("old-1"))
            await until(30)
            assert it.size() == 1

    run(main())


def test_a_demand_whose_requests_have_left_starts_nothing() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            it.scaler.demand(NAME, Load(0, 1))
            it.scaler.demand(NAME, Load(0, 0))
            await until(10)
            assert it.starts() == []
            assert it.scaler.awake == ()

    run(main())


def test_instances_of_revisions_nobody_knows_are_not_adopted() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            assert not it.scaler.adopt(found("old-1", "hello-00007"))

    run(main())


def test_adopted_instances_are_kept_for_a_window_though_their_traffic_is_unknown() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            for name in ("old-1", "old-2", "old-3"):
                await it.driver.start(hello(), InstanceId(name))
                it.scaler.adopt(found(name))
            await until(60)
            assert it.size() == 3
            await until(70)
            assert it.size() == 0

    run(main())


def test_leaving_leaves_the_instances_and_starts_nothing_more() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            it.send(NAME, duration=100)
            await until(20)
            await it.scaler.close(leave=True)
            it.send(NAME, duration=1)
            it.scaler.demand(NAME, Load(0, 100))
            it.observe()
            it.driver.crash(InstanceId("hello-1"))
            await until(30)
            assert (it.starts(), it.stops()) == ([0], [])

    run(main())


def test_closing_stops_what_runs_and_replaces_nothing() -> None:
    async def main() -> None:
        async with world(hello(min_instances=2), script=Script(goodbye=3)) as it:
            await until(5)
            await it.scaler.close(leave=False)
            assert now() == 8
            assert await it.driver.instances() == []
            assert len(it.starts()) == 2

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
