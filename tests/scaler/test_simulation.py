"""Long stories and arbitrary ones, in simulated time, through the code that runs for real."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scaler.simulated_proxy import NAME, Outcome, now, until, world
from wakeful.clock import run_simulated
from wakeful.config.model import Queue, Revision, Scale, Template
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.memory import Script, Started, Stopped

pytestmark = pytest.mark.no_cover  # traced it takes three times as long, to cover what others do


def hello(concurrency: int = 10, max_instances: int = 10, window: float = 60.0) -> Revision:
    template = Template(
        image="hello:1",
        concurrency=concurrency,
        max_instances=max_instances,
        scale=Scale(window=window),
        queue=Queue(timeout=60),
    )
    return Revision("hello", 1, template)


History = tuple[list[Outcome], list[Started], list[Stopped]]


def visits(seed: int, hours: float) -> History:
    """Visits at random, some alone and some in crowds, with long gaps between."""
    rng = random.Random(seed)

    async def main() -> History:
        async with world(hello()) as it:
            requests = []
            while now() < hours * 3600:
                for _ in range(rng.choice([1, 1, 3, 40])):
                    requests.append(it.send(NAME, duration=rng.choice([0.02, 0.5, 20.0])))
                await asyncio.sleep(rng.expovariate(1 / 90))
            outcomes = await asyncio.gather(*requests)
            await until(now() + 200)
            assert await it.driver.instances() == []
            assert it.largest <= 10
            return list(outcomes), it.driver.starts, it.driver.stops

    return run_simulated(main())


def test_hours_of_visits_are_all_answered_and_leave_nothing_running() -> None:
    outcomes, starts, stops = visits(seed=7, hours=6)

    assert len(outcomes) > 1000
    assert all(outcome.instance for outcome in outcomes)
    assert max(outcome.waited for outcome in outcomes) <= 0.35
    assert len(starts) == len(stops)


def test_the_same_visits_have_the_same_history() -> None:
    assert visits(seed=11, hours=1) == visits(seed=11, hours=1)


def test_a_service_visited_once_an_hour_runs_for_a_minute_each_time() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            for hour in range(8):
                await until(hour * 3600 + 0.5)
                assert (await it.send(NAME, duration=0.1)).waited == 0.35
            await until(8 * 3600)

            lives = [
                stop.at - start.at
                for start, stop in zip(it.driver.starts, it.driver.stops, strict=True)
            ]
            assert len(lives) == 8
            assert max(lives) < 67
            assert it.status().cold_starts == 8

    run_simulated(main())


def test_steady_load_settles_where_knative_would_settle() -> None:
    async def main() -> None:
        async with world(hello(concurrency=10, max_instances=0)) as it:
            for _ in range(21):
                it.send(NAME, duration=600)
            await until(300)
            assert it.size() == 3  # 21 in flight, 7 of 10 for each

            for _ in range(28):
                it.send(NAME, duration=300)
            await until(500)
            assert it.size() == 7

    run_simulated(main())


def test_sixty_services_wake_and_sleep_without_disturbing_each_other() -> None:
    services = [Revision(f"s{n}", 1, Template(image="x:1", concurrency=5)) for n in range(60)]

    async def main() -> None:
        async with world(*services) as it:
            requests = []
            for n, service in enumerate(services):
                await until(n)
                requests += [it.send(service.name, duration=1) for _ in range(10)]
            outcomes = await asyncio.gather(*requests)
            assert {outcome.waited for outcome in outcomes} == {0.35}
            assert [(o.instance or "").split("-")[0] for o in outcomes] == [
                service.service for service in services for _ in range(10)
            ]
            await until(200)
            assert it.scaler.awake == ()
            assert await it.driver.instances() == []

    run_simulated(main())


SCRIPTS = st.lists(
    st.builds(
        Script,
        start=st.sampled_from([0, 0.25, 4]),
        failure=st.sampled_from([None, None, None, DriverError("no")]),
        listen=st.sampled_from([0, 0.1, 0.1, None]),
        lifetime=st.sampled_from([None, None, None, 0, 0.1, 15]),
        goodbye=st.sampled_from([0, 2, 30]),
    ),
    max_size=12,
)
STORY = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "crash", "wait", "wait", "observe", "turn"]),
        st.integers(0, 12),
    ),
    max_size=40,
)


@settings(max_examples=120, deadline=None)
@given(story=STORY, scripts=SCRIPTS, concurrency=st.sampled_from([0, 1, 3]))
def test_whatever_happens_the_maximum_holds_and_every_request_is_answered(
    story: Sequence[tuple[str, int]], scripts: list[Script], concurrency: int
) -> None:
    async def main() -> None:
        async with world(hello(concurrency, max_instances=3, window=6)) as it:
            it.driver.upcoming.extend(scripts)
            requests = []
            for verb, n in story:
                if verb == "send":
                    requests += [it.send(NAME, duration=n / 4) for _ in range(n)]
                elif verb == "crash":
                    alive = await it.driver.instances()
                    if alive:
                        it.driver.crash(InstanceId(alive[n % len(alive)].instance))
                elif verb == "wait":
                    await asyncio.sleep(n * n / 10)
                elif verb == "observe":
                    it.observe()
                else:
                    await asyncio.sleep(0)
                it.look()
            # By the scripts at most twelve starts go wrong, each within a minute
            # or so; what is still refused then has been told why.
            outcomes = await asyncio.gather(*requests)
            assert all(outcome.instance or outcome.detail for outcome in outcomes)
            assert it.largest <= 3

            it.driver.upcoming.clear()
            await until(now() + 400)
            assert await it.driver.instances() == []
            assert it.scaler.awake == ()
            last = await it.send(NAME, duration=0.1)
            assert last == Outcome(last.instance, 0.35)

    run_simulated(main())


@settings(max_examples=40, deadline=None)
@given(crowd=st.integers(1, 300), concurrency=st.integers(1, 50), max_instances=st.integers(1, 40))
def test_a_crowd_at_a_sleeping_service_gets_all_it_may_have_in_one_go(
    crowd: int, concurrency: int, max_instances: int
) -> None:
    async def main() -> None:
        async with world(hello(concurrency, max_instances)) as it:
            for _ in range(crowd):
                it.send(NAME, duration=1)
            await asyncio.sleep(0.2)
            enough = -(-crowd // concurrency)
            assert it.starts() == [0.0] * min(enough, max_instances)

    run_simulated(main())
